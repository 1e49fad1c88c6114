"""Overrides of hooks whose pods the pod policy does not allow are refused with their field."""

from typing import Any

import pytest

from trimtab.errors import Invalid
from trimtab.levels import PLATFORM, Scope
from trimtab.messages.events import RecordChanged
from trimtab.settings.fold import Effective
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.graph import Hook, Node, Task, Workflow
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab.workflows.graphs.node_overrides import NO_OVERRIDES, NodeOverrides
from trimtab_admin.executions import override_policies

SCOPE = Scope("development", "shop", "nightly")
PROJECT = Scope(project="shop")


def policy(**documents: Any) -> Effective:
    settings, scopes = Settings(), {"platform": PLATFORM, "project": PROJECT}
    for name, document in documents.items():
        settings.apply(RecordChanged.at(scopes[name], "pod_policy", document), 1)
    return settings.effective("pod_policy", SCOPE)


def pod(**spec: Any) -> NodeOverrides:
    return NodeOverrides.model_validate({"pod_template": {"pod_spec": spec}})


def workflow(*paths: str, config: NodeOverrides = NO_OVERRIDES) -> Workflow:
    return Workflow(
        name="nightly",
        version="1",
        tasks={"train": Task(name="train", config=config)},
        nodes=tuple(
            Node(id=f"n{number}", task="train", inputs={}, hook=Hook(name="trainer", path=path))
            for number, path in enumerate(paths or ("",))
        ),
    )


def plan(**overrides: NodeOverrides) -> LaunchPlan:
    return LaunchPlan(name="p", workflow="nightly", version="1", runtime_override=overrides)


DENIED, FREE = pod(hostNetwork=True), pod(nodeSelector={"disk": "ssd"})


def refusal(*arguments: Any) -> Invalid:
    with pytest.raises(Invalid) as refused:
        override_policies.check(*arguments)
    return refused.value


def test_an_override_that_the_policy_denies_is_refused_with_the_scope_that_restricts() -> None:
    both = policy(platform={"host_network": True}, project={"host_network": False})
    refused = refusal(workflow(), plan(), {"trainer": DENIED}, both)
    assert refused.path == "overrides.trainer.pod_template.pod_spec.hostNetwork"
    assert refused.allowed == "false by project shop (pod_policy.host_network)"
    override_policies.check(workflow(), plan(), {"trainer": FREE}, both)


def test_what_is_denied_by_default_names_who_can_allow_it() -> None:
    refused = refusal(workflow(), plan(), {"trainer": DENIED}, policy())
    assert refused.allowed == (
        "false, unless the settings file or the platform allows it (pod_policy.host_network)"
    )
    allowed = policy(platform={"host_network": True})
    override_policies.check(workflow(), plan(), {"trainer": DENIED}, allowed)


def test_an_override_of_a_launch_plan_is_named_as_such_unless_the_execution_replaces_it() -> None:
    refused = refusal(workflow(), plan(trainer=DENIED), {}, policy())
    assert refused.path.startswith("launch_plan.runtime_override.trainer.pod_template.")
    override_policies.check(workflow(), plan(trainer=DENIED), {"trainer": FREE}, policy())


def test_the_override_of_each_node_is_checked() -> None:
    two = workflow("n0", "n1")
    refused = refusal(two, plan(), {"trainer": FREE, "n1/trainer": DENIED}, policy())
    assert refused.path.startswith("overrides.n1/trainer.")


def test_a_pod_that_cannot_be_read_is_refused() -> None:
    allowed = policy(platform={"host_network": True})
    refused = refusal(workflow(), plan(), {"trainer": pod(hostNetwork="true")}, allowed)
    assert refused.path == "overrides.trainer.pod_template.pod_spec.hostNetwork"
    assert refused.allowed == "true or false"
