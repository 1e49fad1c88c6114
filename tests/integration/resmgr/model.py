"""A model of resmgr in plain Python: lists that each step counts again. Pure.

It shares no code with the product, has no clock, and performs one step after the other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

AGEING = 1000

TokenName = tuple[str, tuple[str, ...]]
"""The id of a token and its pools."""


class Limits(NamedTuple):
    """The limits of a pool; ``None`` is no limit."""

    quota: int
    project_cap: int | None = None
    domain_cap: int | None = None
    max_weight: int | None = None
    active: bool = True


class Blocker(NamedTuple):
    limit: str
    pool: str
    number: int | None = None
    held: int | None = None


@dataclass(frozen=True)
class Request:
    """A request for a token."""

    token: str
    units: tuple[tuple[str, int], ...]
    """Pools, sorted, with their weights."""
    project: str
    domain: str
    priority: int = 0
    project_cap: int | None = None
    domain_cap: int | None = None
    waits: bool = True
    """Whether it waits for its token."""
    grant: int = 0
    """The number of its grant, which orders fences; 0 where it was not granted."""

    @property
    def name(self) -> TokenName:
        return self.token, self.pools

    @property
    def pools(self) -> tuple[str, ...]:
        return tuple(pool for pool, _ in self.units)

    def weight(self, pool: str) -> int:
        return dict(self.units)[pool]


@dataclass(frozen=True)
class Waiter:
    request: Request
    arrival: int
    tags: dict[str, int]
    """The start tags in the virtual time of its pools."""

    @property
    def subqueue(self) -> tuple[str, str, int]:
        return self.request.project, self.request.domain, self.request.priority

    def score(self, pool: str) -> int:
        return self.tags[pool] - self.request.priority * AGEING


class Reply(NamedTuple):
    status: str
    position: int | None = None
    blockers: tuple[Blocker, ...] = ()


@dataclass
class Model:
    limits: dict[str, Limits]
    reserving: bool
    """Whether units are reserved for the first waiter that needs them without a delay."""
    held: list[Request] = field(default_factory=list)
    waiting: list[Waiter] = field(default_factory=list)
    pre_granted: list[str] = field(default_factory=list)
    """Tokens of the waiters that the last step granted."""
    quarantined: bool = False
    _grants: int = 0
    _arrivals: int = 0
    _virtual: dict[str, int] = field(default_factory=dict)
    _finish: dict[tuple[str, str], int] = field(default_factory=dict)
    _freed: list[str] = field(default_factory=list)
    _granting: list[str] = field(default_factory=list)

    # Steps

    def allocate(self, request: Request) -> Reply:
        if self.holds(request.name):
            return Reply("granted")
        blockers = self._exceeded_limits(request)
        known = self._waiter(request.name)
        if any(b.number is not None and request.weight(b.pool) > b.number for b in blockers):
            if known:
                self._dequeue(known)
            self._grant_freed()
            return Reply("never_fits", None, tuple(blockers))
        if not any(self._queue(pool) for pool in request.pools):
            if not blockers:
                self._grant(request)
                return Reply("granted")
            if not request.waits:
                return Reply("exhausted", None, tuple(blockers))
        return self._wait(request, known)

    def release(self, name: TokenName) -> bool:
        """Return whether the token was held or waited."""
        found = self._delete(name)
        known = self._waiter(name)
        if not found and known:
            self._dequeue(known)
        self._grant_freed()
        return found or known is not None

    def abandon(self, name: TokenName) -> None:
        """Drop a waiter that did not repeat its request."""
        if known := self._waiter(name):
            self._dequeue(known)
        self._grant_freed()

    def expire(self, name: TokenName) -> None:
        """End the lease of a token."""
        self._sweep(name[1] if self._delete(name) else ())

    def declare(self, pool: str, limits: Limits) -> None:
        changed = self.limits[pool] != limits
        self.limits[pool] = limits
        if changed:
            self._free(pool)
        self._grant_freed()

    def reprioritize(self, name: TokenName, priority: int) -> int | None:
        """Return the position; 0 where the change granted it, ``None`` where it does not wait."""
        known = self._waiter(name)
        if known is None:
            return None
        self.waiting.remove(known)
        moved = replace(known, request=replace(known.request, priority=priority))
        self.waiting.append(moved)
        self._free(*moved.request.pools)
        self._grant_freed()
        return self._position(moved) if moved in self.waiting else 0

    def fail_over(self) -> None:
        """Move to another server that has all data."""
        self.quarantined = True

    def flush(self) -> None:
        """Delete all data. Fences grow all the same."""
        self.__init__(  # type: ignore[misc]
            self.limits, self.reserving, quarantined=True, _grants=self._grants
        )

    def reassert(self, request: Request) -> str:
        """Reassert a grant, which may have been followed by another of the same token."""
        for held in self.held:
            if held.name == request.name:
                return "held" if held.grant == request.grant else "lost"
        if not self.quarantined:
            return "lost"
        if known := self._waiter(request.name):
            self._dequeue(known)
        self.held.append(request)
        self._freed.clear()
        return "held"

    def end_quarantine(self) -> None:
        self.quarantined = False
        self._sweep(sorted(self.limits))

    # Observations

    def holds(self, name: TokenName) -> bool:
        return any(held.name == name for held in self.held)

    def units(self, pool: str, project: str | None = None, domain: str | None = None) -> int:
        return sum(
            held.weight(pool)
            for held in self.held
            if pool in held.pools
            and (project is None or held.project == project)
            and (domain is None or held.domain == domain)
        )

    def order(self, pool: str) -> list[Waiter]:
        return sorted(self._queue(pool), key=lambda w: (w.score(pool), w.arrival))

    # Decisions

    def _delete(self, name: TokenName) -> bool:
        found = self.holds(name)
        if found:
            self.held = [held for held in self.held if held.name != name]
            self._free(*name[1])
        return found

    def _grant(self, request: Request) -> None:
        self._grants += 1
        self.held.append(replace(request, grant=self._grants))

    def _wait(self, request: Request, known: Waiter | None) -> Reply:
        if known and not (self._is_same(known.request, request) and request.waits):
            self._dequeue(known)
            self._grant_freed()
            known = None
        waiter = self._refresh(known, request) if known else self._enqueue(request)
        blockers = self._blockers(waiter)
        if not blockers:
            self._grant(waiter.request)
            self._dequeue(waiter, granted=True)
            reply = Reply("granted")
        elif not request.waits:
            self._dequeue(waiter)
            reply = Reply("exhausted", None, tuple(blockers))
        else:
            reply = Reply("waiting", self._position(waiter), tuple(blockers))
        self._grant_freed()
        return reply

    def _is_same(self, one: Request, other: Request) -> bool:
        return (one.project, one.domain, one.units) == (other.project, other.domain, other.units)

    def _refresh(self, known: Waiter, request: Request) -> Waiter:
        caps = {"project_cap": request.project_cap, "domain_cap": request.domain_cap}
        waiter = replace(known, request=replace(known.request, **caps))
        self.waiting[self.waiting.index(known)] = waiter
        return waiter

    def _enqueue(self, request: Request) -> Waiter:
        self._arrivals += 1
        tags = {}
        for pool, weight in request.units:
            project = (pool, request.project)
            tags[pool] = max(self._virtual.get(pool, 0), self._finish.get(project, 0))
            self._finish[project] = tags[pool] + weight
        waiter = Waiter(request, self._arrivals, tags)
        self.waiting.append(waiter)
        return waiter

    def _dequeue(self, waiter: Waiter, *, granted: bool = False) -> None:
        self.waiting.remove(waiter)
        for pool, weight in waiter.request.units:
            project, tag = (pool, waiter.request.project), waiter.tags[pool]
            if not self._queue(pool):
                self._virtual.pop(pool, None)
                self._finish = {k: v for k, v in self._finish.items() if k[0] != pool}
            elif granted:
                self._virtual[pool] = max(self._virtual.get(pool, 0), tag)
            elif self._finish.get(project) == tag + weight:
                self._finish[project] = tag
            self._free(pool)

    def _sweep(self, pools: Sequence[str]) -> None:
        self._free(*pools)
        for pool in pools:
            self._grant_waiters(pool)
        self._grant_freed()

    def _grant_freed(self) -> None:
        while self._freed:
            self._grant_waiters(self._freed[-1])

    def _free(self, *pools: str) -> None:
        self._freed += [pool for pool in pools if pool not in self._freed]

    def _grant_waiters(self, pool: str) -> None:
        if pool in self._freed:
            self._freed.remove(pool)
        self._granting.append(pool)
        self._grant_in_order(pool)
        self._granting.remove(pool)

    def _grant_in_order(self, pool: str) -> None:
        limits, rank = self.limits[pool], 0
        if self.quarantined or not limits.active:
            return
        while self.units(pool) < limits.quota and rank < len(heads := self._heads(pool)):
            first = heads[rank]
            if self._blockers(first):
                rank += 1
            elif self._grant_elsewhere(first):
                now = self._heads(pool)
                rank = now.index(first) if first in now else rank
            else:
                self._grant(first.request)
                self.pre_granted.append(first.request.token)
                self._dequeue(first, granted=True)

    def _grant_elsewhere(self, waiter: Waiter) -> bool:
        """Let those go first that come before it in another pool with freed units."""
        found = False
        for pool in waiter.request.pools:
            if pool in self._freed and pool not in self._granting:
                self._grant_waiters(pool)
                found = True
        return found

    def _blockers(self, waiter: Waiter) -> list[Blocker]:
        found = []
        for pool, weight in waiter.request.units:
            exceeded = list(self._exceeded_in(pool, waiter.request))
            found += exceeded
            of_pool = [b for b in exceeded if b.limit != "quarantine"]
            if waiter not in self._heads(pool):
                found.append(Blocker("order", pool))
            elif not of_pool and (reserved := self._reserved(pool, waiter)):
                used = self.units(pool)
                if used + weight + reserved > self.limits[pool].quota:
                    found.append(Blocker("reservation", pool, reserved, used))
        return found

    def _exceeded_limits(self, request: Request) -> list[Blocker]:
        return [b for pool in request.pools for b in self._exceeded_in(pool, request)]

    def _exceeded_in(self, pool: str, request: Request) -> Iterator[Blocker]:
        limits, weight = self.limits[pool], request.weight(pool)
        if self.quarantined:
            yield Blocker("quarantine", pool)
        if not limits.active:
            yield Blocker("inactive", pool)
        if limits.max_weight is not None and weight > limits.max_weight:
            yield Blocker("max_weight", pool, limits.max_weight, 0)
        project, domain = request.project, request.domain
        project_cap = smaller(limits.project_cap, request.project_cap)
        domain_cap = smaller(limits.domain_cap, request.domain_cap)
        for limit, number, held in (
            ("quota", limits.quota, self.units(pool)),
            ("project_cap", project_cap, self.units(pool, project)),
            ("project_domain_cap", domain_cap, self.units(pool, project, domain)),
        ):
            if number is not None and held + weight > number:
                yield Blocker(limit, pool, number, held)

    def _reserved(self, pool: str, waiter: Waiter) -> int:
        for head in self._heads(pool):
            if head == waiter:
                return 0
            if self._waits_for_units(head.request):
                older = head.arrival < waiter.arrival
                return head.request.weight(pool) if self.reserving and older else 0
        return 0

    def _waits_for_units(self, request: Request) -> bool:
        """Return whether it only needs units that others hold."""
        blockers = [b for b in self._exceeded_limits(request) if b.limit != "quarantine"]
        can_fit = all(weight <= self.limits[pool].quota for pool, weight in request.units)
        return can_fit and {b.limit for b in blockers} == {"quota"}

    def _queue(self, pool: str) -> list[Waiter]:
        return [waiter for waiter in self.waiting if pool in waiter.request.pools]

    def _heads(self, pool: str) -> list[Waiter]:
        first: dict[tuple[str, str, int], Waiter] = {}
        for waiter in sorted(self._queue(pool), key=lambda w: w.arrival):
            first.setdefault(waiter.subqueue, waiter)
        return sorted(first.values(), key=lambda w: (w.score(pool), w.arrival))

    def _waiter(self, name: TokenName) -> Waiter | None:
        return next((waiter for waiter in self.waiting if waiter.request.name == name), None)

    def _position(self, waiter: Waiter) -> int:
        return max(1 + self.order(pool).index(waiter) for pool in waiter.request.pools)


def smaller(one: int | None, other: int | None) -> int | None:
    given = [each for each in (one, other) if each is not None]
    return min(given) if given else None
