"""Expansion: the graph of tasks that a workflow with sub-workflows and references runs as."""

from typing import Any

import pytest

from tests.cpu_time import cpu_seconds
from trimtab.errors import Invalid
from trimtab.workflows.graphs.expansion import (
    MAX_BYTES,
    MAX_DEPTH,
    Referenced,
    ReferenceKey,
    Registry,
    expand,
    references,
)
from trimtab.workflows.graphs.graph import (
    MAX_NODES,
    Binding,
    Constant,
    FromInput,
    FromNode,
    Graph,
    Hook,
    Node,
    Reference,
    Task,
    Workflow,
)
from trimtab.workflows.graphs.launch_plans import ExecutionConfig, LaunchPlan, PlanCall
from trimtab.workflows.graphs.node_overrides import NodeOverrides
from trimtab.workflows.graphs.targets import Function

STEP = {"step": Task(name="step")}


def node(id_: str = "n0", *, hook: str = "", **fields: Any) -> Node:
    """Build a call of the task ``step``, or of the given workflow or reference."""
    callee = {} if fields.keys() & {"workflow", "reference"} else {"task": "step"}
    found = {"hook": Hook(name=hook, default=retries(1))} if hook else {}
    return Node.model_validate({"id": id_, "inputs": {}, **callee, **found, **fields})


def graph(*nodes: Node, **fields: Any) -> Graph:
    return Graph.model_validate({"nodes": nodes, **fields})


def workflow(*nodes: Node, name: str = "main", **fields: Any) -> Workflow:
    found = Workflow.model_validate(
        {"name": name, "version": "v1", "tasks": STEP, "nodes": nodes, **fields}
    )
    found.check()
    return found


def retries(number: int) -> NodeOverrides:
    return NodeOverrides(retries=number)


def reference(name: str, type_: str = "workflow") -> Reference:
    return Reference.model_validate(
        {"type": type_, "project": "shop", "domain": "production", "name": name, "version": "v1"}
    )


def key(name: str, type_: str = "workflow") -> ReferenceKey:
    return ReferenceKey.of(reference(name, type_))


def registry(*workflows: Workflow, plans: tuple[LaunchPlan, ...] = ()) -> Registry:
    """Build the registry of all workflows, of their tasks, and of launch plans."""
    by_name = {each.name: each for each in workflows}
    found = {key(name): Referenced(each) for name, each in by_name.items()}
    for each in workflows:
        found |= {key(name, "task"): Referenced(each) for name in each.tasks}
    for plan in plans:
        found[key(plan.name, "launch_plan")] = Referenced(by_name[plan.workflow], plan)
    return found


def plan(**fields: Any) -> LaunchPlan:
    return LaunchPlan(name="large", workflow="sub", version="v1", **fields)


def defaults(expanded: Workflow) -> dict[str, int | None]:
    """Return the retries that the default of each hook sets, by id of node."""
    return {each.id: each.hook.default.retries for each in expanded.nodes if each.hook}


def overrides(expanded: Workflow) -> dict[str, NodeOverrides]:
    return {each.id: each.overrides for each in expanded.nodes}


def test_a_workflow_of_tasks_is_returned_itself() -> None:
    only_tasks = workflow(node())
    assert expand(only_tasks) is only_tasks


def test_nodes_and_hooks_have_the_path_of_the_calls_that_lead_to_them() -> None:
    outer = workflow(
        node("a", workflow="middle"),
        node("b"),
        workflows={
            "middle": graph(node("c", workflow="inner"), node("d", workflow="inner")),
            "inner": graph(node("e", hook="trainer")),
        },
    )
    expanded = expand(outer)
    assert [each.id for each in expanded.nodes] == ["a.c.e", "a.d.e", "b"]
    assert expanded.full_hook_names == {"a/c/trainer", "a/d/trainer"}
    assert list(expanded.hooks) == ["trainer"]
    assert (expanded.workflows, {each.task for each in expanded.nodes}) == ({}, {"step"})
    expanded.check()


def test_inputs_constants_and_outputs_pass_through_sub_workflows() -> None:
    inner = graph(
        node("n0", inputs={"x": FromInput(name="a"), "y": FromInput(name="b")}),
        node("n1", inputs={"x": FromNode(node="n0"), "y": Constant(value=3)}),
        inputs={"a": None, "b": [2]},
        required=("a",),
        output=FromNode(node="n1"),
    )
    echo = graph(node("n0"), inputs={"a": 1}, output=FromInput(name="a"))
    outer = workflow(
        node("n0", workflow="echo", inputs={"a": FromInput(name="start")}),
        node("n1", workflow="inner", inputs={"a": FromNode(node="n0")}),
        node("n2", workflow="echo"),
        node("n3", workflow="inner", inputs={"a": FromNode(node="n2"), "b": FromNode(node="n1")}),
        inputs={"start": 7},
        workflows={"inner": inner, "echo": echo},
        output=FromNode(node="n3"),
    )
    expanded = expand(outer)
    inputs = {each.id: each.inputs for each in expanded.nodes}
    assert inputs["n1.n0"] == {"x": FromInput(name="start"), "y": Constant(value=[2])}
    assert inputs["n1.n1"] == {"x": FromNode(node="n1.n0"), "y": Constant(value=3)}
    assert inputs["n3.n0"] == {"x": Constant(value=1), "y": FromNode(node="n1.n1")}
    assert expanded.output == FromNode(node="n3.n1")
    expanded.check()


@pytest.mark.parametrize(
    ("output", "expected"),
    [(None, None), (FromNode(node="n0"), Constant(value=None))],
)
def test_a_sub_workflow_without_an_output_returns_null(
    output: Binding | None, expected: Binding | None
) -> None:
    outer = workflow(node("n0", workflow="sub"), workflows={"sub": graph(node())}, output=output)
    assert expand(outer).output == expected


def test_defaults_of_hooks_are_those_of_the_outermost_call_and_a_path_is_before_a_name() -> None:
    middle = graph(
        node("a", workflow="inner", hooks={"trainer": retries(2)}),
        node("b", workflow="inner", hooks={"trainer": retries(3)}),
        node("c", workflow="inner"),
    )
    inner = graph(node("n0", hook="trainer"))

    def retries_of(hooks: dict[str, NodeOverrides]) -> list[int | None]:
        outer = workflow(
            node("n0", workflow="middle", hooks=hooks), workflows={"middle": middle, "inner": inner}
        )
        return list(defaults(expand(outer)).values())

    assert retries_of({}) == [2, 3, 1]
    assert retries_of({"trainer": retries(4)}) == [4, 4, 4]
    assert retries_of({"b/trainer": retries(5)}) == [2, 5, 1]
    assert retries_of({"b/trainer": retries(0), "trainer": retries(4)}) == [4, 0, 4]


def test_defaults_of_a_hook_are_merged_by_field() -> None:
    outer = workflow(
        node("n0", workflow="sub", hooks={"trainer": NodeOverrides(cache=False)}),
        workflows={"sub": graph(node("n0", hook="trainer"))},
    )
    [only] = expand(outer).nodes
    assert only.hook
    assert only.hook.default == NodeOverrides(retries=1, cache=False)


@pytest.mark.parametrize("name", ["trainr", "n0/trainer", "a/trainr", "b/a/trainer", "a"])
def test_a_default_of_an_unknown_hook_is_refused_with_those_that_there_are(name: str) -> None:
    outer = workflow(
        node("n0", workflow="middle", hooks={"trainer": retries(1), name: retries(2)}),
        workflows={
            "middle": graph(node("a", workflow="inner"), node("b")),
            "inner": graph(node("n0", hook="trainer")),
        },
    )
    with pytest.raises(Invalid, match=r"allowed: the hooks trainer") as refused:
        expand(outer)
    assert refused.value.path == f"nodes.n0.hooks.{name}"


def test_a_default_of_a_hook_where_there_is_none_is_refused() -> None:
    outer = workflow(
        node("n0", workflow="sub", hooks={"a": retries(1)}), workflows={"sub": graph(node())}
    )
    with pytest.raises(Invalid, match=r"no node in sub has one"):
        expand(outer)


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        (node("n0", workflow="sub", hook="trainer"), "nodes.0.hook"),
        (node("n0", hooks={"trainer": retries(1)}), "nodes.0.hooks"),
    ],
)
def test_hooks_that_would_have_no_effect_are_refused(wrong: Node, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        workflow(wrong, workflows={"sub": graph(node())})
    assert refused.value.path == path


def test_overrides_are_those_of_the_nearest_call_by_field_and_key() -> None:
    def environment(**values: str) -> NodeOverrides:
        return NodeOverrides(environment=values)

    outer = workflow(
        node("n0", workflow="middle", overrides=NodeOverrides(retries=3, environment={"A": "3"})),
        workflows={
            "middle": graph(node("a", workflow="inner", overrides=retries(2)), node("b")),
            "inner": graph(
                node("c", overrides=environment(B="1")), node("d", overrides=retries(0))
            ),
        },
    )
    assert overrides(expand(outer)) == {
        "n0.a.c": NodeOverrides(retries=2, environment={"A": "3", "B": "1"}),
        "n0.a.d": NodeOverrides(retries=0, environment={"A": "3"}),
        "n0.b": NodeOverrides(retries=3, environment={"A": "3"}),
    }


def calls(name: str, type_: str = "workflow", **fields: Any) -> Workflow:
    """Build a workflow that calls what is registered elsewhere, in node ``n0``."""
    return workflow(
        node("n0", reference="stub", **fields), references={"stub": reference(name, type_)}
    )


def test_a_referenced_workflow_is_expanded_with_its_own_tasks_and_code() -> None:
    sub = workflow(
        node("a", workflow="inner"),
        node("b"),
        name="sub",
        workflows={"inner": graph(node("c"))},
        module="code",
    )
    expanded = expand(calls("sub"), registry(sub))
    assert [each.id for each in expanded.nodes] == ["n0.a.c", "n0.b"]
    [(code, text)] = expanded.sources.items()
    assert text == "code"
    assert {each.task for each in expanded.nodes} == {"step-2"}
    assert expanded.tasks["step-2"].target == Function(name="step", code=code)
    assert expanded.tasks["step"] == STEP["step"]
    expanded.check()


def test_a_referenced_workflow_with_a_bundle_runs_from_it() -> None:
    sub = workflow(node(), name="sub", bundle="b" * 64)
    expanded = expand(calls("sub"), registry(sub))
    assert expanded.tasks["step-2"].target == Function(name="step", code="b" * 64)


def test_equal_tasks_of_one_name_are_one_and_others_get_another_name() -> None:
    def theirs(name: str, module: str, task: Task) -> Workflow:
        return workflow(node(), name=name, module=module, tasks={"step": task})

    retried = Task(name="step", config=retries(2))
    others = (theirs("a", "x", retried), theirs("b", "x", retried), theirs("c", "y", retried))
    outer = workflow(
        *(node(f"n{i}", reference=each.name) for i, each in enumerate(others)),
        references={each.name: reference(each.name) for each in others},
        tasks={**STEP, "step-2": Task(name="step-2")},
    )
    expanded = expand(outer, registry(*others))
    assert [each.task for each in expanded.nodes] == ["step-3", "step-3", "step-4"]
    assert set(expanded.sources.values()) == {"x", "y"}


def test_a_referenced_task_keeps_its_hook_and_overrides() -> None:
    owner = workflow(node(), name="owner", module="code")
    expanded = expand(calls("step", "task", hook="trainer", overrides=retries(4)), registry(owner))
    [only] = expanded.nodes
    assert (only.task, only.reference, only.overrides) == ("step-2", "", retries(4))
    assert expanded.full_hook_names == {"trainer"}


def test_a_referenced_launch_plan_gives_inputs_and_defaults_that_the_call_replaces() -> None:
    sub = workflow(
        node("n0", hook="a", inputs={"x": FromInput(name="x"), "y": FromInput(name="y")}),
        node("n1", hook="b"),
        name="sub",
        inputs={"x": None, "y": None, "z": 1},
        required=("x", "y"),
    )
    large = plan(inputs={"x": 1, "y": 2}, runtime_override={"a": retries(5), "b": retries(6)})
    caller = calls("large", "launch_plan", inputs={"y": Constant(value=3)}, hooks={"b": retries(7)})
    expanded = expand(caller, registry(sub, plans=(large,)))
    assert expanded.nodes[0].inputs == {"x": Constant(value=1), "y": Constant(value=3)}
    assert defaults(expanded) == {"n0.n0": 5, "n0.n1": 7}


def call_of(name: str, workflow_: str, parent: str = "", **config: Any) -> PlanCall:
    """Build the call of a launch plan that `reference` names."""
    return PlanCall(
        **{"project": "shop", "domain": "production", "launch_plan": name, "workflow": workflow_},
        config=ExecutionConfig.model_validate(config),
        parent=parent,
    )


def test_a_called_launch_plan_stays_known_and_its_values_are_no_overrides() -> None:
    within = NodeOverrides(environment={"A": "node"}, interruptible=False)
    sub = workflow(node("n0", overrides=within), name="sub")
    labels, environment = {"team": "a"}, {"A": "plan"}
    values = {"max_parallelism": 2, "labels": labels, "environment": environment}
    known = registry(sub, plans=(plan(**values),))
    expanded = expand(calls("large", "launch_plan", overrides=retries(1)), known)
    assert expanded.plans == {"n0": call_of("large", "sub", **values)}
    [only] = expanded.nodes
    assert only.plan == "n0"
    assert only.overrides == within.model_copy(update={"retries": 1})
    expanded.check_plans()


def test_nested_calls_of_launch_plans_name_the_one_that_they_are_in() -> None:
    sub = workflow(node("n0"), name="sub")
    middle = workflow(
        node("n0", reference="stub"),
        node("n1"),
        name="middle",
        references={"stub": reference("large", "launch_plan")},
    )
    outer = plan(max_parallelism=3).model_copy(update={"name": "larger", "workflow": "middle"})
    expanded = expand(calls("larger", "launch_plan"), registry(sub, middle, plans=(plan(), outer)))
    assert expanded.plans == {
        "n0": call_of("larger", "middle", max_parallelism=3),
        "n0/n0": call_of("large", "sub", parent="n0"),
    }
    assert {each.id: each.plan for each in expanded.nodes} == {"n0.n0.n0": "n0/n0", "n0.n1": "n0"}
    again = Workflow.model_validate_json(expanded.model_dump_json())
    assert (again.plans, again.nodes) == (expanded.plans, expanded.nodes)


def test_each_call_of_a_launch_plan_is_one_and_other_calls_stay_in_the_part_of_the_caller() -> None:
    sub = workflow(node("n0", workflow="inner"), name="sub", workflows={"inner": graph(node("t"))})
    outer = workflow(
        node("a", reference="large"),
        node("b", workflow="own"),
        node("c", reference="sub"),
        node("d", reference="step"),
        references={
            "large": reference("large", "launch_plan"),
            "sub": reference("sub"),
            "step": reference("step", "task"),
        },
        workflows={"own": graph(node("x", reference="large"), node("y"))},
    )
    expanded = expand(outer, registry(sub, plans=(plan(),)))
    assert expanded.plans == {"a": call_of("large", "sub"), "b/x": call_of("large", "sub")}
    assert {each.id: each.plan for each in expanded.nodes} == {
        **{"a.n0.t": "a", "b.x.n0.t": "b/x"},
        **{"b.y": "", "c.n0.t": "", "d": ""},
    }
    expanded.check_plans()


def test_one_workflow_called_by_name_and_by_its_launch_plan_has_each_hook_once() -> None:
    sub = workflow(node("n0", hook="trainer"), name="sub")
    outer = workflow(
        node("n0", reference="sub"),
        node("n1", reference="large"),
        references={"sub": reference("sub"), "large": reference("large", "launch_plan")},
    )
    expanded = expand(outer, registry(sub, plans=(plan(),)))
    assert expanded.full_hook_names == {"n0/trainer", "n1/trainer"}


def test_two_nodes_with_one_hook_are_refused_also_where_one_is_registered_elsewhere() -> None:
    sub = workflow(node("n5", hook="trainer"), name="sub")
    outer = workflow(
        node("n0", hook="trainer"),
        node("n1", reference="sub"),
        references={"sub": reference("sub")},
    )
    with pytest.raises(Invalid, match=r"node n0 of main and node n5 of sub \(in workflow shop/"):
        expand(outer, registry(sub))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "sub requires it"),
        ({"x": Constant(value=1), "rowz": Constant(value=1)}, "inputs of sub: x, rows; did you"),
    ],
)
def test_inputs_that_the_callee_requires_or_does_not_have_are_refused(
    inputs: dict[str, Binding], message: str
) -> None:
    sub = graph(node(), inputs={"x": None, "rows": 1}, required=("x",))
    outer = workflow(node("n0", workflow="sub", inputs=inputs), workflows={"sub": sub})
    with pytest.raises(Invalid, match=message) as refused:
        expand(outer)
    assert refused.value.path.startswith("nodes.n0.inputs.")


def test_a_reference_that_is_not_in_the_registry_is_refused_with_its_identity() -> None:
    with pytest.raises(Invalid, match="workflow shop/production/sub version v1"):
        expand(calls("sub"))
    with pytest.raises(Invalid, match="a task that is registered"):
        expand(calls("gone", "task"), {key("gone", "task"): Referenced(calls("sub"))})


def test_references_are_listed_with_their_identity() -> None:
    [named] = references(calls("sub"))
    assert str(named) == "workflow shop/production/sub version v1"


def test_cycles_are_refused() -> None:
    direct = workflow(
        node("n0", workflow="a"),
        workflows={"a": graph(node("n0", workflow="b")), "b": graph(node("n0", workflow="a"))},
    )
    with pytest.raises(Invalid, match="does not call itself"):
        expand(direct)
    sub = workflow(node("n0", reference="back"), name="sub", references={"back": reference("sub")})
    with pytest.raises(Invalid, match="does not call itself"):
        expand(calls("sub"), registry(sub))


def chain(length: int, *, calls_of_each: int = 1, shortcut: int = 0) -> Workflow:
    """Build a chain of sub-workflows; the first node may call one further down."""
    last = {f"w{length}": graph(node())}
    middle = {
        f"w{i}": graph(*(node(f"n{c}", workflow=f"w{i + 1}") for c in range(calls_of_each)))
        for i in range(1, length)
    }
    first = (node("first", workflow=f"w{shortcut}"),) if shortcut else ()
    return workflow(*first, node("n0", workflow="w1"), workflows={**middle, **last})


def test_sub_workflows_are_nested_to_a_depth_and_no_further() -> None:
    [deepest] = expand(chain(MAX_DEPTH)).nodes
    assert deepest.id.count(".") == MAX_DEPTH
    for shortcut in (0, 3, MAX_DEPTH):
        with pytest.raises(Invalid, match=f"at most {MAX_DEPTH} sub-workflows inside each other"):
            expand(chain(MAX_DEPTH + 1, shortcut=shortcut))
    with pytest.raises(Invalid, match="inside each other"):
        expand(chain(5000))


def test_nesting_that_multiplies_nodes_is_refused_before_they_are_made() -> None:
    check_refused_early(chain(MAX_DEPTH, calls_of_each=100), f"at most {MAX_NODES} nodes")


def check_refused_early(multiplied: Workflow, reason: str) -> None:
    """Check that the refusal takes less than to expand a workflow of the most nodes."""

    def refuse() -> None:
        with pytest.raises(Invalid, match=reason):
            expand(multiplied)

    most = calls_of_tens(MAX_NODES)
    assert cpu_seconds(refuse) < cpu_seconds(lambda: expand(most))


def calls_of_tens(nodes: int) -> Workflow:
    """Build a workflow of so many nodes that calls one of ten nodes."""
    inner = graph(*(node(f"n{i}", hook="h" * (i == 0)) for i in range(10)))
    calls = (
        node(f"n{i}", workflow="sub", hooks={"h": retries(2)}, overrides=retries(1))
        for i in range(nodes // 10)
    )
    return workflow(*calls, workflows={"sub": inner})


@pytest.mark.parametrize(
    "fields",
    [
        {"inputs": {"x": Constant(value="x" * 500_000)}},
        {"overrides": NodeOverrides(environment={"A": "x" * 500_000})},
        {"hooks": {"h": NodeOverrides(environment={"A": "x" * 500_000})}},
    ],
    ids=["inputs", "overrides", "hooks"],
)
def test_values_that_nesting_multiplies_are_refused_before_they_fill_the_memory(
    fields: Any,
) -> None:
    sub = graph(
        node("n", hook="h"),
        *(node(f"n{i}", inputs={"x": FromInput(name="x")}) for i in range(70)),
        inputs={"x": 1},
    )
    outer = workflow(
        *(node(f"n{i}", workflow="sub", **fields) for i in range(70)), workflows={"sub": sub}
    )
    check_refused_early(outer, f"at most {MAX_BYTES} bytes")


def test_values_of_called_launch_plans_count_in_the_bytes() -> None:
    known = registry(workflow(node(), name="sub"), plans=(plan(environment={"A": "x" * 50_000}),))

    def caller(number: int) -> Workflow:
        return workflow(
            *(node(f"n{n}", reference="stub") for n in range(number)),
            references={"stub": reference("large", "launch_plan")},
        )

    expanded = expand(caller(18), known)
    assert len(expanded.model_dump_json()) < MAX_BYTES + 1000
    with pytest.raises(Invalid, match=f"at most {MAX_BYTES} bytes"):
        expand(caller(19), known)


def test_the_most_nodes_are_expanded_in_linear_time() -> None:
    tenth, outer = calls_of_tens(MAX_NODES // 10), calls_of_tens(MAX_NODES)
    assert len(expand(outer).nodes) == MAX_NODES
    seconds = cpu_seconds(lambda: expand(tenth))
    assert cpu_seconds(lambda: expand(outer)) < 40 * seconds  # usually 10 to 14 times
    with pytest.raises(Invalid, match=f"{MAX_NODES + 10} nodes in main"):
        expand(outer.model_copy(update={"nodes": (*outer.nodes, node("last", workflow="sub"))}))
