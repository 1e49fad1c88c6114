"""What an error may repeat of a value that was sent: cut, fit for JSON, and no secret. Pure."""

import math
import re
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

HIDDEN = "(not shown)"
_MAX_TEXT = 200
_MAX_ITEMS = 10
_MAX_DEPTH = 3
_SECRET_NAME = re.compile(
    r"secret|token|passw|pwd|credential|private|api_?key|access_?key|auth|cookie|^envs?$|^environment$",
    re.IGNORECASE,
)
"""Variables of an environment are often secrets, whatever they are called."""
_SECRET_TEXT = re.compile(r"trimtab_[a-z0-9]{10}_|-----BEGIN |\beyJ[\w-]{10}|^(Bearer|Basic) ")
_PASSWORD = re.compile(r"(://[^\s/:@]*):[^\s/@]*@")


def shown(path: str, value: object) -> JsonValue:
    """The value that stood at the dotted path."""
    if value is None or any(_SECRET_NAME.search(step) for step in path.split(".")):
        return None if value is None else HIDDEN
    return _shown(value, _MAX_DEPTH)


def cut(text: str, length: int = _MAX_TEXT) -> str:
    """The text, or its beginning."""
    # A lone surrogate is legal in JSON, but nothing that could be sent.
    text = text.encode(errors="backslashreplace").decode()
    if len(text) <= length:
        return text
    return f"{text[:length]}… ({len(text)} characters)"


def _shown(value: object, depth: int) -> JsonValue:
    match value:
        case None | bool():
            return value
        case int() if abs(value) < 2**63:
            return value
        case float() if math.isfinite(value):
            return value
        case str():
            return HIDDEN if _SECRET_TEXT.search(value) else cut(_PASSWORD.sub(r"\1:…@", value))
        case Mapping():
            return _shown_mapping(value, depth)
        case bytes():
            return f"{len(value)} bytes"
        case Sequence():
            if depth == 0 or len(value) > _MAX_ITEMS:
                return f"a list of {len(value)}"
            return [_shown(item, depth - 1) for item in value]
        case int():
            return "a number of more than 63 bits"
        case _:
            return cut(str(value))


def _shown_mapping(value: Mapping[object, object], depth: int) -> JsonValue:
    if depth == 0 or len(value) > _MAX_ITEMS:
        return f"an object of {len(value)} fields"
    return {
        cut(str(name)): HIDDEN if _SECRET_NAME.search(str(name)) else _shown(item, depth - 1)
        for name, item in value.items()
    }
