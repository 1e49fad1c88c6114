"""Pages of a list: a token names the last item that was given, so writes between two pages neither
repeat nor skip any other. Pure."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from trimtab.errors import Invalid

T = TypeVar("T")
Key = tuple[str | int, ...]


class Page(NamedTuple, Generic[T]):
    items: Sequence[T]
    token: str | None
    """Of the next page; ``None`` where this is the last one."""


def cut(items: Sequence[T], key: Callable[[T], Key], token: str, limit: int) -> Page[T]:
    """The next page of items that are sorted by their keys. Raises `Invalid`."""
    if token:
        last = decoded(token)
        try:
            items = [item for item in items if key(item) > last]
        except TypeError as error:
            raise invalid(token) from error
    token_after = encoded(key(items[limit - 1])) if len(items) > limit else None
    return Page(items[:limit], token_after)


def encoded(key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def decoded(token: str) -> Key:
    """Raises `Invalid`."""
    try:
        key = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise invalid(token) from error
    if not isinstance(key, list) or not all(isinstance(step, str | int) for step in key):
        raise invalid(token)
    return tuple(key)


def invalid(token: str) -> Invalid:
    """Of a token that names no item of the list."""
    return Invalid("token", token, "the token of the page before, with the same filters")
