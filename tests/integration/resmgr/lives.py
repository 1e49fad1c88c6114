"""What holders saw of their tokens, and what must hold of it. Pure.

It shares no code with the product, and asks nothing of it but what a holder is told.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple


class Limits(NamedTuple):
    """Of a pool; ``None`` is no limit."""

    quota: int
    project_cap: int | None = None
    domain_cap: int | None = None


@dataclass
class Life:
    """Of one token, by the clock of its holder."""

    token: str
    pool: str
    weight: int
    project: str
    domain: str
    priority: int
    first_sent: float
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
    def line(self) -> tuple[str, str, str, int]:
        return self.pool, self.project, self.domain, self.priority

    @property
    def kept_its_place(self) -> bool:
        """From when it was told of it until it was granted, as far as can be told."""
        if self.placed is None or self.waited is None or not self.undisturbed:
            return False
        return self.waited >= self.sent - self.placed


def over_granted(lives: Iterable[Life], limits: Mapping[str, Limits]) -> list[str]:
    """Moments at which holders believed that they hold more than a limit allows."""
    moments = []
    for life in lives:
        # What ends at the very moment at which something begins, ends first.
        moments += [(life.began, 1, life), (max(life.stopped, life.began), 0, life)]
    held: dict[tuple[str, ...], int] = defaultdict(int)
    found = []
    for at, begins, life in sorted(moments, key=lambda moment: moment[:2]):
        quota, project_cap, domain_cap = limits[life.pool]
        scope = (life.pool, life.project, life.domain)
        for length, limit in enumerate((quota, project_cap, domain_cap), start=1):
            held[scope[:length]] += life.weight if begins else -life.weight
            if begins and limit is not None and held[scope[:length]] > limit:
                found.append(
                    f"{held[scope[:length]]} of {'/'.join(scope[:length])} are held at {at:.3f}, "
                    f"last by {life.token}, and {limit} are allowed"
                )
    return found


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
    lines: dict[tuple[str, str, str, int], list[Life]] = defaultdict(list)
    for life in sorted(lives, key=lambda life: life.fence):
        lines[life.line].append(life)
    found = []
    for line in lines.values():
        latest: dict[int, Life] = {}  # by weight, of those that were granted so far
        for life in line:
            if life.kept_its_place:
                found += [
                    f"{life.token} waited since {life.placed:.3f}, {other.token} came later"
                    for weight, other in latest.items()
                    if weight <= life.weight and other.first_sent > (life.placed or 0)
                ]
            known = latest.get(life.weight)
            if known is None or known.first_sent < life.first_sent:
                latest[life.weight] = life
    return found
