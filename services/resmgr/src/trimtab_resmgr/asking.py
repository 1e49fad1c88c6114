"""Requests as ``lua/requests.lua`` reads them, and its answers as the protocol says them. Pure.

Times are microseconds there and seconds here; what is absent is false there and ``None`` here.
"""

import json
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any

from trimtab.tokens.protocol import (
    Allocate,
    Allocated,
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
from trimtab_resmgr import pools

Request = tuple[Any, ...]
"""An operation and its arguments, to be written as JSON."""
Answer = Sequence[Any]
"""Numbers, bytes and lists of them."""


class Status(IntEnum):
    """Of an allocation; the numbers are those of ``lua/requests.lua``."""

    GRANTED = 0
    WAITING = 1
    REFUSED = 2
    NEVER = 3
    TIMED_OUT = 4


_RENEWED = ("held", "lost", "reassert", "lost")
_WHY_NOT_HELD = (
    "",
    "it is not held: its lease has ended, or it was taken away",
    "Redis lost its memory, and may take it on your word",
    "a later grant of the same token is held",
)


def micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


def allocate(ask: Allocate, longest: float) -> Request:
    """``longest`` is the lease, in seconds, that nobody gets more than."""
    wait = ask.wait_seconds
    return (
        "allocate",
        ask.token,
        _units(ask),
        ask.project,
        ask.domain,
        ask.priority,
        False if ask.project_cap is None else ask.project_cap,
        False if ask.project_domain_cap is None else ask.project_domain_cap,
        micros(min(ask.lease_seconds, longest)),
        False if wait is None else micros(wait),
    )


def allocated(ask: Allocate, longest: float, answer: Answer) -> Allocated:
    status, held, fence, waited, position, place = answer[:6]
    if status == Status.GRANTED:
        return Allocated(
            status="granted",
            held=held,
            fence=fence,
            lease_seconds=min(ask.lease_seconds, longest),
            waited_seconds=_seconds(waited),
        )
    if status == Status.TIMED_OUT:
        reason = f"it has waited for its {ask.wait_seconds:g} s"
        return Allocated(status="exhausted", reason=reason, waited_seconds=_seconds(waited))
    blockers = tuple(pools.blocker(*blocker) for blocker in answer[6:])
    if status == Status.NEVER:
        reason = pools.hopeless(ask, blockers)
        return Allocated(status="never_fits", reason=reason, held=held, blockers=blockers)
    waiting = status == Status.WAITING
    return Allocated(
        status="waiting" if waiting and ask.wait_seconds is not None else "exhausted",
        reason=pools.reason(ask, blockers),
        held=held,
        position=position or None,
        blockers=blockers,
        retry_after_seconds=place / 1_000_000 if waiting else None,
        waited_seconds=_seconds(waited),
    )


def renew(ask: Renew, longest: float) -> Request:
    lease = micros(min(ask.lease_seconds, longest))
    return ("renew", ask.token, ask.all_pools, ask.fence or False, lease)


def reassert(ask: Reassert, longest: float) -> Request:
    lease = micros(min(ask.lease_seconds, longest))
    return ("reassert", ask.token, _units(ask), ask.project, ask.domain, ask.fence, lease)


def renewed(ask: Renew | Reassert, longest: float, answer: Answer) -> Renewed:
    code, fence = answer
    return Renewed.model_validate(
        {
            "status": _RENEWED[code],
            "reason": _WHY_NOT_HELD[code],
            "lease_seconds": min(ask.lease_seconds, longest) if code == 0 else None,
            "fence": fence or None,
        }
    )


def release(ask: Release) -> Request:
    return ("release", ask.token, ask.all_pools, ask.fence or False)


def force(ask: ForceRelease) -> Request:
    return ("force", ask.token, ask.all_pools, ask.actor, ask.why)


def released(answer: Answer) -> Released:
    held, waited, later = answer
    return _released(held == 1, waited == 1, later != 0)


@lru_cache
def _released(held: bool, waited: bool, later: bool) -> Released:
    """One of few: of the answers to a release there are millions."""
    why = _WHY_NOT_HELD[3 if later else 1]
    return Released(released=held, withdrew=waited, reason="" if held or waited else why)


def reprioritize(ask: Reprioritize) -> Request:
    return ("reprioritize", ask.token, ask.all_pools, ask.priority)


def reprioritized(answer: Answer) -> Reprioritized:
    [position] = answer
    return Reprioritized(waiting=position != 0, position=position if position > 0 else None)


def member(name: bytes) -> tuple[str, tuple[str, ...]]:
    """Token and pools of what is held; no pools where it is of one only."""
    token, *several = name.decode().split("\n")
    return token, tuple(several)


def holder(
    name: bytes,
    project: bytes,
    domain: bytes,
    weight: int,
    fence: int,
    left: int,
    age: int,
    claimed: int,
) -> Holder:
    token, several = member(name)
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


def waiter(
    position: int,
    token: bytes,
    names: Sequence[bytes],
    project: bytes,
    domain: bytes,
    weight: int,
    priority: int,
    age: int,
    blocked: Sequence[Answer],
) -> Waiter:
    blockers = tuple(pools.blocker(*blocker) for blocker in blocked)
    reasons = (pools.described(b, project.decode(), domain.decode(), weight) for b in blockers)
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


def forced(entry: bytes) -> Forced:
    token, names, actor, why, at, held = json.loads(entry)
    return Forced(token=token, pools=tuple(names), actor=actor, why=why, at_seconds=at, held=held)


def sums(found: Sequence[bytes]) -> tuple[int, dict[str, int], dict[str, int]]:
    """Units in all, by project, and by ``project/domain``."""
    held = 0
    by_project: dict[str, int] = {}
    by_project_domain: dict[str, int] = {}
    for field, units in zip(found[0::2], found[1::2], strict=True):
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


def _units(ask: Allocate | Reassert) -> list[tuple[str, int]]:
    if ask.pool is not None:  # nearly always, and much cheaper than by way of a `Units`
        return [(ask.pool, ask.weight)]
    return [(units.pool, units.weight) for units in ask.units]


def _seconds(waited: int) -> float | None:
    return None if waited == pools.NONE else waited / 1_000_000
