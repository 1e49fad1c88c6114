"""JSON texts of requests, parsed strictly, and in slices where a text holds a long list. Pure.

A text must be JSON as RFC 8259 defines it: Python's parser accepts values that cannot be written
again, and of a key that an object repeats it uses the last value.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from trimtab.errors import Invalid
from trimtab.models import RepeatedKey, unique_members
from trimtab_admin import steps
from trimtab_admin.steps import Steps

Path = tuple[str | int, ...]
"""Keys and indexes that lead to a value."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_MAX_DIGITS = 1000
"""More digits than any meaningful number has; Python refuses to parse more than 4300."""
_LONG = 16_384
"""A shorter text takes less than a millisecond, and is left to Python's parser as a whole."""
_BLANK = re.compile(r"[ \t\n\r]*")


def parse(body: bytes) -> Steps[Any]:
    """Return the value. The items of a list in the outermost object are parsed in slices.

    Raises `Invalid`, also for a value that could not be stored or returned.
    """
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        if len(text) > _LONG:
            return (yield from _Parser(text).parse())
        if _SURROGATE.search(text):
            _check_encodable(json.loads(text))
        value, end = _decode(text, 0, ())
        if _skip_blanks(text, end) != len(text):
            raise json.JSONDecodeError("Extra data", text, end)
        return value
    except RecursionError as error:
        raise _not_json("it is nested too deeply") from error
    except UnicodeError as error:
        raise _not_json("it is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise _not_json(error.msg) from error


class _Parser:
    """Reads a text from its start to its end.

    It leaves all values but the outermost object and the lists in it to Python's parser.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._has_surrogates = _SURROGATE.search(text) is not None

    def parse(self) -> Steps[Any]:
        value = (yield from self._object()) if self._next("{") else self._value()
        self._skip_blanks()
        if self._at != len(self._text):
            raise self._error("Extra data")
        return value

    def _object(self) -> Steps[dict[str, Any]]:
        found: dict[str, Any] = {}
        if self._next("}"):
            return found
        while True:
            self._skip_blanks()
            if self._text[self._at : self._at + 1] != '"':
                raise self._error("Expecting property name enclosed in double quotes")
            name = self._value()
            if not self._next(":"):
                raise self._error("Expecting ':' delimiter")
            if name in found:
                raise _repeated((name,))
            is_list = self._next("[")
            found[name] = (yield from self._list(name)) if is_list else self._value(name)
            if self._next("}"):
                return found
            if not self._next(","):
                raise self._error("Expecting ',' delimiter")

    def _list(self, name: str) -> Steps[list[Any]]:
        found: list[Any] = []
        if self._next("]"):
            return found
        while True:
            found.append(self._value(name, len(found)))
            if self._next("]"):
                return found
            if not self._next(","):
                raise self._error("Expecting ',' delimiter")
            if len(found) % steps.SIZE == 0:
                yield

    def _value(self, *path: str | int) -> Any:
        """Parse the value at a path in the text."""
        value, self._at = _decode(self._text, self._at, path)
        if self._has_surrogates:
            _check_encodable(value)
        return value

    def _next(self, character: str) -> bool:
        """Go past a character, if it is the next one."""
        self._skip_blanks()
        is_next = self._text[self._at : self._at + 1] == character
        self._at += is_next
        return is_next

    def _skip_blanks(self) -> None:
        self._at = _skip_blanks(self._text, self._at)

    def _error(self, message: str) -> json.JSONDecodeError:
        return json.JSONDecodeError(message, self._text, self._at)


def _decode(text: str, start: int, path: Path) -> tuple[Any, int]:
    """Return the value that starts there, and its end. Raises `Invalid` on a repeated key."""
    at = _skip_blanks(text, start)
    try:
        return _DECODER.raw_decode(text, at)
    except RepeatedKey as error:
        value, _end = _PAIRS_DECODER.raw_decode(text, at)
        raise _repeated(next(_repeated_paths(value, path))) from error


def _skip_blanks(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    assert match is not None
    return match.end()


def _repeated(path: Path) -> Invalid:
    return Invalid(".".join(map(str, path)), path[-1], "each key once in an object")


def _repeated_paths(value: Any, path: Path) -> Iterator[Path]:
    """Yield the path of each key that an object repeats."""
    if isinstance(value, _Pairs):
        seen = set()
        for key, inner in value:
            if key in seen:
                yield (*path, key)
            seen.add(key)
            yield from _repeated_paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _repeated_paths(inner, (*path, index))


def _check_encodable(value: Any) -> None:
    """Raise `UnicodeError` where a surrogate is not one of a pair."""
    json.dumps(value, ensure_ascii=False).encode()


def _not_json(reason: str) -> Invalid:
    return Invalid("body", reason, "a JSON document")


def _parse_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        _reject_number(text)
    return number


def _parse_int(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        _reject_number(text)
    return int(text)


def _reject_number(text: str) -> NoReturn:
    raise json.JSONDecodeError(f"{text[:40]} is not a number that can be stored", text, 0)


class _Pairs(list[tuple[str, Any]]):
    """The members of an object, as the text has them."""


def _decoder(to_object: Callable[[list[tuple[str, Any]]], Any]) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=to_object,
        parse_constant=_reject_number,
        parse_float=_parse_float,
        parse_int=_parse_int,
    )


_DECODER = _decoder(unique_members)
_PAIRS_DECODER = _decoder(_Pairs)
