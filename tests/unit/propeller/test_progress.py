"""The next steps of an execution, and whether a node is tried again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.propeller.building import node, request
from trimtab.messages.executions import NodeState, Request, State
from trimtab.workflows.graphs.graph import FromNode
from trimtab_propeller.progress import (
    MAX_INTERRUPTED,
    End,
    Fail,
    Progress,
    RunAttempt,
    Succeed,
    is_last_attempt,
    started_elsewhere,
)

#   n0 ─┬─ n1 ─┬─ n3
#       └─ n2 ─┘
DIAMOND = request(
    node("n0"),
    node("n1", after=("n0",)),
    node("n2", after=("n0",)),
    node("n3", after=("n1", "n2")),
    output=FromNode(node="n3"),
)


def after(**nodes: NodeState) -> list[RunAttempt] | End:
    progress = Progress(DIAMOND, State(nodes=nodes))
    return progress.first_steps() or progress.end()


def attempts(**nodes: NodeState) -> list[RunAttempt]:
    steps = after(**nodes)
    assert isinstance(steps, list)
    return steps


def names(**nodes: NodeState) -> list[str]:
    return [step.node.id for step in attempts(**nodes)]


DONE = NodeState("succeeded", output="done")
FAILED = NodeState("failed", reason="no rows")
RUNNING = NodeState("running")


def test_a_node_that_depends_on_no_other_is_first() -> None:
    assert names() == ["n0"]


def test_a_node_is_ready_when_all_its_dependencies_have_succeeded() -> None:
    assert names(n0=DONE) == ["n1", "n2"]
    assert names(n0=DONE, n1=DONE) == ["n2"]
    assert names(n0=DONE, n1=DONE, n2=DONE) == ["n3"]


def test_inputs_are_the_outputs_of_other_nodes() -> None:
    [step] = attempts(n0=DONE, n1=NodeState("succeeded", output=1), n2=DONE)
    assert step.inputs == {"from_n1": 1, "from_n2": "done"}


def test_a_started_attempt_is_run_until_it_has_ended() -> None:
    [step] = attempts(n0=NodeState("starting", attempt=2))
    assert step.number == 2


def test_after_a_failure_running_nodes_go_on_and_no_other_is_started() -> None:
    assert names(n0=DONE, n1=FAILED, n2=RUNNING) == ["n2"]
    assert after(n0=DONE, n1=FAILED, n2=NodeState("waiting", attempt=1)) == Fail("n1", "no rows")


def test_an_execution_fails_with_the_reason_of_its_node() -> None:
    assert after(n0=FAILED) == Fail("n0", "no rows")
    assert after(n0=DONE, n1=FAILED, n2=DONE) == Fail("n1", "no rows")


def test_an_execution_succeeds_with_the_output_of_its_workflow() -> None:
    last = NodeState("succeeded", output=42)
    assert after(n0=DONE, n1=DONE, n2=DONE, n3=last) == Succeed(42)


def test_an_execution_whose_output_is_of_another_type_fails_as_a_whole() -> None:
    typed = DIAMOND.workflow.model_copy(update={"output_schema": {"type": "integer"}})
    state = State(nodes=dict.fromkeys(("n0", "n1", "n2", "n3"), DONE))
    progress = Progress(DIAMOND.model_copy(update={"workflow": typed}), state)
    assert progress.first_steps() == []
    assert progress.end() == Fail("", "output: 'done' is not valid; allowed: an integer")


@pytest.mark.parametrize(
    ("attempt", "interrupted_before", "retries", "interrupted", "last"),
    [
        (0, 0, 0, False, True),
        (0, 0, 1, False, False),
        (1, 0, 1, False, True),
        (1, 1, 1, False, False),  # an interrupted attempt does not count as a retry
        (2, 1, 1, False, True),
        (0, 0, 0, True, False),
        (MAX_INTERRUPTED, MAX_INTERRUPTED, 0, True, True),
    ],
)
def test_an_attempt_is_the_last_one(
    attempt: int, interrupted_before: int, retries: int, interrupted: bool, last: bool
) -> None:
    state = NodeState("running", attempt, interrupted=interrupted_before)
    assert is_last_attempt(state, retries=retries, interrupted=interrupted) == last


@pytest.mark.parametrize(("retries", "last"), [(0, True), (1, False)])
def test_an_attempt_that_propeller_stopped_does_not_count_as_a_retry(
    retries: int, last: bool
) -> None:
    state = NodeState("running", attempt=9, stopped=9)
    assert is_last_attempt(state, retries=retries, interrupted=False) == last
    assert not is_last_attempt(state, retries=retries, interrupted=True)


@st.composite
def graphs(draw: st.DrawFn) -> Request:
    """Draw a graph in which each node may depend on any of those before it."""
    count = draw(st.integers(1, 8))
    return request(
        *(
            node(f"n{n}", after=tuple(f"n{m}" for m in range(n) if draw(st.booleans())))
            for n in range(count)
        )
    )


def allowed(graph: Request, state: State) -> set[tuple[str, int]]:
    """The oracle: scan all nodes for attempts that were started or may be."""
    of = {each.id: state.nodes.get(each.id, NodeState()) for each in graph.workflow.nodes}
    has_failed = any(each.phase == "failed" for each in of.values())
    return {
        (each.id, of[each.id].attempt)
        for each in graph.workflow.nodes
        if of[each.id].is_started
        or (
            of[each.id].phase == "waiting"
            and not has_failed
            and all(of[name].phase == "succeeded" for name in each.waits_for)
        )
    }


@given(graphs(), st.data())
def test_step_by_step_the_same_attempts_run_as_by_a_scan_of_all_nodes(
    graph: Request, data: st.DataObject
) -> None:
    state = State()
    progress = Progress(graph, state)
    steps = progress.first_steps()
    running: dict[str, int] = {}
    while True:
        running.update({step.node.id: step.number for step in steps})
        for name, number in running.items():
            state.nodes[name] = NodeState("running", number)
        assert set(running.items()) == allowed(graph, state)
        if not running:
            break
        ended = data.draw(st.sampled_from(sorted(running)))
        number = running.pop(ended)
        state.nodes[ended] = data.draw(
            st.sampled_from(
                [NodeState("succeeded", number), NodeState("waiting", number + 1), FAILED]
                if number < 3
                else [NodeState("succeeded", number), FAILED]
            )
        )
        steps = progress.next_steps(ended)
    failed = next((n.id for n in graph.workflow.nodes if state.nodes.get(n.id) == FAILED), None)
    assert progress.end() == (Fail(failed, "no rows") if failed else Succeed(None))


def test_only_started_attempts_at_known_other_locations_are_elsewhere() -> None:
    nodes = {
        "n0": NodeState("running", location="process:b"),
        "n1": NodeState("starting", location="process:a"),
        "n2": NodeState("running"),
        "n3": NodeState("failed", location="process:c"),
    }
    assert started_elsewhere(State(nodes=nodes), "process:a") == ["process:b"]
