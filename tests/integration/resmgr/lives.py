"""What holders saw of their tokens, and what must hold of it. Pure.

It shares no code with the product, and asks nothing of it but what a holder is told.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple


class Limits(NamedTuple):
    """Of a pool; ``None`` is no limit."""

    quota: int
    project_cap: int | None = None
    domain_cap: int | None = None


Units = tuple[tuple[str, int], ...]
"""Pools and what is asked of each: all of it or nothing."""


@dataclass
class Life:
    """Of one token, by the clock of its holder."""

    token: str
    units: Units
    project: str
    domain: str
    priority: int
    first_sent: float
    project_cap: int | None = None
    """Of its own request, in each of its pools; it binds nobody who is granted later."""
    domain_cap: int | None = None
    placed: float | None = None
    """When it was told first that it has a place."""
    sent: float = 0.0
    """When the request was sent that was granted."""
    began: float = 0.0
    """When it was told so."""
    ends: float = 0.0
    """When its holder must stop, unless it renews."""
    stopped: float = 0.0
    """When it did, or had to."""
    fence: int = 0
    waited: float | None = None
    """How long, as it was told with the grant."""
    undisturbed: bool = False
    """Whether Redis kept its memory since it had its place."""

    @property
    def pools(self) -> tuple[str, ...]:
        """Sorted."""
        return tuple(sorted(pool for pool, _ in self.units))

    @property
    def line(self) -> tuple[object, ...]:
        """Who shares it waits for the same, and so can be compared.

        With other pools or other caps, one may rightly wait for what does not hinder another.
        """
        own = self.project_cap, self.domain_cap
        return self.pools, self.project, self.domain, self.priority, *own

    @property
    def is_capped(self) -> bool:
        return self.project_cap is not None or self.domain_cap is not None

    @property
    def can_fit(self) -> bool:
        """As far as its own caps tell."""
        caps = [cap for cap in (self.project_cap, self.domain_cap) if cap is not None]
        return all(weight <= cap for _, weight in self.units for cap in caps)

    @property
    def kept_its_place(self) -> bool:
        """From when it was told of it until it was granted, as far as can be told."""
        if self.placed is None or self.waited is None or not self.undisturbed:
            return False
        return self.waited >= self.sent - self.placed


def over_granted(lives: Iterable[Life], limits: Mapping[str, Limits]) -> list[str]:
    """Moments at which holders believed that they hold more than a limit or a cap allows."""
    moments = []
    for life in lives:
        if life.stopped > life.began:  # or it heard of its grant when that was over
            # What ends at the very moment at which something begins, ends first.
            moments += [(life.began, 1, life), (life.stopped, 0, life)]
    holding: list[Life] = []
    found = []
    for at, begins, life in sorted(moments, key=lambda moment: moment[:2]):
        if begins:
            holding.append(life)
            found += [f"{line} at {at:.3f}" for line in _exceeded(life, holding, limits)]
        else:
            holding.remove(life)
    return found


def _exceeded(life: Life, holding: Iterable[Life], limits: Mapping[str, Limits]) -> Iterator[str]:
    """By the last that began to hold.

    It may hear of its grant late; its own caps say nothing of what was granted since.
    """
    before = [other for other in holding if other.fence <= life.fence]
    scope = (life.project, life.domain)
    for pool in life.pools:
        quota, project_cap, domain_cap = limits[pool]
        for length, limit, those in (
            (0, quota, holding),
            (1, project_cap, holding),
            (2, domain_cap, holding),
            (1, life.project_cap, before),
            (2, life.domain_cap, before),
        ):
            held = _held(those, pool, scope[:length])
            if limit is not None and held > limit:
                name = "/".join((pool, *scope[:length]))
                yield f"{held} of {name} are held, last by {life.token}, and {limit} are allowed"


def _held(lives: Iterable[Life], pool: str, scope: tuple[str, ...]) -> int:
    """In the pool by the project, or by the project in the domain, that the scope names."""
    return sum(
        weight
        for life in lives
        if (life.project, life.domain)[: len(scope)] == scope
        for name, weight in life.units
        if name == pool
    )


def not_grown(lives: Iterable[Life]) -> list[str]:
    """Fences that are not greater than each one that was known before they were asked for."""
    known = sorted(lives, key=lambda life: life.began)
    fences = sorted(life.fence for life in known)
    found = [f"fence {one} was given twice" for one, other in pairwise(fences) if one == other]
    highest = at = 0
    for life in sorted(known, key=lambda life: life.first_sent):
        while known[at].began < life.first_sent:
            highest = max(highest, known[at].fence)
            at += 1
        if life.fence <= highest:
            found.append(f"{life.token} has fence {life.fence}, and {highest} was known before")
    return found


def overtaken(lives: Iterable[Life]) -> list[str]:
    """Those that had a place, and saw one of their line, no larger, that came later go first."""
    lines: dict[tuple[object, ...], list[Life]] = defaultdict(list)
    for life in sorted(lives, key=lambda life: life.fence):
        lines[life.line].append(life)
    found = []
    for line in lines.values():
        latest: dict[Units, Life] = {}  # by units, of those that were granted so far
        for life in line:
            if life.kept_its_place:
                found += [
                    f"{life.token} waited since {life.placed:.3f}, {other.token} came later"
                    for other in latest.values()
                    if _no_larger(other, life) and other.first_sent > (life.placed or 0)
                ]
            known = latest.get(life.units)
            if known is None or known.first_sent < life.first_sent:
                latest[life.units] = life
    return found


def _no_larger(one: Life, other: Life) -> bool:
    """In any of their pools, which are the same."""
    return all(weight <= dict(other.units)[pool] for pool, weight in one.units)
