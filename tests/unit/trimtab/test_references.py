"""References: stubs of tasks, workflows and launch plans that are registered elsewhere."""

from typing import Any

import pytest

from trimtab import (
    reference_launch_plan,
    reference_task,
    reference_workflow,
    runtime_override_config,
    task,
    workflow,
)
from trimtab.errors import Invalid, Rejected
from trimtab.workflows.graphs.graph import Constant, FromNode

AT = {"project": "shop", "domain": "production", "version": "v3"}


@task
def count(start: int) -> int:
    return start + 1


@reference_task(name="models.train", **AT)
def train(rows: int, epochs: int = 3) -> float: ...  # type: ignore[empty-body]


@reference_workflow(name="nightly", **AT)
def nightly(rows: int) -> float: ...  # type: ignore[empty-body]


@reference_launch_plan(name="nightly_large", **AT)
def large() -> float: ...  # type: ignore[empty-body]


def registered(body: Any) -> Any:
    body.__name__ = "outer"
    return workflow(body).graph("v", "")


def test_a_call_of_a_reference_is_a_node_and_the_graph_names_what_it_refers_to() -> None:
    def body() -> Any:
        large()
        return nightly(rows=train(rows=count(start=1), epochs=2))

    graph = registered(body)
    assert [node.reference for node in graph.nodes] == ["large", "", "train", "nightly"]
    assert graph.nodes[2].inputs == {"rows": FromNode(node="n1"), "epochs": Constant(value=2)}
    named = graph.references["train"]
    assert (named.type, named.project, named.domain) == ("task", "shop", "production")
    assert (named.name, named.version) == ("models.train", "v3")
    assert (list(named.interface.inputs), named.interface.required) == (
        ["rows", "epochs"],
        ("rows",),
    )
    assert graph.references["large"].type == "launch_plan"


def test_a_reference_can_be_overridden_and_hooked_as_a_task() -> None:
    more = runtime_override_config(cpu=2)

    def body() -> Any:
        return train(rows=1).with_overrides(retries=2).with_runtime_override("trainer", more)

    [node] = registered(body).nodes
    assert (node.overrides.retries, node.hook.name, node.hook.default) == (2, "trainer", more)


@pytest.mark.parametrize("call", [lambda: nightly(rows=1), large])
def test_hooks_of_a_referenced_workflow_are_left_to_the_server(call: Any) -> None:
    def body() -> Any:
        return call().with_runtime_override("any").with_runtime_override("n1/some")

    [node] = registered(body).nodes
    assert (list(node.hooks), node.hook) == (["any", "n1/some"], None)


def test_hooks_of_a_sub_workflow_that_calls_a_referenced_one_are_left_to_the_server() -> None:
    @workflow
    def middle() -> Any:
        count(start=1)
        return nightly(rows=1)

    def body(name: str) -> Any:
        return lambda: middle().with_runtime_override(name)

    for name in ("any", "n1/any"):
        assert list(registered(body(name)).nodes[0].hooks) == [name]
    with pytest.raises(Invalid, match="hook"):
        registered(body("n0/any"))


def test_references_of_sub_workflows_are_in_the_graph() -> None:
    @workflow
    def middle() -> Any:
        return nightly(rows=1)

    assert list(registered(lambda: middle()).references) == ["nightly"]


def test_two_references_of_one_name_are_refused() -> None:
    other = reference_task(name="train", **AT)(train.function)
    with pytest.raises(Rejected, match="calls two references of the name 'train'"):
        registered(lambda: (train(rows=1), other(rows=1))[0])


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(Rejected, match="called in outer: missing a required argument: 'rows'"):
        registered(lambda: train(row=1))  # type: ignore[call-arg]


def test_a_reference_cannot_run_locally() -> None:
    message = "refers to workflow nightly version v3 of shop/production, which cannot run locally"
    with pytest.raises(Rejected, match=message):
        nightly(rows=1)
    runs = []

    @task
    def recorded() -> None:
        runs.append(1)

    @workflow
    def calls() -> Any:
        recorded()
        return nightly(rows=1)

    with pytest.raises(Rejected, match=message):
        calls()
    assert runs == []


@pytest.mark.parametrize(
    ("field", "value"), [("project", "No Project"), ("version", ""), ("name", "a b")]
)
def test_a_wrong_identity_is_refused_where_it_is_written(field: str, value: str) -> None:
    with pytest.raises(Invalid, match=field):
        reference_task(**{"name": "train", **AT, field: value})(train.function)
