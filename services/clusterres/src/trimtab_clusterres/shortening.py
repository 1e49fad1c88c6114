"""Makes a status short enough to be published, whatever texts it has. Pure."""

import json
from collections.abc import Iterable
from typing import TypeVar

from trimtab.messages.events import NamespaceStatus, ObjectStatus

T = TypeVar("T")

MAX_BYTES = 64_000
"""The longest body of a status; one of each namespace is held in memory by admin."""
MAX_ERROR = 2000
_MAX_MESSAGE = 1000
_MAX_NAME = 320
"""Kind and name have 317 characters at most where Kubernetes accepts them."""
_OBJECTS_SHARE = 4
"""One part in so many is for the names of objects where not everything has room."""
_WORST_FIRST = (
    "unconfirmed",  # an admin confirms the whole list
    "failed",
    "conflicted",
    "drifted",
    "kept",
    "released",
    "pruned",
    "applied",
    "unchanged",
)


def shortened(status: NamespaceStatus, max_bytes: int = MAX_BYTES) -> NamespaceStatus:
    """Return the status with readable texts of limited length, at most so many bytes long.

    Where not all objects have room, the worst outcomes are kept. ``counts`` has all of them.
    """
    short = status.model_copy(
        update={
            "error": shorten(status.error, MAX_ERROR),
            "objects": tuple(shorten(name, _MAX_NAME) for name in status.objects),
            "details": tuple(map(_short_detail, status.details)),
        }
    )
    if len(short.body()) <= max_bytes:
        return short
    available = max_bytes - len(short.model_copy(update={"objects": (), "details": ()}).body())
    details = [(one, len(one.model_dump_json().encode()) + 1) for one in short.details]
    names = [
        (name, len(json.dumps(name, ensure_ascii=False).encode()) + 1) for name in short.objects
    ]
    objects = _first(names, available // _OBJECTS_SHARE)
    left = available - sum(size for _, size in names[: len(objects)])
    worst = _first(sorted(details, key=lambda item: _rank(item[0].outcome)), left)
    return short.model_copy(update={"objects": objects, "details": worst})


def shorten(text: str, length: int) -> str:
    """Return a text that is not longer: of a longer one, the beginning and the end.

    A message that repeats a long value ends with what is wrong with it. What is not printable,
    halves of surrogate pairs included, becomes an escape such as ``\\x1b``.
    """
    begin, end = _printable(text[:length]), _printable(text[-length:])
    if len(text) <= length and len(begin) <= length:
        return begin
    mark = f"… ({len(text)} characters) …"
    end_length = (length - len(mark)) // 3
    return begin[: length - len(mark) - end_length] + mark + end[-end_length:]


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def _short_detail(detail: ObjectStatus) -> ObjectStatus:
    name, message = shorten(detail.object, _MAX_NAME), shorten(detail.message, _MAX_MESSAGE)
    return detail.model_copy(update={"object": name, "message": message})


def _first(items: Iterable[tuple[T, int]], available: int) -> tuple[T, ...]:
    """Return the first items whose sizes together are not larger."""
    found: list[T] = []
    for item, size in items:
        available -= size
        if available < 0:
            break
        found.append(item)
    return tuple(found)


def _rank(outcome: str) -> int:
    return _WORST_FIRST.index(outcome) if outcome in _WORST_FIRST else 0
