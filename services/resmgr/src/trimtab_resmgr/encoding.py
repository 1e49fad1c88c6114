"""The encoding of the Lua scripts: requests as they read them, replies as models. Pure.

Times are microseconds in Lua and seconds in Python; an absent value is false in Lua and ``None`` in
Python. A function named after a request encodes it, one named ``parse_…`` decodes a reply.
"""

import json
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

from trimtab.messages.events import PoolChanged
from trimtab.models import MAX_UNITS
from trimtab.tokens.protocol import (
    Allocate,
    Allocated,
    Blocker,
    Forced,
    ForceRelease,
    Holder,
    Reassert,
    Release,
    Released,
    Renew,
    Renewed,
    Reprioritize,
    Reprioritized,
    Waiter,
)
from trimtab_resmgr.limits import (
    Limit,
    PoolState,
    Source,
    describe_blocker,
    never_fits_reason,
    wait_reason,
)

Request = tuple[Any, ...]
"""An operation and its arguments, to be written as JSON."""
Reply = Sequence[Any]
"""Numbers, bytes and lists of them."""

NONE = -1
"""The number in a reply that stands for an absent one."""


class AllocationReply(IntEnum):
    """The status of a reply to ``allocate``, with the numbers of ``lua/requests.lua``."""

    GRANTED = 0
    WAITING = 1
    REFUSED = 2
    NEVER_FITS = 3
    TIMED_OUT = 4
    LATE = 5


_RENEWED = ("held", "lost", "reassert", "lost")
_WHY_NOT_HELD = (
    "",
    "the token is not held: its lease has ended, or it was released",
    "Redis lost its data; reassert the token while its lease lasts",
    "a later grant of the same token is held",
)


def micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


class Version(NamedTuple):
    """A version of the settings; a later one is greater."""

    generation: int
    """When the stream of the settings was created, in microseconds of Unix time."""
    revision: int


def pool_limits(pool: PoolChanged, version: Version, ceiling: int) -> str:
    """Encode the limits of a pool as ``lua/cohort.lua`` reads and stores them.

    A number that the scripts cannot count with is replaced by the nearest with which they can.
    """
    optional = (pool.project_cap, pool.project_domain_cap, pool.max_weight)
    caps = [False if cap is None else _units_allowed(cap) for cap in optional]
    quota = _units_allowed(min(pool.quota, ceiling))
    return json.dumps([version.revision, pool.active, quota, *caps, version.generation])


def _units_allowed(limit: int) -> int:
    return min(max(limit, 0), MAX_UNITS)


def allocate(request: Allocate, max_lease: float) -> Request:
    """``max_lease`` is the longest lease in seconds, here and below."""
    wait = request.wait_seconds
    return (
        "allocate",
        request.token,
        _units(request),
        request.project,
        request.domain,
        request.priority,
        _or_false(request.project_cap),
        _or_false(request.project_domain_cap),
        micros(min(request.lease_seconds, max_lease)),
        False if wait is None else micros(wait),
    )


def parse_allocated(request: Allocate, max_lease: float, reply: Reply) -> Allocated:
    status, held, fence, waited, position, retry_after = reply[:6]
    if status == AllocationReply.GRANTED:
        return Allocated(
            status="granted",
            reason=_held_otherwise(*reply[6]) if len(reply) > 6 else "",
            held=held,
            fence=fence,
            lease_seconds=min(request.lease_seconds, max_lease),
            waited_seconds=_seconds(waited),
        )
    if status == AllocationReply.TIMED_OUT:
        reason = f"not granted within wait_seconds, {request.wait_seconds:g}"
        return Allocated(status="exhausted", reason=reason, waited_seconds=_seconds(waited))
    blockers = tuple(parse_blocker(*blocker) for blocker in reply[6:])
    if status == AllocationReply.NEVER_FITS:
        reason = never_fits_reason(request, blockers)
        return Allocated(status="never_fits", reason=reason, held=held, blockers=blockers)
    waiting = status == AllocationReply.WAITING
    return Allocated(
        status="waiting" if waiting and request.wait_seconds is not None else "exhausted",
        reason=wait_reason(request, blockers),
        held=held,
        position=position or None,
        blockers=blockers,
        retry_after_seconds=retry_after / 1_000_000 if waiting else None,
        waited_seconds=_seconds(waited),
    )


def _held_otherwise(project: bytes, domain: bytes, *units: tuple[bytes, int]) -> str:
    """Describe a held token that was requested again with another body."""
    pools = ", ".join(f"{weight} of pool {pool.decode()!r}" for pool, weight in units)
    scope = f"project {project.decode()!r} in domain {domain.decode()!r}"
    return f"the token is held as it was granted: {pools}, for {scope}"


def parse_blocker(pool: bytes, limit: int, number: int, held: int) -> Blocker:
    return Blocker.model_validate(
        {
            "limit": Limit(limit).name.lower(),
            "pool": pool.decode(),
            "number": None if number == NONE else number,
            "held": None if held == NONE else held,
        }
    )


def renew(request: Renew, max_lease: float) -> Request:
    lease = micros(min(request.lease_seconds, max_lease))
    return ("renew", request.token, request.all_pools, _or_false(request.fence), lease)


def reassert(request: Reassert, max_lease: float) -> Request:
    lease = micros(min(request.lease_seconds, max_lease))
    return (
        "reassert",
        request.token,
        _units(request),
        request.project,
        request.domain,
        request.fence,
        lease,
    )


def parse_renewed(request: Renew | Reassert, max_lease: float, reply: Reply) -> Renewed:
    status, fence = reply
    return Renewed.model_validate(
        {
            "status": _RENEWED[status],
            "reason": _WHY_NOT_HELD[status],
            "lease_seconds": min(request.lease_seconds, max_lease) if status == 0 else None,
            "fence": fence or None,
        }
    )


def release(request: Release) -> Request:
    return ("release", request.token, request.all_pools, _or_false(request.fence))


def force_release(request: ForceRelease) -> Request:
    return ("force_release", request.token, request.all_pools, request.actor, request.why)


def parse_released(reply: Reply) -> Released:
    held, waited, later = reply
    return _released(held == 1, waited == 1, later != 0)


@lru_cache
def _released(held: bool, waited: bool, later: bool) -> Released:
    """Return one of the few different replies to a release, of which there are millions."""
    why = _WHY_NOT_HELD[3 if later else 1]
    return Released(released=held, withdrew=waited, reason="" if held or waited else why)


def reprioritize(request: Reprioritize) -> Request:
    return ("reprioritize", request.token, request.all_pools, request.priority)


def parse_reprioritized(reply: Reply) -> Reprioritized:
    [position] = reply
    return Reprioritized(waiting=position != 0, position=position if position > 0 else None)


def parse_member(member: bytes) -> tuple[str, tuple[str, ...]]:
    """Return the token and the pools of a member; no pools where the token has only one."""
    token, *several = member.decode().split("\n")
    return token, tuple(several)


def parse_holder(
    member: bytes,
    project: bytes,
    domain: bytes,
    weight: int,
    fence: int,
    left: int,
    age: int,
    claimed: int,
) -> Holder:
    token, several = parse_member(member)
    return Holder(
        token=token,
        project=project.decode(),
        domain=domain.decode(),
        weight=weight,
        expires_in_seconds=left / 1_000_000,
        fence=fence,
        age_seconds=age / 1_000_000,
        claimed=claimed == 1,
        pools=several,
    )


def parse_waiter(
    position: int,
    token: bytes,
    names: Sequence[bytes],
    project: bytes,
    domain: bytes,
    weight: int,
    priority: int,
    age: int,
    blocked: Sequence[Reply],
) -> Waiter:
    blockers = tuple(parse_blocker(*blocker) for blocker in blocked)
    reasons = (describe_blocker(b, project.decode(), domain.decode(), weight) for b in blockers)
    return Waiter(
        token=token.decode(),
        project=project.decode(),
        domain=domain.decode(),
        weight=weight,
        priority=priority,
        position=position,
        reason=next(reasons, ""),
        blockers=blockers,
        age_seconds=age / 1_000_000,
        pools=tuple(name.decode() for name in names) if len(names) > 1 else (),
    )


def parse_pool_state(
    held: int, holding: int, waiting: int, known: int, first: Sequence[Any]
) -> PoolState:
    if not first:
        return PoolState(held, holding, waiting, known == 1)
    since, demand, blockers = first
    return PoolState(
        held,
        holding,
        waiting,
        known == 1,
        since / 1_000_000,
        demand,
        tuple(_parse_source(*blocker) for blocker in blockers),
    )


def _parse_source(pool: bytes, limit: int, _number: int, _held: int, source: bytes) -> Source:
    by, _ = parse_member(source)
    return Source(Limit(limit).name.lower(), pool.decode(), by)


def parse_forced(entry: bytes) -> Forced:
    token, names, actor, why, at, held = json.loads(entry)
    return Forced(token=token, pools=tuple(names), actor=actor, why=why, at_seconds=at, held=held)


def parse_sums(sums: Sequence[bytes]) -> tuple[int, dict[str, int], dict[str, int]]:
    """Return the units in all, by project, and by ``project/domain``."""
    held = 0
    by_project: dict[str, int] = {}
    by_project_domain: dict[str, int] = {}
    for field, units in zip(sums[0::2], sums[1::2], strict=True):
        match field[:2]:
            case b"p:":
                by_project[field[2:].decode()] = int(units)
            case b"d:":
                size, _, both = field[2:].partition(b":")
                project, domain = both[: int(size)], both[int(size) + 1 :]
                by_project_domain[f"{project.decode()}/{domain.decode()}"] = int(units)
            case _:
                held = int(units)
    return held, by_project, by_project_domain


def _units(request: Allocate | Reassert) -> list[tuple[str, int]]:
    if request.pool is not None:  # The common case, which need not build `Units`.
        return [(request.pool, request.weight)]
    return [(units.pool, units.weight) for units in request.units]


def _or_false(number: int | None) -> int | bool:
    return False if number is None else number


def _seconds(micros: int) -> float | None:
    return None if micros == NONE else micros / 1_000_000
