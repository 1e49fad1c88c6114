"""The observations of holders, and the invariants that must hold for them. Pure.

It shares no code with the product, and uses nothing of it but what a holder receives.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple


class Limits(NamedTuple):
    """The limits of a pool; ``None`` is no limit."""

    quota: int
    project_cap: int | None = None
    domain_cap: int | None = None


Units = tuple[tuple[str, int], ...]
"""Pools and the requested units of each, of which all or none are granted."""


@dataclass
class Observation:
    """The history of one token, by the clock of its holder."""

    token: str
    units: Units
    project: str
    domain: str
    priority: int
    first_sent: float
    project_cap: int | None = None
    """The cap of its own request, in each of its pools. It does not limit later grants."""
    domain_cap: int | None = None
    queued: float | None = None
    """When the holder first received a position."""
    sent: float = 0.0
    """When the request was sent that was granted."""
    began: float = 0.0
    """When the grant was received."""
    ends: float = 0.0
    """When the holder must stop unless it renews."""
    stopped: float = 0.0
    """When the holder stopped, or had to."""
    fence: int = 0
    waited: float | None = None
    """The ``waited_seconds`` of the grant."""
    undisturbed: bool = False
    """Whether Redis kept its data since the holder received its position."""

    @property
    def pools(self) -> tuple[str, ...]:
        """The names of the pools, sorted."""
        return tuple(sorted(pool for pool, _ in self.units))

    @property
    def group(self) -> tuple[object, ...]:
        """The key of observations that can be compared, because they wait for the same.

        With other pools or caps, a request may wait for something that does not block another.
        """
        own = self.project_cap, self.domain_cap
        return self.pools, self.project, self.domain, self.priority, *own

    @property
    def is_capped(self) -> bool:
        return self.project_cap is not None or self.domain_cap is not None

    @property
    def can_fit(self) -> bool:
        """Whether its own caps allow it at all."""
        caps = [cap for cap in (self.project_cap, self.domain_cap) if cap is not None]
        return all(weight <= cap for _, weight in self.units for cap in caps)

    @property
    def kept_its_position(self) -> bool:
        """Whether it had a position from ``queued`` until the grant, as far as it can know."""
        if self.queued is None or self.waited is None or not self.undisturbed:
            return False
        return self.waited >= self.sent - self.queued


def find_over_grants(
    observations: Iterable[Observation], limits: Mapping[str, Limits]
) -> list[str]:
    """Find the moments at which holders believed to hold more than a limit allows."""
    moments = []
    for observation in observations:
        if observation.stopped > observation.began:  # Otherwise the grant was received too late.
            # An end at the same moment as a beginning comes first.
            moments += [(observation.began, 1, observation), (observation.stopped, 0, observation)]
    holding: list[Observation] = []
    found = []
    for at, begins, observation in sorted(moments, key=lambda moment: moment[:2]):
        if begins:
            holding.append(observation)
            exceeded = _exceeded(observation, holding, limits)
            found += [f"{message} at {at:.3f}" for message in exceeded]
        else:
            holding.remove(observation)
    return found


def _exceeded(
    last: Observation, holding: Iterable[Observation], limits: Mapping[str, Limits]
) -> Iterator[str]:
    """Yield the limits that are exceeded since the last holder began.

    It may have received its grant late; its own caps do not limit what was granted since.
    """
    before = [other for other in holding if other.fence <= last.fence]
    scope = (last.project, last.domain)
    for pool in last.pools:
        quota, project_cap, domain_cap = limits[pool]
        for length, limit, counted in (
            (0, quota, holding),
            (1, project_cap, holding),
            (2, domain_cap, holding),
            (1, last.project_cap, before),
            (2, last.domain_cap, before),
        ):
            held = _units_held(counted, pool, scope[:length])
            if limit is not None and held > limit:
                name = "/".join((pool, *scope[:length]))
                yield f"{held} of {name} are held, last by {last.token}, and {limit} are allowed"


def _units_held(observations: Iterable[Observation], pool: str, scope: tuple[str, ...]) -> int:
    """Sum the units of a pool, of all, of a project, or of a project in a domain."""
    return sum(
        weight
        for observation in observations
        if (observation.project, observation.domain)[: len(scope)] == scope
        for name, weight in observation.units
        if name == pool
    )


def find_fence_regressions(observations: Iterable[Observation]) -> list[str]:
    """Find fences that are not greater than each one that was known before the request."""
    known = sorted(observations, key=lambda each: each.began)
    fences = sorted(each.fence for each in known)
    found = [f"fence {one} was granted twice" for one, other in pairwise(fences) if one == other]
    highest = at = 0
    for observation in sorted(known, key=lambda each: each.first_sent):
        while known[at].began < observation.first_sent:
            highest = max(highest, known[at].fence)
            at += 1
        if observation.fence <= highest:
            token, fence = observation.token, observation.fence
            found.append(f"{token} has fence {fence}, and {highest} was known before")
    return found


def find_overtaken(observations: Iterable[Observation]) -> list[str]:
    """Find waiters that a later request of the same group, of no more units, overtook."""
    groups: dict[tuple[object, ...], list[Observation]] = defaultdict(list)
    for observation in sorted(observations, key=lambda each: each.fence):
        groups[observation.group].append(observation)
    found = []
    for group in groups.values():
        latest: dict[Units, Observation] = {}  # By units, among those granted so far.
        for observation in group:
            if observation.kept_its_position:
                found += [
                    f"{observation.token} waited since {observation.queued:.3f}, "
                    f"{other.token} came later"
                    for other in latest.values()
                    if _is_no_larger(other, observation)
                    and other.first_sent > (observation.queued or 0)
                ]
            known = latest.get(observation.units)
            if known is None or known.first_sent < observation.first_sent:
                latest[observation.units] = observation
    return found


def _is_no_larger(one: Observation, other: Observation) -> bool:
    """Compare the units in each pool; both have the same pools."""
    return all(weight <= dict(other.units)[pool] for pool, weight in one.units)
