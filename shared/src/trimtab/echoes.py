"""Parts of values that a message may repeat: cut, JSON, and never a secret. Pure."""

import json
import math
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from trimtab import credentials

HIDDEN = "(not shown)"
_MAX_TEXT = 200
_MAX_SHOWN = 300
_MAX_PATH = 10_000
_MAX_SEARCHED = 10_000
"""Where credentials are searched in a text, which may have megabytes; the rest is not shown."""
_MAX_ITEMS = 10
_MAX_DEPTH = 3


def echo(path: str, value: object) -> JsonValue:
    """Return what a message may repeat of the value at the dotted path."""
    if value is None:
        return None
    # A path may contain a key of many megabytes, and each of its steps takes time.
    if len(path) > _MAX_PATH or any(map(credentials.may_hold, path.split("."))):
        return HIDDEN
    return _echo(value, _MAX_DEPTH)


def shown(path: str, value: object) -> str:
    """Return what a sentence may repeat of the value at the dotted path.

    Nulls and booleans are in the notation of JSON and YAML.
    """
    echoed = echo(path, value)
    if echoed is None or isinstance(echoed, bool):
        return json.dumps(echoed)
    is_json = isinstance(value, int | float | Mapping | Sequence)
    return cut(repr(echoed) if is_json or echoed == HIDDEN else str(echoed), _MAX_SHOWN)


def cut(text: str, length: int = _MAX_TEXT) -> str:
    """Return the text, or its beginning where it is longer."""
    # JSON allows half of a surrogate pair; UTF-8 cannot encode it.
    text = text.encode(errors="backslashreplace").decode()
    if len(text) <= length:
        return text
    return f"{text[:length]}… ({len(text)} characters)"


def _echo(value: object, depth: int) -> JsonValue:
    match value:
        case None | bool():
            return value
        case int() if abs(value) < 2**63:
            return value
        case float() if math.isfinite(value):
            return value
        case str():
            start, rest = value[:_MAX_SEARCHED], value[_MAX_SEARCHED:]
            is_shown = not credentials.is_in(start)
            return cut(credentials.without_password(start) + rest) if is_shown else HIDDEN
        case Mapping():
            return _echo_mapping(value, depth)
        case bytes():
            return f"{len(value)} bytes"
        case Sequence():
            if depth == 0 or len(value) > _MAX_ITEMS:
                return f"a list of {len(value)}"
            return [_echo(item, depth - 1) for item in value]
        case int():
            return "a number of more than 63 bits"
        case _:
            return cut(str(value))


def _echo_mapping(value: Mapping[object, object], depth: int) -> JsonValue:
    if depth == 0 or len(value) > _MAX_ITEMS:
        return f"an object of {len(value)} fields"
    return {
        cut(str(name)): HIDDEN if credentials.may_hold(str(name)) else _echo(item, depth - 1)
        for name, item in value.items()
    }
