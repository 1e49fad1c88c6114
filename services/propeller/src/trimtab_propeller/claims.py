"""Who owns which execution, and which owners have fallen silent. Pure: time comes in."""

from collections.abc import Container
from dataclasses import dataclass, field
from typing import NamedTuple

from trimtab.messages.executions import AnyEvent, Failed, Refused, Succeeded

MISSED_BEATS = 3
"""An owner that has missed so many heartbeats is taken to be dead."""


class Claim(NamedTuple):
    """What the last event of an execution says."""

    execution: str
    owner: str
    epoch: int
    seen_at: float


@dataclass
class Claims:
    """Executions that have not ended, and when their owners were last heard."""

    me: str
    beat_seconds: float
    _claims: dict[str, Claim] = field(default_factory=dict)
    _heard_at: dict[str, float] = field(default_factory=dict)

    def see(self, event: AnyEvent, now: float) -> None:
        """Take in the last event of a log."""
        if isinstance(event, Succeeded | Failed | Refused):
            self.forget(event.execution)
            return
        self._claims[event.execution] = Claim(event.execution, event.owner, event.epoch, now)
        # An owner that we have never heard may live: it has just as long from now.
        self._heard_at.setdefault(event.owner, now)

    def forget(self, execution: str) -> None:
        self._claims.pop(execution, None)

    def drop(self, claim: Claim) -> None:
        """Forget it, unless more was seen since."""
        if self._claims.get(claim.execution) == claim:
            self.forget(claim.execution)

    def hear(self, owner: str, now: float) -> None:
        self._heard_at[owner] = now

    def wake(self, now: float) -> None:
        """We were deaf ourselves, asleep or cut off, so that silence means nothing."""
        self._heard_at = {claim.owner: now for claim in self._claims.values()}

    def orphans(self, now: float, running: Container[str]) -> list[Claim]:
        """What nobody acts for, the oldest first.

        A claim of our own that we do not run is one too: its append had succeeded, or was restored,
        without our knowing. It gets as long, because we may be about to run it.
        """
        patience = MISSED_BEATS * self.beat_seconds
        orphans = []
        for claim in self._claims.values():
            own = claim.owner == self.me
            quiet_since = claim.seen_at if own else self._heard_at.get(claim.owner, now)
            if claim.execution not in running and now - quiet_since > patience:
                orphans.append(claim)
        return sorted(orphans, key=lambda claim: claim.seen_at)
