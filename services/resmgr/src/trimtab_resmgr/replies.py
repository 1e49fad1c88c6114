"""Bodies of replies, which have to fit into a message of NATS. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.models import Model
from trimtab.tokens.protocol import Allocated, Batched, Inspected, PoolPage, Recounted

MAX_BYTES = 1_000_000
"""The longest body. NATS servers accept messages of 1 MiB by default."""

_LISTS: Mapping[type[Model], Sequence[str]] = {
    Inspected: ("by_project", "by_project_domain"),
    Recounted: ("differences", "forced"),
}
"""The fields that may be shortened, by reply. Each reply counts what it leaves out."""


_MAX_LISTED_BYTES = MAX_BYTES // 2
"""The longest lists of an `Inspected`; its sums have the rest."""


def fitting(limit: int, listed: Sequence[Model]) -> int:
    """Return how many items of each list fit into a reply, if ``listed`` are those of a limit."""
    size = sum(len(item.model_dump_json().encode()) + 1 for item in listed)
    return limit if size <= _MAX_LISTED_BYTES else max(1, limit * _MAX_LISTED_BYTES // (2 * size))


def encode(reply: Model) -> bytes:
    """Return the body of a reply, without the last items of its lists where it would be too long.

    Of sums, the smallest are left out; of the replies to a batch, their lists of blockers. A page
    of pools ends earlier.
    """
    body = reply.model_dump_json().encode()
    if len(body) > MAX_BYTES and isinstance(reply, Batched):
        shorter = tuple(_without_blockers(each) for each in reply.allocate)
        body = reply.model_copy(update={"allocate": shorter}).model_dump_json().encode()
    while len(body) > MAX_BYTES and isinstance(reply, PoolPage):
        reply = _shorter_page(reply)
        body = reply.model_dump_json().encode()
    fields = _LISTS.get(type(reply), ())
    while len(body) > MAX_BYTES and any(getattr(reply, name) for name in fields):
        reply = _shortened(reply, max(fields, key=lambda name: _size(getattr(reply, name))))
        body = reply.model_dump_json().encode()
    return body


def _shortened(reply: Any, field: str) -> Model:
    """Return the reply with half of the items of a field."""
    items = getattr(reply, field)
    kept = len(items) // 2
    if isinstance(items, dict):
        largest = sorted(items.items(), key=lambda item: -item[1])[:kept]
        shorter: Any = dict(largest)
    else:
        shorter = items[:kept]
    omitted = reply.omitted + len(items) - kept
    copy: Model = reply.model_copy(update={field: shorter, "omitted": omitted})
    return copy


def _shorter_page(page: PoolPage) -> PoolPage:
    pools = page.pools[: len(page.pools) // 2]
    return page.model_copy(update={"pools": pools, "next": pools[-1].pool})


def _size(items: Any) -> int:
    return sum(len(str(item)) for item in items)


def _without_blockers(reply: Allocated) -> Allocated:
    return reply.model_copy(update={"blockers": (), "reason": reply.reason[:500]})
