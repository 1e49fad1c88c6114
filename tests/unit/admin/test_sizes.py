"""An execution whose log would not fit into messages is refused when it is created."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import Invalid
from trimtab.levels import Scope
from trimtab.messages.events import ProjectChanged, RecordChanged
from trimtab.messages.executions import Admitted, Request
from trimtab.messages.resolutions import MAX_BYTES
from trimtab.settings.state import Settings
from trimtab.testing import entry, request
from trimtab.workflows.graphs.graph import MAX_NODES, Constant, FromNode, Hook, Node, Task, Workflow
from trimtab.workflows.graphs.launch_plans import ExecutionConfig, PlanCall
from trimtab.workflows.graphs.node_overrides import NodeOverrides
from trimtab_admin.executions import sizes
from trimtab_admin.executions.target_settings import TargetSettings
from trimtab_admin.storage.changes import MAX_EVENT_BYTES
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import resolve

NATS_BYTES = 1024 * 1024
SCOPE = Scope("development", "flyteexamples")
EXECUTOR = Capabilities("process", ("container_image", "resources.limits", "labels", "priority"))


def stored(**documents: dict[str, object]) -> Settings:
    stored = Settings()
    for revision, (kind, document) in enumerate(documents.items(), start=1):
        stored.apply(RecordChanged.at(SCOPE, kind, document), revision)
    return stored


def applied(settings: Settings) -> TargetSettings:
    return TargetSettings.of(settings, Scope(SCOPE.domain, SCOPE.project, "nightly"))


SETTINGS = stored(
    task_resource={
        "defaults": {"cpu": "1", "memory": "1Gi", "ephemeral_storage": "1Gi"},
        "limits": {"cpu": "2", "memory": "8Gi"},
        "over_limit": "clamp",
    },
    workflow_execution_config={
        "envs": {f"V{n}": "{{ execution }}" * 3 for n in range(5)},
        "labels": {"team": "a", "run": "{{ execution }}"},
    },
    workflow_priority={"priority": 5},
)
APPLIED = applied(SETTINGS)


def chain(nodes: int, overrides: list[NodeOverrides], *, hooks: bool = False) -> Request:
    """Return a request of a chain of nodes, to which the overrides are given in turn."""
    graph = Workflow(
        name="chain",
        version="v1",
        tasks={"step": Task(name="step", config=NodeOverrides(environment={"A": "1"}))},
        nodes=tuple(
            Node(
                id=f"n{n}",
                task="step",
                inputs={"x": FromNode(node=f"n{n - 1}") if n else Constant(value=1)},
                overrides=overrides[n % len(overrides)],
                hook=Hook(name=f"hook{n}", default=NodeOverrides(retries=n % 7)) if hooks else None,
            )
            for n in range(nodes)
        ),
        module="def step(x): return x\n",
    )
    return request(workflow_=graph)


def overrides_of(number: int) -> NodeOverrides:
    return NodeOverrides(environment={"INDEX": str(number)})


LAB = Scope("production", "lab")


def lab_settings() -> Settings:
    """Return the settings with records and labels of another project."""
    found = stored(
        task_resource={"limits": {"cpu": "2", "memory": "8Gi"}, "over_limit": "clamp"},
        workflow_execution_config={"envs": {"A": "{{ workflow }}"}, "labels": {"run": "1"}},
        workflow_priority={"priority": 5},
    )
    documents: dict[str, dict[str, object]] = {
        "task_resource": {"defaults": {"cpu": "1"}, "limits": {"cpu": "1"}, "over_limit": "clamp"},
        "workflow_execution_config": {
            "envs": {f"L{n}": "{{ workflow }}{{ launch_plan }}" for n in range(9)},
            "labels": {f"l{n}": "{{ execution }}" for n in range(9)},
            "max_parallelism": 50,
        },
        "workflow_priority": {"priority": 50},
        "execution_queue": {"tags": ["lab"]},
    }
    for revision, (kind, document) in enumerate(documents.items(), start=10):
        found.apply(RecordChanged.at(LAB, kind, document), revision)
    found.apply(ProjectChanged(name="lab", labels={f"p{n}": "x" * 60 for n in range(9)}), 20)
    return found


def calling(creation: Request, calls: list[tuple[int, int]], parallelism: int) -> Request:
    """Return the request with calls of launch plans, in which its nodes are in turn."""
    plans: dict[str, PlanCall] = {}
    for number, (plan, around) in enumerate(calls):
        config = ExecutionConfig(
            environment={"PLAN": "\u00e9" * plan}, annotations={"a": "x" * 90}, max_parallelism=9
        )
        plans[f"c{number}"] = PlanCall(
            project="lab",
            domain="production",
            workflow=f"{'w' * 150}{plan % 2}",
            launch_plan=f"{'p' * 150}{plan}",
            config=config,
            parent="" if around >= number else f"c{around}",
        )
    names = ["", *plans]
    nodes = tuple(
        node.model_copy(update={"plan": names[number % len(names)]})
        for number, node in enumerate(creation.workflow.nodes)
    )
    workflow = creation.workflow.model_copy(update={"plans": plans, "nodes": nodes})
    return creation.model_copy(update={"workflow": workflow, "max_parallelism": parallelism})


amounts = st.sampled_from(["1", "2", "3"])
resources = st.dictionaries(st.sampled_from(["cpu", "memory", "gpu"]), amounts)
some_overrides = st.builds(
    lambda requests, limits, retries, image, environment: NodeOverrides.model_validate(
        {
            "resources": {"limits": limits | requests, "requests": requests},
            "retries": retries,
            "container_image": image,
            "environment": environment,
        }
    ),
    resources,
    resources,
    st.sampled_from([None, 0, 3]),
    st.sampled_from([None, "example/train:1"]),
    st.dictionaries(st.sampled_from(["LOG", "\u00e9", "x" * 50]), st.text(max_size=20)).map(
        lambda given: {name: value.replace("\0", "") for name, value in given.items()}
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(some_overrides, min_size=1, max_size=6), st.integers(1, 40), st.booleans())
def test_no_resolution_is_larger_than_was_expected_at_creation(
    overrides: list[NodeOverrides], nodes: int, hooks: bool
) -> None:
    creation = chain(nodes, overrides, hooks=hooks)
    resolution = resolve(creation, SETTINGS, EXECUTOR)
    size = len(entry(Admitted, 1, resolution=resolution).body())
    assert size - 250 <= sizes.most_resolution_bytes(creation, APPLIED)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(some_overrides, min_size=1, max_size=6),
    st.integers(1, 60),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20)), min_size=1, max_size=20),
    st.integers(1, 20),
)
def test_no_resolution_with_called_launch_plans_is_larger_than_was_expected(
    overrides: list[NodeOverrides],
    nodes: int,
    hooks: bool,
    calls: list[tuple[int, int]],
    parallelism: int,
) -> None:
    creation = calling(chain(nodes, overrides, hooks=hooks), calls, parallelism)
    settings = lab_settings()
    resolution = resolve(creation, settings, EXECUTOR)
    size = len(entry(Admitted, 1, resolution=resolution).body())
    target = Scope(SCOPE.domain, SCOPE.project, "chain")
    called = {call.target for call in creation.workflow.plans.values()}
    applied = TargetSettings.of(settings, target, called)
    assert size - 250 <= sizes.most_resolution_bytes(creation, applied)


@pytest.mark.parametrize("text", ["{{ workflow }}", "{{ launch_plan }}"])
def test_names_that_fill_placeholders_count(text: str) -> None:
    creation = chain(2, [NodeOverrides()])
    creation = calling(creation, [(0, 0)], 1)
    name, config = "w" * 200, {"envs": {"V": text * 400}, "annotations": {"v": text * 400}}
    workflow = creation.workflow.model_copy(update={"name": name})
    plan = creation.launch_plan.model_copy(update={"name": name, "workflow": name})
    creation = creation.model_copy(update={"workflow": workflow, "launch_plan": plan})
    settings = stored(workflow_execution_config=config)
    settings.apply(RecordChanged.at(LAB, "workflow_execution_config", config), 9)
    resolution = resolve(creation, settings, EXECUTOR)
    size = len(entry(Admitted, 1, resolution=resolution).body())
    called = {call.target for call in workflow.plans.values()}
    applied = TargetSettings.of(settings, creation.target, called)
    assert size - 250 <= sizes.most_resolution_bytes(creation, applied)


@pytest.mark.parametrize("own", [False, True])
def test_the_largest_workflow_fits_with_variables_of_each_node(own: bool) -> None:
    overrides = [overrides_of(n) for n in range(MAX_NODES)] if own else [NodeOverrides()]
    creation = chain(MAX_NODES, overrides)
    creation.workflow.check()
    sizes.check(creation, APPLIED)
    size = len(entry(Admitted, 1, resolution=resolve(creation, SETTINGS, EXECUTOR)).body())
    assert size - 250 <= sizes.most_resolution_bytes(creation, APPLIED)
    assert len(creation.model_dump_json()) < MAX_EVENT_BYTES


def test_more_nodes_are_refused() -> None:
    with pytest.raises(Invalid, match="at most 5000 nodes"):
        chain(MAX_NODES + 1, [NodeOverrides()]).workflow.check()


def test_values_that_do_not_fit_are_refused_with_what_fits() -> None:
    large = NodeOverrides(environment={f"V{n}": "\u00e9" * 100 for n in range(1000)})
    creation = chain(3, [large, NodeOverrides()])
    config = {"envs": {f"W{n}": "x" * 1000 for n in range(MAX_BYTES // 8000)}}
    sizes.check(creation, applied(stored(workflow_execution_config=config)))
    config["envs"] |= {f"X{n}": "x" * 1000 for n in range(MAX_BYTES // 8000)}
    with pytest.raises(Invalid) as refused:
        sizes.check(creation, applied(stored(workflow_execution_config=config)))
    assert refused.value.path == "workflow"
    assert "3 nodes whose values take up to" in str(refused.value.value)
    assert refused.value.allowed.startswith(f"at most {MAX_BYTES} bytes")


@pytest.mark.parametrize("text", ["x" * NATS_BYTES, "\u8a9e" * (NATS_BYTES // 3)])
def test_a_request_that_does_not_fit_is_refused(text: str) -> None:
    """Its size in the message counts, in which a character may take several bytes."""
    creation = request(inputs={"text": text})
    with pytest.raises(Invalid, match="workflow and inputs of at most 921600 bytes"):
        sizes.check(creation, APPLIED)
