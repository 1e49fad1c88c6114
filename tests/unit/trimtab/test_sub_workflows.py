"""Calls of workflows in the body of another one: the graph, hooks, overrides, and refusals."""

from typing import Any

import pytest

from trimtab import ContainerTask, runtime_override_config, task, workflow
from trimtab.errors import Invalid, Rejected
from trimtab.workflows.definitions.workflow_functions import WorkflowFunction
from trimtab.workflows.graphs.expansion import MAX_DEPTH, expand
from trimtab.workflows.graphs.graph import Constant, FromInput, FromNode


@task
def double(x: int) -> int:
    return 2 * x


@task
def add(x: int, y: int = 1) -> int:
    return x + y


@workflow
def inner(x: int, y: int = 5) -> Any:
    return add(x=double(x=x).with_runtime_override("doubler"), y=y)


def registered(body: Any, name: str = "") -> Any:
    body.__name__ = name or body.__name__
    return workflow(body).graph("v", "")


def test_a_call_of_a_workflow_is_a_node_and_the_graph_has_the_called_one_once() -> None:
    def outer(start: int = 1) -> Any:
        return inner(x=inner(x=start), y=3)

    graph = registered(outer)
    first, second = graph.nodes
    assert (first.workflow, first.inputs) == ("inner", {"x": FromInput(name="start")})
    assert second.inputs == {"x": FromNode(node="n0"), "y": Constant(value=3)}
    assert [node.task for node in graph.workflows["inner"].nodes] == ["double", "add"]
    assert (list(graph.workflows), list(graph.tasks)) == (["inner"], ["double", "add"])


def test_a_body_runs_once_however_many_workflows_call_it() -> None:
    runs = []

    @workflow
    def counted() -> Any:
        runs.append(1)
        return double(x=1)

    def one() -> Any:
        return counted()

    def two() -> Any:
        counted()
        return counted()

    registered(one), registered(two), counted.graph("v", "")
    assert runs == [1]


def test_calling_an_outer_workflow_runs_the_tasks_of_the_inner_ones() -> None:
    @workflow
    def middle(x: int) -> Any:
        return add(x=inner(x=x), y=100)

    @workflow
    def outer(start: int = 1) -> Any:
        return inner(x=middle(x=start))

    assert outer(start=2) == 2 * (2 * 2 + 5 + 100) + 5


def test_a_program_of_an_image_cannot_run_locally_and_no_task_before_it_runs() -> None:
    runs = []

    @task
    def recorded() -> None:
        runs.append(1)

    program = ContainerTask("program", "registry/image:v1", ["run"])

    @workflow
    def outer() -> Any:
        recorded()
        program()

    with pytest.raises(Rejected, match="program is a program of an image, which cannot run"):
        outer()
    assert runs == []


def test_a_workflow_that_returns_nothing_returns_none_to_its_caller() -> None:
    @task
    def is_none(x: Any) -> bool:
        return x is None

    @workflow
    def silent() -> None:
        double(x=1)

    @workflow
    def outer() -> Any:
        return is_none(x=silent())

    assert outer() is True


def test_sub_workflows_of_sub_workflows_are_in_the_graph_by_name() -> None:
    @workflow
    def middle() -> Any:
        return inner(x=1)

    def outer() -> Any:
        return middle()

    graph = registered(outer)
    assert set(graph.workflows) == {"middle", "inner"}
    assert list(expand(graph).hooks) == ["doubler"]


def test_a_workflow_that_calls_itself_is_refused_with_the_path_of_the_calls() -> None:
    workflows: dict[str, WorkflowFunction] = {}

    def one() -> Any:
        return workflows["two"]()

    def two() -> Any:
        return workflows["one"]()

    workflows.update(one=workflow(one), two=workflow(two))
    with pytest.raises(Rejected, match="cannot call itself: one calls two calls one"):
        workflows["one"].graph("v", "")


def test_two_workflows_of_one_name_are_refused_with_both_places() -> None:
    def other() -> Any:
        return double(x=1)

    other.__name__ = "inner"
    other_inner = workflow(other)

    def outer() -> Any:
        inner(x=1)
        other_inner()

    with pytest.raises(Rejected, match=r"'inner': one in .*, line \d+, one in .*, line \d+"):
        registered(outer)


def test_a_sub_workflow_of_the_name_of_its_caller_is_refused() -> None:
    def outer() -> Any:
        return inner(x=1)

    outer.__name__ = "inner"
    with pytest.raises(Rejected, match="calls, or is, two workflows"):
        registered(outer)


def test_two_tasks_of_one_name_in_a_closure_are_refused() -> None:
    def other(x: int) -> int:
        return x

    other.__name__ = "double"
    other_double = task(other)

    def outer() -> Any:
        other_double(x=1)
        inner(x=1)

    with pytest.raises(Rejected, match="calls two tasks of the name 'double'"):
        registered(outer)


def test_workflows_are_nested_to_a_depth_and_no_further() -> None:
    def nested(depth: int) -> WorkflowFunction:
        def body() -> Any:
            return double(x=1) if below is None else below()

        below = nested(depth - 1) if depth else None
        body.__name__ = f"w{depth}"
        return workflow(body)

    with pytest.raises(Rejected, match="inside each other"):
        nested(300).graph("v", "")
    expand(nested(MAX_DEPTH).graph("v", ""))
    with pytest.raises(Rejected, match="more than 32 sub-workflows inside each other"):
        nested(MAX_DEPTH + 1).graph("v", "")
    traced = nested(MAX_DEPTH)
    traced.graph("v", "")

    def outer() -> Any:
        return traced()

    with pytest.raises(Rejected, match="33 deep; allowed: at most 32"):
        registered(outer)


def test_nodes_that_nesting_multiplies_are_refused_before_they_are_made() -> None:
    def doubled(depth: int) -> WorkflowFunction:
        def body() -> Any:
            for _ in range(2):
                double(x=1) if below is None else below()

        below = doubled(depth - 1) if depth else None
        body.__name__ = f"w{depth}"
        return workflow(body)

    with pytest.raises(Rejected, match="w12 has 8192 nodes"):
        doubled(20).graph("v", "")


def test_wrong_arguments_of_a_call_are_refused() -> None:
    with pytest.raises(Rejected, match="inner called in outer: missing a required argument"):
        registered(lambda: inner(), "outer")
    with pytest.raises(Rejected, match="keyword arguments only"):
        registered(lambda: inner(1), "outer")


def test_a_call_gives_hooks_of_the_called_workflow_other_defaults() -> None:
    more, most = runtime_override_config(cpu=2), runtime_override_config(cpu=4)

    @workflow
    def middle() -> Any:
        return inner(x=inner(x=1))

    def outer() -> Any:
        return (
            middle()
            .with_runtime_override("doubler", more)
            .with_runtime_override("n1/doubler", config=most)
        )

    graph = registered(outer)
    assert graph.nodes[0].hooks == {"doubler": more, "n1/doubler": most}
    defaults = {node.id: node.hook.default for node in expand(graph).nodes if node.hook}
    assert defaults == {"n0.n0.n0": more, "n0.n1.n0": most}


@pytest.mark.parametrize("name", ["dubler", "n0/doubler", "n7/doubler", "/doubler", ""])
def test_a_default_of_an_unknown_inner_hook_is_refused_with_those_that_there_are(
    name: str,
) -> None:
    def outer() -> Any:
        inner(x=1).with_runtime_override(name)

    with pytest.raises(Invalid, match="the hooks of inner: doubler"):
        registered(outer)


def test_a_misspelt_path_of_an_inner_hook_is_answered_with_a_question() -> None:
    @workflow
    def middle() -> Any:
        return inner(x=1)

    def outer() -> Any:
        middle().with_runtime_override("n0/dubler")

    with pytest.raises(Invalid, match="did you mean 'n0/doubler'"):
        registered(outer)


def test_a_hook_gets_one_default_from_one_call() -> None:
    def outer() -> Any:
        inner(x=1).with_runtime_override("doubler").with_runtime_override("doubler")

    with pytest.raises(Invalid, match="does not set yet"):
        registered(outer)


def test_a_workflow_called_twice_has_each_hook_once() -> None:
    def outer() -> Any:
        inner(x=1)
        inner(x=2)

    [nodes] = expand(registered(outer)).hooks.values()
    assert [node.id for node in nodes] == ["n0.n0", "n1.n0"]


def test_a_hook_of_the_name_of_an_inner_one_is_refused_with_both_places() -> None:
    def after() -> Any:
        inner(x=1)
        double(x=1).with_runtime_override("doubler")

    def before() -> Any:
        double(x=1).with_runtime_override("doubler")
        inner(x=1)

    for body in (after, before):
        with pytest.raises(Rejected, match="'doubler'") as refused:
            registered(body)
        assert f"workflow {body.__name__} ({__file__}, line " in str(refused.value)
        assert f"workflow inner ({__file__}, line 26)" in str(refused.value)


def test_overrides_of_a_call_apply_to_the_tasks_that_do_not_set_the_field() -> None:
    @workflow
    def middle() -> Any:
        double(x=1).with_overrides(retries=0)
        return inner(x=1)

    def outer() -> Any:
        middle().with_overrides(retries=3, environment={"A": "1"})

    found = {node.id: node.overrides for node in expand(registered(outer)).nodes}
    assert found["n0.n0"] == runtime_override_config(retries=0, environment={"A": "1"})
    assert found["n0.n1.n0"] == runtime_override_config(retries=3, environment={"A": "1"})


def test_a_node_has_the_chosen_name_wherever_it_is_mentioned() -> None:
    @workflow
    def middle() -> Any:
        first = inner(x=1)
        second = add(x=first)
        first.with_overrides(node_name="second").with_overrides(node_name="first")
        return second.with_overrides(node_name="second")

    def outer() -> Any:
        middle().with_overrides(node_name="all").with_runtime_override("first/doubler")

    graph = registered(outer)
    first, second = graph.workflows["middle"].nodes
    assert (first.id, second.id) == ("first", "second")
    assert second.inputs == {"x": FromNode(node="first")}
    assert graph.workflows["middle"].output == FromNode(node="second")
    [hook] = expand(graph).full_hook_names
    assert hook == "all/first/doubler"


@pytest.mark.parametrize("name", ["n1", "a.b", "a/b", "", "_a", "x" * 64, "taken"])
def test_a_name_that_cannot_be_the_id_of_the_node_is_refused(name: str) -> None:
    def outer() -> Any:
        double(x=1).with_overrides(node_name="taken")
        double(x=1)
        double(x=1).with_overrides(node_name=name)

    with pytest.raises(Invalid, match="node_name"):
        registered(outer)
