"""What pools allow, in the words of the scripts and of people. Pure: no I/O, clock, await."""

import json
from collections.abc import Iterable, Sequence
from enum import IntEnum

from trimtab.errors import Invalid
from trimtab.messages.events import PoolChanged
from trimtab.tokens.protocol import Allocate, Blocker

NONE = -1
"""What a script says where there is no number."""


class Limit(IntEnum):
    """What can be in the way of a request; the numbers are those of ``lua/queue.lua``."""

    QUOTA = 1
    PROJECT_CAP = 2
    PROJECT_DOMAIN_CAP = 3
    INACTIVE = 4
    QUARANTINE = 5
    ORDER = 6
    RESERVATION = 7
    MAX_WEIGHT = 8


def limits(pool: PoolChanged, revision: int, ceiling: int) -> str:
    """As ``lua/cohort.lua`` reads and keeps them."""
    optional = (pool.project_cap, pool.project_domain_cap, pool.max_weight)
    caps = [False if cap is None else cap for cap in optional]
    return json.dumps([revision, pool.active, min(pool.quota, ceiling), *caps])


def check_ceiling(pools: Iterable[PoolChanged], ceiling: int) -> None:
    """Raises `Invalid` on the first pool that is larger than any may be."""
    for pool in pools:
        if pool.quota > ceiling:
            allowed = f"at most resourceMaxQuota, {ceiling}"
            raise Invalid(f"quota of pool {pool.name!r}", pool.quota, allowed)


def blocker(pool: bytes, limit: int, number: int, held: int) -> Blocker:
    """From what a script says."""
    return Blocker.model_validate(
        {
            "limit": Limit(limit).name.lower(),
            "pool": pool.decode(),
            "number": None if number == NONE else number,
            "held": None if held == NONE else held,
        }
    )


def reason(ask: Allocate, blockers: Sequence[Blocker]) -> str:
    """Why it has to wait: the first of what is in the way."""
    if not blockers:
        return ""
    first = blockers[0]
    weight = _weight(ask, first.pool)
    return described(first, ask.project, ask.domain, weight)


def hopeless(ask: Allocate, blockers: Sequence[Blocker]) -> str:
    """Why it can never be granted: the first limit that waiting does not help against."""
    for each in blockers:
        weight = _weight(ask, each.pool)
        if each.number is not None and each.held is not None and weight > each.number:
            limit = _words(each, ask.project, ask.domain)
            return f"{limit}, so {weight} can never be granted"
    raise ValueError(f"{blockers} allow {ask} some day")


def described(blocker: Blocker, project: str, domain: str, weight: int) -> str:
    """One thing that is in the way of so many units for a project."""
    match blocker.limit:
        case "inactive":
            return f"pool {blocker.pool!r} is not active"
        case "quarantine":
            return "Redis lost its memory: holders are given the time to say what they hold"
        case "order":
            return f"others wait for pool {blocker.pool!r} and come first"
        case "reservation":
            kept = f"{blocker.number} of pool {blocker.pool!r} are kept for one that waited long"
            return f"{kept}: {blocker.held} held, {weight} asked for"
        case _:
            limit = _words(blocker, project, domain)
            return f"{limit}: {blocker.held} held, {weight} asked for"


def _words(blocker: Blocker, project: str, domain: str) -> str:
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


def _weight(ask: Allocate, pool: str) -> int:
    return next((units.weight for units in ask.units if units.pool == pool), ask.weight)
