"""The limits of pools: which there are, and the messages that explain a refusal. Pure."""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple, get_args

from trimtab.errors import Invalid
from trimtab.messages.events import PoolChanged
from trimtab.tokens.protocol import Allocate, Blocked, Blocker


class Left(NamedTuple):
    """The use that keeps a pool in another cohort, its home."""

    home: str
    held: int
    waiting: int


class Source(NamedTuple):
    """A blocker of a waiter, and what it is."""

    limit: str
    pool: str
    by: str


class PoolState(NamedTuple):
    """The use of a pool, and what blocks its first waiter."""

    held: int
    holding: int
    waiting: int
    is_known: bool
    """Whether the scripts know its limits."""
    since_seconds: float | None = None
    """How long the first waiter is the first; ``None`` where none waits."""
    demand: int = 0
    blockers: Sequence[Source] = ()


class Limit(IntEnum):
    """The kinds of `Blocker`, with the numbers of ``lua/queue.lua``."""

    QUOTA = 1
    PROJECT_CAP = 2
    PROJECT_DOMAIN_CAP = 3
    INACTIVE = 4
    QUARANTINE = 5
    ORDER = 6
    RESERVATION = 7
    MAX_WEIGHT = 8


_RANKS: Mapping[str, int] = {
    reason: rank for rank, reason in enumerate(get_args(Blocked.model_fields["reason"].annotation))
}
"""The precedence of the reasons why a pool grants nothing."""


def blocked(pool: str, state: PoolState, above: Source | None) -> Blocked | None:
    """Return why a pool grants nothing now, if anything keeps it from that.

    ``above`` is a reason that concerns the whole pool, which comes before those of its waiters.
    """
    if state.waiting and above is None and not state.is_known:
        above = Source("unknown", pool, "")
    found = above or _first_limit(pool, state.blockers)
    if found is None:
        return None
    return Blocked.model_validate(
        {
            "reason": found.limit,
            "pool": found.pool,
            "by": found.by,
            "since_seconds": state.since_seconds,
            "demand": state.demand,
        }
    )


def _first_limit(pool: str, blockers: Sequence[Source]) -> Source | None:
    return min(blockers, key=lambda each: (each.pool != pool, _RANKS[each.limit]), default=None)


def quota_error(pool: PoolChanged, ceiling: int) -> Invalid | None:
    """Return the error of a pool whose quota exceeds the ceiling, which is granted instead."""
    if pool.quota <= ceiling:
        return None
    allowed = f"at most resourceMaxQuota, {ceiling}"
    return Invalid(f"quota of pool {pool.name!r}", pool.quota, allowed)


def describe_left(pool: str, left: Left) -> str:
    """Describe why nothing is granted of a pool whose tokens are counted in another cohort."""
    return (
        f"pool {pool!r} is granted here once nothing of it is held in cohort {left.home!r}: "
        f"{left.held} held"
    )


def wait_reason(request: Allocate, blockers: Sequence[Blocker]) -> str:
    """Describe the first blocker of a request; empty where there is none."""
    if not blockers:
        return ""
    first = blockers[0]
    return describe_blocker(first, request.project, request.domain, _weight(request, first.pool))


def never_fits_reason(request: Allocate, blockers: Sequence[Blocker]) -> str:
    """Describe the first limit that the request exceeds by itself."""
    for blocker in blockers:
        weight = _weight(request, blocker.pool)
        number, held = blocker.number, blocker.held
        if number is not None and held is not None and weight > number:
            limit = _describe_limit(blocker, request.project, request.domain)
            return f"{limit}, so {weight} can never be granted"
    raise ValueError(f"{request} exceeds none of {blockers} by itself")


def describe_blocker(blocker: Blocker, project: str, domain: str, weight: int) -> str:
    """Describe a blocker of a request for so many units of its pool."""
    match blocker.limit:
        case "inactive":
            return f"pool {blocker.pool!r} is not active"
        case "quarantine":
            return "Redis lost its data: holders have time to reassert their tokens"
        case "order":
            return f"other waiters of pool {blocker.pool!r} come first"
        case "reservation":
            limit = f"{blocker.number} of pool {blocker.pool!r} are reserved for an earlier waiter"
        case _:
            limit = _describe_limit(blocker, project, domain)
    return f"{limit}: {blocker.held} held, {weight} requested"


def _describe_limit(blocker: Blocker, project: str, domain: str) -> str:
    number, pool = blocker.number, blocker.pool
    match blocker.limit:
        case "project_cap":
            return f"project {project!r} may hold {number} of pool {pool!r}"
        case "max_weight":
            return f"a token of pool {pool!r} may have {number}"
        case "project_domain_cap":
            where = f"domain {domain!r}"
            return f"project {project!r} may hold {number} of pool {pool!r} in {where}"
        case _:
            return f"pool {pool!r} has a quota of {number}"


def _weight(request: Allocate, pool: str) -> int:
    return next((units.weight for units in request.units if units.pool == pool), request.weight)
