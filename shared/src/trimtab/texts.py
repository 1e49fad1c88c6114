"""Text that people write: the characters that it may hold. Pure.

Texts are checked where they are written, and not by the types of fields, so that what an earlier
release has stored stays readable.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

from pydantic import BaseModel

from trimtab.errors import Invalid

MULTILINE: Final = "multiline"
"""Marks a field whose texts may have line breaks and tabs: ``Annotated[str, MULTILINE]``. The keys
of a map are names and may not."""
DATA: Final = "data"
"""Marks a field with data of a program, which may hold every character. Names in it may not."""

_CONTROL = r"\x0b-\x1f\x7f-\x9f\ud800-\udfff"  # with halves of surrogate pairs
_DIRECTION = r"\u202a-\u202e\u2066-\u2069"
_NOT_IN_NAME = re.compile(rf"[\x00-\x0a{_CONTROL}{_DIRECTION}\u2028\u2029]")
_NOT_IN_TEXT = re.compile(rf"[\x00-\x08{_CONTROL}]")
_ALLOWED_IN_NAME = "no control character, line break or character that changes the direction"
_ALLOWED_IN_TEXT = "of the control characters only line breaks (U+000A) and tabs (U+0009)"


_Path = tuple[object, ...]
"""The steps to a value: names of fields, keys and indexes. Only an error joins them to a path."""


def check(value: object, path: str = "", *, multiline: bool = False) -> None:
    """Raise `Invalid` for the first character that a text in the value may not hold.

    The value is a model, of which the fields that are set are checked, or of JSON's types. A text
    that no `MULTILINE` field holds is a name: it has one line.
    """
    _check(value, (path,) if path else (), multiline=multiline)


def _check(value: object, path: _Path, *, multiline: bool) -> None:
    match value:
        case str():
            _check_text(value, path, multiline=multiline)
        case BaseModel():
            for field in _fields(type(value)):
                if field.name in value.model_fields_set:
                    _check_field(getattr(value, field.name), (*path, field.shown), field)
        case dict():
            for key, item in value.items():
                _check_text(str(key), (*path, key))
                _check(item, (*path, key), multiline=multiline)
        case list() | tuple():
            for index, item in enumerate(value):
                _check(item, (*path, index), multiline=multiline)


class _Field(NamedTuple):
    name: str
    shown: str
    """The name in requests."""
    is_multiline: bool
    is_data: bool


@cache
def _fields(model: type[BaseModel]) -> Sequence[_Field]:
    return [
        _Field(name, info.alias or name, MULTILINE in info.metadata, DATA in info.metadata)
        for name, info in model.model_fields.items()
    ]


def _check_field(value: object, path: _Path, field: _Field) -> None:
    if not field.is_data:
        _check(value, path, multiline=field.is_multiline)
    elif isinstance(value, dict):
        for key in value:
            _check_text(str(key), (*path, key))


def _check_text(text: str, path: _Path, *, multiline: bool = False) -> None:
    # Most texts are printable, and this finds out faster than an expression.
    if text.isprintable():
        return
    found = (_NOT_IN_TEXT if multiline else _NOT_IN_NAME).search(text)
    if found is not None:
        allowed = _ALLOWED_IN_TEXT if multiline else _ALLOWED_IN_NAME
        joined = ".".join(map(_escaped, path))
        # The text may be a credential, so only the character is repeated.
        raise Invalid(joined, found[0], f"text without U+{ord(found[0]):04X}; {allowed}")


def _escaped(step: object) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(step))
