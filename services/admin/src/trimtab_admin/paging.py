"""Pages of a listing.

A cursor names the last item of the page before it, so writes between two pages neither repeat nor
skip any other item. Pure.
"""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from trimtab.errors import Invalid

T = TypeVar("T")
_UNSTORED = re.compile("[\0\ud800-\udfff]")
"""NUL and halves of surrogate pairs."""
Key = tuple[str | int, ...]
"""The sort key of an item; it identifies the item in its listing."""


class Page(NamedTuple, Generic[T]):
    """Items of a listing, and the cursor of the next page."""

    items: Sequence[T]
    cursor: str | None
    """``None`` if this is the last page."""


def encode(key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def decode(cursor: str) -> Key:
    """Return the key in a cursor. Raises `Invalid`."""
    try:
        key = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise invalid_cursor(cursor) from error
    if not isinstance(key, list) or not all(map(_is_stored, key)):
        raise invalid_cursor(cursor)
    return tuple(key)


def _is_stored(step: object) -> bool:
    """Return whether a database could store the step of a key, and so compare with it."""
    match step:
        case bool():
            return False
        case int():
            return abs(step) < 2**63
        case str():
            return not _UNSTORED.search(step)
        case _:
            return False


def invalid_cursor(cursor: str) -> Invalid:
    """Return the error for a cursor that names no item of the listing.

    The query parameter of a cursor is ``token``.
    """
    return Invalid("token", cursor, "the token of the page before, with the same filters")
