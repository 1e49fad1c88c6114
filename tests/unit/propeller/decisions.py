"""What requests and limits should become, told again without the product's code.

Amounts are small whole numbers. ``None`` is: nobody says it.
"""

from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class Asked:
    """What a node asks for, and what the records say of defaults."""

    request: int | None
    limit: int | None
    default: int | None
    mirror: bool = False


@dataclass(frozen=True)
class Bounds:
    """What the records allow."""

    limit: int | None
    ceiling: int | None

    @property
    def lowest(self) -> int | None:
        return min((b for b in (self.limit, self.ceiling) if b is not None), default=None)


@dataclass(frozen=True)
class Runs:
    """With this request and this limit."""

    request: int | None
    limit: int | None


@dataclass(frozen=True)
class Refused:
    """Because this is over that."""

    what: str
    value: int
    over: int


UNSTORABLE = "cannot be stored"
"""The records contradict each other, and the later one is refused when it is written."""

Decision = Runs | Refused | str

AMOUNTS = (None, 1, 3)
ASKED = [
    *(Asked(None, None, default) for default in AMOUNTS),
    *(Asked(r, limit, None) for r, limit in product(AMOUNTS, (None, 2, 4)) if r or limit),
    *(Asked(request, None, None, mirror=True) for request in (1, 3)),
]
BOUNDS = [Bounds(limit, ceiling) for ceiling in (None, 3) for limit in (None, 2, 4)]


def decide(asked: Asked, bounds: Bounds, *, clamp: bool) -> Decision:
    """The rule, in the order of the page's sentences."""
    for value, bound in (
        (asked.default, bounds.limit),
        (asked.default, bounds.ceiling),
        (bounds.limit, bounds.ceiling),
    ):
        if value is not None and bound is not None and value > bound:
            return UNSTORABLE
    request, limit = asked.request, asked.limit
    if request is None and limit is None:
        request = limit = asked.default
    elif request is None:
        request = limit
    elif limit is None and asked.mirror:
        limit = request
    return _bounded(asked, request, limit, bounds.lowest, clamp)


def _bounded(
    asked: Asked, request: int | None, limit: int | None, lowest: int | None, clamp: bool
) -> Decision:
    if clamp:
        if lowest is not None:
            request = None if request is None else min(request, lowest)
            limit = None if limit is None else min(limit, lowest)
        if request is not None and limit is not None:
            request = min(request, limit)
        return Runs(request, limit)
    if lowest is not None and asked.request is not None and asked.request > lowest:
        return Refused("request", asked.request, lowest)
    if lowest is not None and limit is not None and limit > lowest:
        return Refused("limit", limit, lowest)
    if request is not None and limit is not None and request > limit:
        return Refused("request", request, limit)
    return Runs(request, limit)
