"""An execution whose log would not fit into messages is refused when it is created."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import Invalid
from trimtab.levels import Scope
from trimtab.messages.events import RecordChanged
from trimtab.messages.executions import Admitted, Request
from trimtab.messages.resolutions import MAX_BYTES
from trimtab.settings.state import Settings
from trimtab.testing import entry, request
from trimtab.workflows.graphs.graph import MAX_NODES, Constant, FromNode, Hook, Node, Task, Workflow
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
