"""The oracle for requests and limits: the same rule, without the product's code.

Amounts are small whole numbers; ``None`` is an absent one.
"""

from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class Given:
    """The request and limit of a node, and the defaults of the records."""

    request: int | None
    limit: int | None
    default: int | None
    mirror: bool = False


@dataclass(frozen=True)
class Bounds:
    """The limits of the records."""

    limit: int | None
    ceiling: int | None

    @property
    def lowest(self) -> int | None:
        return min((b for b in (self.limit, self.ceiling) if b is not None), default=None)


@dataclass(frozen=True)
class Runs:
    """The node runs with this request and this limit."""

    request: int | None
    limit: int | None


@dataclass(frozen=True)
class Refused:
    """The request or the limit is over a bound."""

    field: str
    value: int
    over: int


UNSTORABLE = "cannot be stored"
"""The records contradict each other; the later one is refused when it is written."""

Decision = Runs | Refused | str

AMOUNTS = (None, 1, 3)
GIVEN = [
    *(Given(None, None, default) for default in AMOUNTS),
    *(Given(r, limit, None) for r, limit in product(AMOUNTS, (None, 2, 4)) if r or limit),
    *(Given(request, None, None, mirror=True) for request in (1, 3)),
]
BOUNDS = [Bounds(limit, ceiling) for ceiling in (None, 3) for limit in (None, 2, 4)]


def decide(given: Given, bounds: Bounds, *, clamp: bool) -> Decision:
    """Apply the rule in the order of the page's sentences."""
    for value, bound in (
        (given.default, bounds.limit),
        (given.default, bounds.ceiling),
        (bounds.limit, bounds.ceiling),
    ):
        if value is not None and bound is not None and value > bound:
            return UNSTORABLE
    request, limit = given.request, given.limit
    if request is None and limit is None:
        request = limit = given.default
    elif request is None:
        request = limit
    elif limit is None and given.mirror:
        limit = request
    return _bounded(given, request, limit, bounds.lowest, clamp)


def _bounded(
    given: Given, request: int | None, limit: int | None, lowest: int | None, clamp: bool
) -> Decision:
    if clamp:
        if lowest is not None:
            request = None if request is None else min(request, lowest)
            limit = None if limit is None else min(limit, lowest)
        if request is not None and limit is not None:
            request = min(request, limit)
        return Runs(request, limit)
    if lowest is not None and given.request is not None and given.request > lowest:
        return Refused("request", given.request, lowest)
    if lowest is not None and limit is not None and limit > lowest:
        return Refused("limit", limit, lowest)
    if request is not None and limit is not None and request > limit:
        return Refused("request", request, limit)
    return Runs(request, limit)
