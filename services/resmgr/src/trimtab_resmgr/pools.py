"""What a request may take of a pool, and the words for a refusal. Pure: no I/O, clock, await."""

from collections.abc import Iterable, Mapping
from enum import IntEnum

from trimtab.errors import Invalid
from trimtab.events import PoolChanged
from trimtab.tokens import Allocate, Allocated


class Limit(IntEnum):
    """What can refuse a request; the numbers are those of ``lua/allocate.lua``."""

    QUOTA = 1
    PROJECT = 2
    PROJECT_DOMAIN = 3


Limits = Mapping[Limit, int]
"""Units that may be held at once; a cap that is not set is absent."""


def limits(pool: PoolChanged, ask: Allocate, ceiling: int) -> Limits:
    """The pool's caps and those of the request hold together: the smaller one decides."""
    found = {Limit.QUOTA: min(pool.quota, ceiling)}
    for limit, caps in (
        (Limit.PROJECT, (pool.project_cap, ask.project_cap)),
        (Limit.PROJECT_DOMAIN, (pool.project_domain_cap, ask.project_domain_cap)),
    ):
        numbers = [cap for cap in caps if cap is not None]
        if numbers:
            found[limit] = min(numbers)
    return found


def refused(ask: Allocate, limits: Limits, by: Limit, held: int, counted: int) -> Allocated:
    """The answer to a request that a limit refused.

    ``held`` are the units of the pool, ``counted`` those that the limit counts.
    """
    for limit, number in limits.items():
        if ask.weight > number:
            # Whichever limit was met first, this is the one that waiting does not help against.
            reason = f"{_words(ask, limit, number)}, so {ask.weight} can never be granted"
            return Allocated(status="never_fits", reason=reason, held=held)
    reason = f"{_words(ask, by, limits[by])}: {counted} held, {ask.weight} asked for"
    return Allocated(status="exhausted", reason=reason, held=held)


def check_ceiling(pools: Iterable[PoolChanged], ceiling: int) -> None:
    """Raises `Invalid` on the first pool that is larger than any may be."""
    for pool in pools:
        if pool.quota > ceiling:
            allowed = f"at most resourceMaxQuota, {ceiling}"
            raise Invalid(f"quota of pool {pool.name!r}", pool.quota, allowed)


def _words(ask: Allocate, limit: Limit, number: int) -> str:
    match limit:
        case Limit.QUOTA:
            return f"pool {ask.pool!r} has a quota of {number}"
        case Limit.PROJECT:
            return f"project {ask.project!r} may hold {number} of pool {ask.pool!r}"
        case Limit.PROJECT_DOMAIN:
            where = f"domain {ask.domain!r}"
            return f"project {ask.project!r} may hold {number} of pool {ask.pool!r} in {where}"
