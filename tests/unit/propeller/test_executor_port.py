"""An attempt has every resolved value that it runs with."""

from typing import Any

import pytest

from tests.unit.propeller.building import MODULE, node, overrides, record, request, settings
from trimtab.amounts import ResourceSpec
from trimtab.messages.events import ClusterChanged, ProjectChanged, QueueChanged
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import ResolvedValue
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.targets import Function
from trimtab_propeller.executors.attempt import Attempt, Resources
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import resolve

TRAIN = Function(name="train")
TASK = overrides(
    environment={"LOG": "info", "TRIMTAB_NODE": "mine"},
    resources={"requests": {"cpu": "1"}, "limits": {"ephemeral_storage": "1Gi"}},
    container_image="registry/train:1",
)
RECORDS = settings(
    ProjectChanged(name="shop", labels={"cost": "7"}),
    ClusterChanged(name="blue"),
    record(
        "workflow_execution_config",
        {
            "labels": {"example.com/team": "a"},
            "annotations": {"note": "{{ execution }}"},
            "security_context": {"run_as": {"k8s_service_account": "trainer"}},
            "interruptible": True,
            "envs": {"REGION": "eu"},
        },
    ),
    record("workflow_priority", {"priority": 7}),
    record("execution_queue", {"tags": ["critical", "gpu"]}),
    QueueChanged(name="fast", attributes=("gpu", "critical"), system="child_queue"),
)


def attempt(wanted: Request, after: Settings, number: int = 0, **inputs: Any) -> Attempt:
    """The attempt of the first node, from the resolution as it is stored and read again."""
    resolution = resolve(wanted, after, Capabilities("any"))
    stored = type(resolution).model_validate_json(resolution.model_dump_json())
    return Attempt.from_resolution(wanted, stored, wanted.workflow.nodes[0], number, inputs)


def test_a_resource_that_only_a_later_release_knows_is_left_out() -> None:
    wanted = request(task=TASK)
    stored = resolve(wanted, RECORDS, Capabilities("any"))
    later = ResolvedValue(path="resources.limits.hugepages", value="1Gi", source="task")
    nodes = {name: (*values, later) for name, values in stored.nodes.items()}
    extended = stored.model_copy(update={"nodes": nodes})
    [node_, *_] = wanted.workflow.nodes
    attempts = [Attempt.from_resolution(wanted, each, node_, 0, {}) for each in (stored, extended)]
    assert attempts[0] == attempts[1]


def test_an_attempt_has_every_resolved_value() -> None:
    assert attempt(request(task=TASK), RECORDS, 2, count=4) == Attempt(
        execution="e1",
        node="n0",
        number=2,
        project="shop",
        domain="development",
        workflow="nightly",
        task="train",
        inputs={"count": 4},
        target=TRAIN,
        module=MODULE,
        environment={
            "LOG": "info",
            "REGION": "eu",
            "TRIMTAB_EXECUTION": "e1",
            "TRIMTAB_PROJECT": "shop",
            "TRIMTAB_DOMAIN": "development",
            "TRIMTAB_WORKFLOW": "nightly",
            "TRIMTAB_NODE": "n0",
            "TRIMTAB_ATTEMPT": "2",
            "TRIMTAB_REQUESTS_CPU": "1",
            "TRIMTAB_REQUESTS_EPHEMERAL_STORAGE": "1Gi",
            "TRIMTAB_LIMITS_EPHEMERAL_STORAGE": "1Gi",
        },
        image="registry/train:1",
        resources=Resources(
            requests=ResourceSpec(cpu="1", ephemeral_storage="1Gi"),
            limits=ResourceSpec(ephemeral_storage="1Gi"),
        ),
        labels={"cost": "7", "example.com/team": "a"},
        annotations={"note": "e1"},
        cluster="blue",
        service_account="trainer",
        interruptible=True,
        priority=7,
        queue="fast",
        queue_system="child_queue",
    )


def test_an_attempt_has_the_values_of_its_own_node() -> None:
    wanted = request(node("n0", compiled=overrides(container_image="own:1")), node("n1"), task=TASK)
    assert attempt(wanted, settings()).image == "own:1"


def test_without_settings_an_attempt_has_the_defaults() -> None:
    found = attempt(request(), settings())
    assert found == Attempt(
        execution="e1",
        node="n0",
        number=0,
        project="shop",
        domain="development",
        workflow="nightly",
        task="train",
        inputs={},
        target=TRAIN,
        module=MODULE,
        environment=found.environment,
    )
    assert found.environment.keys() == {
        f"TRIMTAB_{name}"
        for name in ("EXECUTION", "PROJECT", "DOMAIN", "WORKFLOW", "NODE", "ATTEMPT")
    }


def test_the_fence_of_a_token_is_a_variable() -> None:
    found = attempt(request(), settings())
    assert found.with_fence(17).environment == {**found.environment, "TRIMTAB_FENCE": "17"}
    assert found.with_fence(None) == found


@pytest.mark.parametrize(
    ("path", "note"),
    [
        ("labels", "clamped; ignored by the small executor"),
        ("labels.team", "clamped; ignored by the small executor"),
        ("labelset", "clamped"),
    ],
)
def test_a_value_that_an_executor_ignores_has_a_note(path: str, note: str) -> None:
    executor = Capabilities("small", ignores=("labels",))
    value = ResolvedValue(path=path, value="1", source="task", note="clamped")
    assert executor.annotate(value).note == note
