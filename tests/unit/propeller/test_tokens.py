"""Which answers to a request that waits for its token are recorded in the execution log."""

from collections.abc import Callable

import pytest

from trimtab.tokens.protocol import Allocated
from trimtab.workflows.graphs.graph import MAX_NODES
from trimtab_propeller import tokens
from trimtab_propeller.execution_log import MAX_EVENTS

HOUR = 3600


def waiting(position: int, reason: str = "the pool is full") -> Allocated:
    return Allocated(status="waiting", position=position, reason=reason)


def recorded(
    monkeypatch: pytest.MonkeyPatch, seconds: int, answer_at: Callable[[int], Allocated]
) -> list[int]:
    """Return when the answers to a request that is repeated every second are recorded."""
    clock = 0
    monkeypatch.setattr(tokens, "now", lambda: clock)
    reports, found = tokens.WaitReports(), []
    for clock in range(seconds):
        if reports.is_due(answer_at(clock)):
            found.append(clock)
    return found


def test_all_nodes_of_the_largest_workflow_may_wait_for_a_day_in_one_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reports = recorded(monkeypatch, 24 * HOUR, lambda second: waiting(24 * HOUR - second))
    others = 3
    assert MAX_NODES * (len(reports) + others) < MAX_EVENTS
    assert reports[:5] == [0, 1, 3, 7, 15]


def test_another_reason_is_recorded_within_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(second: int) -> Allocated:
        return waiting(9 * HOUR - second, "closed" if second >= 5 * HOUR else "full")

    reports = recorded(monkeypatch, 5 * HOUR + 61, answer)
    assert 5 * HOUR <= reports[-1] <= 5 * HOUR + 60


def test_an_answer_like_the_last_one_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert recorded(monkeypatch, HOUR, lambda _: waiting(7)) == [0]
