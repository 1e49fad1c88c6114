"""The end of an execution whose first attempt has not been started within its queueing budget."""

import asyncio
from datetime import UTC, datetime

from trimtab.messages.executions import State
from trimtab.messages.resolutions import ResolvedValue
from trimtab_propeller.control import RunControl


class QueueingDeadline:
    """Stops an execution at the end of its queueing budget, unless an attempt has been started.

    The budget begins when the execution was created, so that every owner has the same deadline.
    """

    def __init__(self, state: State, control: RunControl) -> None:
        """``state`` is the one that the execution log changes with each event."""
        self._state = state
        self._control = control
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Stop the execution at the deadline, or now where that is over."""
        assert self._state.resolution is not None  # no node is started before admission
        budget = self._state.resolution.queueing_budget
        if budget is None or self._state.has_started:
            return
        seconds = remaining_seconds(self._state, budget, datetime.now(UTC))
        if seconds <= 0:
            self._stop(budget)
        else:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._stop, budget)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _stop(self, budget: ResolvedValue) -> None:
        if not self._state.has_started:
            self._control.stop(describe_exceeded(budget))


def remaining_seconds(state: State, budget: ResolvedValue, now: datetime) -> float:
    """Return how long the first attempt may still wait; not positive once the budget is over."""
    assert state.request is not None
    assert isinstance(budget.value, int | float)
    # The clock of admin may be ahead, and must not make the budget longer.
    begin = min(filter(None, (state.request.created_at, state.claimed_at)), default=now)
    # A budget may be longer than the dates that Python has.
    return budget.value - (now - begin).total_seconds()


def describe_exceeded(budget: ResolvedValue) -> str:
    where = f" of {budget.scope}" if budget.scope else ""
    note = f" ({budget.note})" if budget.note else ""
    return (
        f"no attempt started within the queueing budget of {budget.value}s of "
        f"{budget.source}{where}{note}"
    )
