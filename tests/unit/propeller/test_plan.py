"""What an execution needs next."""

import pytest

from tests.unit.propeller.building import node, request
from trimtab.messages.executions import NodeState, State
from trimtab.workflows.graph import FromNode
from trimtab_propeller.plan import MAX_LOST, Attempt, Fail, Step, Succeed, is_final, steps

#   n0 ─┬─ n1 ─┬─ n3
#       └─ n2 ─┘
DIAMOND = request(
    node("n0"),
    node("n1", after=("n0",)),
    node("n2", after=("n0",)),
    node("n3", after=("n1", "n2")),
    output=FromNode(node="n3"),
)


def after(**nodes: NodeState) -> list[Step]:
    return steps(DIAMOND, State(nodes=nodes))


def names(found: list[Step]) -> list[str]:
    return [step.node.id for step in found if isinstance(step, Attempt)]


DONE = NodeState("succeeded", output="done")
FAILED = NodeState("failed", reason="no rows")
RUNNING = NodeState("running")


def test_what_waits_for_nothing_is_first() -> None:
    assert names(after()) == ["n0"]


def test_a_node_is_ready_when_all_that_it_waits_for_succeeded() -> None:
    assert names(after(n0=DONE)) == ["n1", "n2"]
    assert names(after(n0=DONE, n1=DONE)) == ["n2"]
    assert names(after(n0=DONE, n1=DONE, n2=DONE)) == ["n3"]


def test_inputs_are_what_the_others_returned() -> None:
    [step] = after(n0=DONE, n1=NodeState("succeeded", output=1), n2=DONE)
    assert isinstance(step, Attempt)
    assert step.inputs == {"from_n1": 1, "from_n2": "done"}


def test_what_was_started_is_seen_to_its_end_by_whoever_comes() -> None:
    [step] = after(n0=NodeState("starting", attempt=2))
    assert isinstance(step, Attempt)
    assert step.number == 2


def test_after_a_failure_what_runs_is_seen_to_its_end_and_nothing_is_started() -> None:
    assert names(after(n0=DONE, n1=FAILED, n2=RUNNING)) == ["n2"]
    assert names(after(n0=DONE, n1=FAILED, n2=NodeState("waiting", attempt=1))) == []


def test_an_execution_fails_with_the_reason_of_its_node() -> None:
    assert after(n0=FAILED) == [Fail("n0", "no rows")]
    assert after(n0=DONE, n1=FAILED, n2=DONE) == [Fail("n1", "no rows")]


def test_an_execution_succeeds_with_the_output_of_its_workflow() -> None:
    last = NodeState("succeeded", output=42)
    assert after(n0=DONE, n1=DONE, n2=DONE, n3=last) == [Succeed(42)]


@pytest.mark.parametrize(
    ("attempt", "lost_before", "retries", "lost", "final"),
    [
        (0, 0, 0, False, True),
        (0, 0, 1, False, False),
        (1, 0, 1, False, True),
        (1, 1, 1, False, False),  # a lost attempt is not counted against the retries
        (2, 1, 1, False, True),
        (0, 0, 0, True, False),
        (MAX_LOST, MAX_LOST, 0, True, True),
    ],
)
def test_an_attempt_is_the_last_one(
    attempt: int, lost_before: int, retries: int, lost: bool, final: bool
) -> None:
    state = NodeState("running", attempt, interrupted=lost_before)
    assert is_final(state, retries=retries, lost=lost) == final
