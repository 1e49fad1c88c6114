"""Text that people write: the characters that it may hold. Pure.

Texts are checked where they are written, and not by the types of fields, so that what an earlier
release has stored stays readable.
"""

import re
from collections.abc import Mapping
from typing import Final

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


def check(value: object, path: str = "", *, multiline: bool = False) -> None:
    """Raise `Invalid` for the first character that a text in the value may not hold.

    The value is a model, of which the fields that are set are checked, or of JSON's types. A text
    that no `MULTILINE` field holds is a name: it has one line.
    """
    match value:
        case str():
            _check_text(value, path, multiline=multiline)
        case BaseModel():
            for name, info in type(value).model_fields.items():
                if name in value.model_fields_set:
                    inner = _join(path, info.alias or name)
                    _check_field(getattr(value, name), inner, info.metadata)
        case Mapping():
            for key, item in value.items():
                _check_text(str(key), _join(path, key))
                check(item, _join(path, key), multiline=multiline)
        case list() | tuple():
            for index, item in enumerate(value):
                check(item, _join(path, index), multiline=multiline)


def _check_field(value: object, path: str, metadata: list[object]) -> None:
    if DATA not in metadata:
        check(value, path, multiline=MULTILINE in metadata)
    elif isinstance(value, Mapping):
        for key in value:
            _check_text(str(key), _join(path, key))


def _check_text(text: str, path: str, *, multiline: bool = False) -> None:
    found = (_NOT_IN_TEXT if multiline else _NOT_IN_NAME).search(text)
    if found is not None:
        allowed = _ALLOWED_IN_TEXT if multiline else _ALLOWED_IN_NAME
        # The text may be a credential, so only the character is repeated.
        raise Invalid(path, found[0], f"text without U+{ord(found[0]):04X}; {allowed}")


def _join(path: str, step: object) -> str:
    """Return the path of an inner value; a control character in it is escaped."""
    name = str(step)
    escaped = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
    return f"{path}.{escaped}" if path else escaped
