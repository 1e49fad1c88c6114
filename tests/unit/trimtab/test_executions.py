"""An execution's log: what it adds up to, in whatever order and how often it is delivered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trimtab.levels import Scope
from trimtab.messages import executions
from trimtab.messages.executions import (
    Admitted,
    AnyEvent,
    Failed,
    NodeFailed,
    NodeRunning,
    NodeStarting,
    NodeSucceeded,
    NodeWaiting,
    Owned,
    Refused,
    Resolution,
    Resolved,
    State,
    Succeeded,
    replay,
)
from trimtab.testing import entry, request, workflow
from trimtab.workflows.graph import LaunchPlan

RESOLUTION = Resolution(
    revision=3,
    executor="process",
    nodes={
        "n0": (
            Resolved(path="environment.LOG", value="debug", source="execution"),
            Resolved(path="retries", value=0, source="engine"),
        )
    },
)

LOG: list[AnyEvent] = [
    entry(Owned, 0, request=request()),
    entry(Admitted, 1, resolution=RESOLUTION),
    entry(NodeWaiting, 2, node="n0", attempt=0, pool="gpus", reason="10 of 10 are held"),
    entry(NodeStarting, 3, node="n0", attempt=0),
    entry(NodeRunning, 4, node="n0", attempt=0, location="e1/n0/0"),
    entry(NodeFailed, 5, node="n0", attempt=0, error="exit code 1", final=False),
    entry(Owned, 6, owner="propeller-00000002", epoch=2),
    entry(NodeStarting, 7, node="n0", attempt=1),
    entry(NodeSucceeded, 8, node="n0", attempt=1, output=2),
    entry(Succeeded, 9, output=4),
]


def test_a_log_adds_up_to_where_the_execution_is() -> None:
    state = replay(LOG)
    assert (state.phase, state.output, state.ended) == ("succeeded", 4, True)
    assert (state.owner, state.epoch, state.length) == ("propeller-00000002", 2, 10)
    assert (state.request, state.resolution) == (request(), RESOLUTION)
    assert (state.nodes["n0"].phase, state.nodes["n0"].output) == ("succeeded", 2)


@pytest.mark.parametrize(
    ("length", "phase", "attempt", "reason"),
    [
        (3, "waiting", 0, "10 of 10 are held"),
        (4, "starting", 0, ""),
        (5, "running", 0, ""),
        (6, "waiting", 1, "exit code 1"),
        (8, "starting", 1, ""),
        (9, "succeeded", 1, ""),
    ],
)
def test_a_node_is_where_the_last_event_of_it_says(
    length: int, phase: str, attempt: int, reason: str
) -> None:
    node = replay(LOG[:length]).nodes["n0"]
    assert (node.phase, node.attempt, node.reason) == (phase, attempt, reason)


@pytest.mark.parametrize(
    ("end", "phase", "error"),
    [
        (entry(Failed, 1, node="n0", error="exit code 1"), "failed", "exit code 1"),
        (entry(Refused, 1, path="cpu", message="over the limit"), "refused", "over the limit"),
    ],
)
def test_an_execution_that_did_not_succeed_says_why(end: AnyEvent, phase: str, error: str) -> None:
    state = replay([LOG[0], end])
    assert (state.phase, state.error, state.ended) == (phase, error, True)


def test_a_node_that_failed_for_good_keeps_its_attempt() -> None:
    final = entry(NodeFailed, 0, node="n0", attempt=2, error="exit code 1", final=True)
    node = replay([final]).nodes["n0"]
    assert (node.phase, node.attempt) == ("failed", 2)


def test_a_claim_after_the_end_does_not_begin_the_execution_again() -> None:
    assert replay([*LOG, entry(Owned, 10, epoch=3)]).phase == "succeeded"


@given(st.permutations(LOG * 3))
def test_events_delivered_three_times_in_any_order_add_up_to_the_same(
    events: list[AnyEvent],
) -> None:
    assert replay(events) == replay(LOG)


@given(st.permutations(range(len(LOG))), st.integers(1, len(LOG) - 1))
def test_nothing_behind_a_gap_counts(order: list[int], missing: int) -> None:
    events = [LOG[index] for index in order if index != missing]
    assert replay(events) == replay(LOG[:missing])


def test_a_log_without_its_beginning_says_nothing() -> None:
    assert replay(LOG[1:]) == replay([]) == State()


def test_a_body_that_is_no_event_is_refused() -> None:
    with pytest.raises(ValidationError):
        executions.parse_event('{"type": "paused", "execution": "e1"}')


def test_the_default_launch_plan_is_the_workflow_and_no_narrower_level() -> None:
    plain = request()
    plan = LaunchPlan(name="nightly", workflow="train", version="v1")
    assert plain.target == Scope("development", "flyteexamples", "train")
    named = plain.model_copy(update={"launch_plan": plan})
    assert named.target == Scope("development", "flyteexamples", "train", "nightly")


def test_a_resolution_is_asked_by_path() -> None:
    assert RESOLUTION.value("n0", "retries") == 0
    assert RESOLUTION.value("n0", "cluster") is None
    assert RESOLUTION.environment("n0") == {"LOG": "debug"}


def test_the_request_of_the_first_claim_is_enough_to_go_on() -> None:
    assert replay(LOG[:1]).request == request(workflow_=workflow())
