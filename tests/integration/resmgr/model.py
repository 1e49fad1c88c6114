"""What resmgr must answer, in plain Python: lists that are counted anew each time. Pure.

It shares no code with the product, knows no time, and takes one step after the other.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

AGEING = 1000


class Limits(NamedTuple):
    """Of a pool; ``None`` is no limit."""

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
class Ask:
    """A request for a token."""

    token: str
    units: tuple[tuple[str, int], ...]
    """Pools, sorted, with their weights."""
    project: str
    domain: str
    priority: int = 0
    project_cap: int | None = None
    domain_cap: int | None = None
    place: bool = True
    """Whether it wants one."""
    grant: int = 0
    """Which one it got, as later fences are higher; 0 where it has none."""

    @property
    def id(self) -> tuple[str, tuple[str, ...]]:
        return self.token, self.pools

    @property
    def pools(self) -> tuple[str, ...]:
        return tuple(pool for pool, _ in self.units)

    def weight(self, pool: str) -> int:
        return dict(self.units)[pool]


@dataclass(frozen=True)
class Waiter:
    ask: Ask
    arrival: int
    tags: dict[str, int]
    """Where it begins in the virtual time of each of its pools."""

    @property
    def line(self) -> tuple[str, str, int]:
        return self.ask.project, self.ask.domain, self.ask.priority

    def score(self, pool: str) -> int:
        return self.tags[pool] - self.ask.priority * AGEING


class Reply(NamedTuple):
    status: str
    position: int | None = None
    blockers: tuple[Blocker, ...] = ()


@dataclass
class Model:
    limits: dict[str, Limits]
    ripe: bool
    """Whether units are kept for the first that waits for room, from the beginning."""
    held: list[Ask] = field(default_factory=list)
    waiting: list[Waiter] = field(default_factory=list)
    woken: list[str] = field(default_factory=list)
    """Tokens granted in passing by the last step."""
    quarantined: bool = False
    _grants: int = 0
    _arrivals: int = 0
    _virtual: dict[str, int] = field(default_factory=dict)
    _finish: dict[tuple[str, str], int] = field(default_factory=dict)
    _freed: list[str] = field(default_factory=list)

    # What may happen.

    def allocate(self, ask: Ask) -> Reply:
        if self.holds(ask.id):
            return Reply("granted")
        blockers = self._limited(ask)
        known = self._place(ask.id)
        if any(b.number is not None and ask.weight(b.pool) > b.number for b in blockers):
            if known:
                self._leave(known)
            self._settle()
            return Reply("never_fits", None, tuple(blockers))
        if not any(self._queue(pool) for pool in ask.pools):
            if not blockers:
                self._grant(ask)
                return Reply("granted")
            if not ask.place:
                return Reply("exhausted", None, tuple(blockers))
        return self._wait(ask, known)

    def release(self, name: tuple[str, tuple[str, ...]]) -> bool:
        """Whether it was held or waited."""
        found = self.drop(name)
        known = self._place(name)
        if not found and known:
            self._leave(known)
        self._settle()
        return found or known is not None

    def forget(self, name: tuple[str, tuple[str, ...]]) -> None:
        """Its place was not asked for again."""
        if known := self._place(name):
            self._leave(known)
        self._settle()

    def end(self, name: tuple[str, tuple[str, ...]]) -> None:
        """Its lease has ended."""
        self._sweep(name[1] if self.drop(name) else ())

    def declare(self, pool: str, limits: Limits) -> None:
        changed = self.limits[pool] != limits
        self.limits[pool] = limits
        if changed:
            self._freed.append(pool)
        self._settle()

    def reprioritize(self, name: tuple[str, tuple[str, ...]], priority: int) -> int | None:
        """Its position; 0 where it was granted by that, and ``None`` where it does not wait."""
        known = self._place(name)
        if known is None:
            return None
        self.waiting.remove(known)
        moved = replace(known, ask=replace(known.ask, priority=priority))
        self.waiting.append(moved)
        self._freed += moved.ask.pools
        self._settle()
        return self._position(moved) if moved in self.waiting else 0

    def lose(self) -> None:
        """Another server, with everything that this one knew."""
        self.quarantined = True

    def flush(self) -> None:
        """Nothing is known any more; fences grow all the same."""
        self.__init__(self.limits, self.ripe, quarantined=True, _grants=self._grants)  # type: ignore[misc]

    def reassert(self, ask: Ask) -> str:
        """With the fence of the grant that it knows, which may have been followed by another."""
        for each in self.held:
            if each.id == ask.id:
                return "held" if each.grant == ask.grant else "lost"
        if not self.quarantined:
            return "lost"
        if known := self._place(ask.id):
            self._leave(known)
        self.held.append(ask)
        self._freed.clear()
        return "held"

    def calm(self) -> None:
        """The quarantine is over."""
        self.quarantined = False
        self._sweep(sorted(self.limits))

    # What can be seen.

    def holds(self, name: tuple[str, tuple[str, ...]]) -> bool:
        return any(each.id == name for each in self.held)

    def units(self, pool: str, project: str | None = None, domain: str | None = None) -> int:
        return sum(
            each.weight(pool)
            for each in self.held
            if pool in each.pools
            and (project is None or each.project == project)
            and (domain is None or each.domain == domain)
        )

    def order(self, pool: str) -> list[Waiter]:
        return sorted(self._queue(pool), key=lambda w: (w.score(pool), w.arrival))

    def drop(self, name: tuple[str, tuple[str, ...]]) -> bool:
        found = self.holds(name)
        if found:
            self.held = [each for each in self.held if each.id != name]
            self._freed += name[1]
        return found

    # How it is decided.

    def _grant(self, ask: Ask) -> None:
        self._grants += 1
        self.held.append(replace(ask, grant=self._grants))

    def _wait(self, ask: Ask, known: Waiter | None) -> Reply:
        if known and not (self._same(known.ask, ask) and ask.place):
            self._leave(known)
            self._settle()
            known = None
        mine = self._renewed(known, ask) if known else self._lined_up(ask)
        blockers = self._hindrances(mine)
        if not blockers:
            self._grant(mine.ask)
            self._leave(mine, served=True)
            reply = Reply("granted")
        elif not ask.place:
            self._leave(mine)
            reply = Reply("exhausted", None, tuple(blockers))
        else:
            reply = Reply("waiting", self._position(mine), tuple(blockers))
        self._settle()
        return reply

    def _same(self, one: Ask, other: Ask) -> bool:
        return (one.project, one.domain, one.units) == (other.project, other.domain, other.units)

    def _renewed(self, known: Waiter, ask: Ask) -> Waiter:
        caps = {"project_cap": ask.project_cap, "domain_cap": ask.domain_cap}
        mine = replace(known, ask=replace(known.ask, **caps))
        self.waiting[self.waiting.index(known)] = mine
        return mine

    def _lined_up(self, ask: Ask) -> Waiter:
        self._arrivals += 1
        tags = {}
        for pool, weight in ask.units:
            project = (pool, ask.project)
            tags[pool] = max(self._virtual.get(pool, 0), self._finish.get(project, 0))
            self._finish[project] = tags[pool] + weight
        mine = Waiter(ask, self._arrivals, tags)
        self.waiting.append(mine)
        return mine

    def _leave(self, waiter: Waiter, *, served: bool = False) -> None:
        self.waiting.remove(waiter)
        for pool, weight in waiter.ask.units:
            project, tag = (pool, waiter.ask.project), waiter.tags[pool]
            if not self._queue(pool):
                self._virtual.pop(pool, None)
                self._finish = {k: v for k, v in self._finish.items() if k[0] != pool}
            elif served:
                self._virtual[pool] = max(self._virtual.get(pool, 0), tag)
            elif self._finish.get(project) == tag + weight:
                self._finish[project] = tag
            self._freed.append(pool)

    def _sweep(self, pools: Iterable[str]) -> None:
        for pool in pools:
            self._advance(pool)
        self._settle()

    def _settle(self) -> None:
        while self._freed:
            self._advance(self._freed.pop())

    def _advance(self, pool: str) -> None:
        limits, rank = self.limits[pool], 0
        if self.quarantined or not limits.active:
            return
        while self.units(pool) < limits.quota and rank < len(heads := self._heads(pool)):
            first = heads[rank]
            if self._hindrances(first):
                rank += 1
            else:
                self._grant(first.ask)
                self.woken.append(first.ask.token)
                self._leave(first, served=True)

    def _hindrances(self, waiter: Waiter) -> list[Blocker]:
        found = []
        for pool, weight in waiter.ask.units:
            limited = list(self._limits_of(pool, waiter.ask))
            found += limited
            own = [b for b in limited if b.limit != "quarantine"]
            if waiter not in self._heads(pool):
                found.append(Blocker("order", pool))
            elif not own and (kept := self._reserved(pool, waiter)):
                used = self.units(pool)
                if used + weight + kept > self.limits[pool].quota:
                    found.append(Blocker("reservation", pool, kept, used))
        return found

    def _limited(self, ask: Ask) -> list[Blocker]:
        return [each for pool in ask.pools for each in self._limits_of(pool, ask)]

    def _limits_of(self, pool: str, ask: Ask) -> Iterator[Blocker]:
        limits, weight = self.limits[pool], ask.weight(pool)
        if self.quarantined:
            yield Blocker("quarantine", pool)
        if not limits.active:
            yield Blocker("inactive", pool)
        if limits.max_weight is not None and weight > limits.max_weight:
            yield Blocker("max_weight", pool, limits.max_weight, 0)
        scope = (ask.project, ask.domain)
        for limit, number, held in (
            ("quota", limits.quota, self.units(pool)),
            ("project_cap", least(limits.project_cap, ask.project_cap), self.units(pool, scope[0])),
            (
                "project_domain_cap",
                least(limits.domain_cap, ask.domain_cap),
                self.units(pool, *scope),
            ),
        ):
            if number is not None and held + weight > number:
                yield Blocker(limit, pool, number, held)

    def _reserved(self, pool: str, waiter: Waiter) -> int:
        for head in self._heads(pool)[:8]:
            if head == waiter:
                return 0
            found = {each.limit for each in self._limited(head.ask)} - {"quarantine"}
            if found == {"quota"}:
                older = head.arrival < waiter.arrival
                return head.ask.weight(pool) if self.ripe and older else 0
        return 0

    def _queue(self, pool: str) -> list[Waiter]:
        return [each for each in self.waiting if pool in each.ask.pools]

    def _heads(self, pool: str) -> list[Waiter]:
        first: dict[tuple[str, str, int], Waiter] = {}
        for each in sorted(self._queue(pool), key=lambda w: w.arrival):
            first.setdefault(each.line, each)
        return sorted(first.values(), key=lambda w: (w.score(pool), w.arrival))

    def _place(self, name: tuple[str, tuple[str, ...]]) -> Waiter | None:
        return next((each for each in self.waiting if each.ask.id == name), None)

    def _position(self, waiter: Waiter) -> int:
        return max(1 + self.order(pool).index(waiter) for pool in waiter.ask.pools)


def least(one: int | None, other: int | None) -> int | None:
    given = [each for each in (one, other) if each is not None]
    return min(given) if given else None
