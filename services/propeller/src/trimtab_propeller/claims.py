"""Track which propeller owns which execution, and which owners are silent. Pure: time comes in."""

from collections.abc import Container
from dataclasses import dataclass, field
from typing import NamedTuple

from trimtab.messages.executions import AnyEvent

MISSED_HEARTBEATS = 3
"""An owner that has missed so many heartbeats is regarded as dead."""
MISSED_WHERE_NONE_STARTS = 20
"""The same for a propeller that can start no attempt, so that others come before it. With the
default settings, the tokens of attempts that run at its location last longer."""


class Claim(NamedTuple):
    """The owner of an execution, as its last event names it."""

    execution: str
    owner: str
    epoch: int
    seen_at: float
    """When this propeller received that event."""


@dataclass
class Claims:
    """The unfinished executions, and when a heartbeat of each owner arrived last."""

    me: str
    heartbeat_seconds: float
    _claims: dict[str, Claim] = field(default_factory=dict)
    _last_heartbeats: dict[str, float] = field(default_factory=dict)

    def apply(self, event: AnyEvent, now: float) -> None:
        """Update the claim of an execution from the last event of its log."""
        if event.ends:
            self.remove(event.execution)
            return
        self._claims[event.execution] = Claim(event.execution, event.owner, event.epoch, now)
        # An owner of which no heartbeat has arrived yet may be alive: its time begins now.
        self._last_heartbeats.setdefault(event.owner, now)

    def __contains__(self, execution: object) -> bool:
        return execution in self._claims

    def remove(self, execution: str) -> None:
        self._claims.pop(execution, None)

    def remove_unchanged(self, claim: Claim) -> None:
        """Remove a claim unless a newer event of its execution has arrived."""
        if self._claims.get(claim.execution) == claim:
            self.remove(claim.execution)

    def record_heartbeat(self, owner: str, now: float) -> None:
        self._last_heartbeats[owner] = now

    def restart_timeouts(self, now: float) -> None:
        """Give each owner its full time again, after this process could not receive heartbeats."""
        self._last_heartbeats = {claim.owner: now for claim in self._claims.values()}

    def orphans(
        self, now: float, driven: Container[str], missed: int = MISSED_HEARTBEATS
    ) -> list[Claim]:
        """Return the claims of executions that no propeller drives, the oldest first.

        ``missed`` is how many heartbeats their owners have missed.

        They include this propeller's own claims of executions that it does not drive: an append
        that was stored though its confirmation was lost, or a log that was restored. These have the
        same timeout, because this propeller may be about to drive them.
        """
        timeout = missed * self.heartbeat_seconds
        orphans = []
        for claim in self._claims.values():
            is_own = claim.owner == self.me
            silent_since = claim.seen_at if is_own else self._last_heartbeats.get(claim.owner, now)
            if claim.execution not in driven and now - silent_since > timeout:
                orphans.append(claim)
        return sorted(orphans, key=lambda claim: claim.seen_at)
