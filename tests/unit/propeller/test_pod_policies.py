"""An execution whose pods need more than its pod policies allow is refused at admission."""

from typing import Any

import pytest

from tests.unit.propeller.building import node, overrides, record, request, settings
from trimtab.levels import PLATFORM, Scope
from trimtab.messages.events import RecordChanged
from trimtab.messages.executions import Request
from trimtab.resolution.limits import Refusal
from trimtab.workflows.graphs.launch_plans import PlanCall
from trimtab.workflows.graphs.node_overrides import NodeOverrides
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import resolve

ANY = Capabilities("any")
OTHER = Scope("production", "search")
HOST_NETWORK = overrides(pod_template={"pod_spec": {"hostNetwork": True}})
SOURCES = ["task", "with_overrides", "hook default", "launch plan override", "execution override"]


def policy(document: dict[str, Any], scope: Scope = PLATFORM) -> RecordChanged:
    return record("pod_policy", document, scope)


def refusal(wanted: Request, *records: RecordChanged) -> Refusal:
    with pytest.raises(Refusal) as refused:
        resolve(wanted, settings(*records), ANY)
    return refused.value


def with_template(template: NodeOverrides, source: str) -> Request:
    def given(own: str) -> NodeOverrides:
        return template if source == own else overrides()

    return request(
        node(compiled=given("with_overrides"), hook="trainer", default=given("hook default")),
        task=given("task"),
        plan={"runtime_override": {"trainer": given("launch plan override")}},
        overrides={"trainer": given("execution override")},
    )


def called(task: NodeOverrides, **fields: Any) -> Request:
    """Make a request in which the node is in a launch plan, which another one calls."""
    wanted = request(node(), task=task, **fields)
    plans = {
        "a": PlanCall(project="web", domain="staging", workflow="outer", launch_plan="outer"),
        "a/b": PlanCall(
            project=OTHER.project,
            domain=OTHER.domain,
            workflow="index",
            launch_plan="index",
            parent="a",
        ),
    }
    nodes = tuple(each.model_copy(update={"plan": "a/b"}) for each in wanted.workflow.nodes)
    workflow = wanted.workflow.model_copy(update={"nodes": nodes, "plans": plans})
    return wanted.model_copy(update={"workflow": workflow})


@pytest.mark.parametrize("source", SOURCES)
def test_a_pod_is_judged_whatever_its_source(source: str) -> None:
    wanted = with_template(HOST_NETWORK, source)
    refused = refusal(wanted, policy({"host_network": True}, Scope(project="shop")))
    assert (refused.node, refused.path, refused.value) == (
        "n0",
        "pod_template.pod_spec.hostNetwork",
        True,
    )
    assert (refused.limit, refused.scope) == ("false", "")
    resolve(wanted, settings(policy({"host_network": True})), ANY)


def test_a_pod_that_a_more_specific_source_replaces_is_not_judged() -> None:
    wanted = request(
        node(compiled=overrides(pod_template={"labels": {"team": "ml"}})), task=HOST_NETWORK
    )
    resolve(wanted, settings(), ANY)


@pytest.mark.parametrize(
    "scope",
    [
        Scope(project="search"),
        Scope("production", "search", "index"),
        Scope("staging", "web"),
        Scope("staging", "web", "outer"),
        Scope(project="shop"),
        Scope("development", "shop", "nightly"),
    ],
)
def test_the_policies_of_a_called_launch_plan_and_of_all_around_it_have_to_allow(
    scope: Scope,
) -> None:
    wanted, platform = called(HOST_NETWORK), policy({"host_network": True})
    resolve(wanted, settings(platform), ANY)
    refused = refusal(wanted, platform, policy({"host_network": False}, scope))
    assert (refused.node, refused.scope) == ("n0", str(scope))


def run_as(account: str, scope: Scope) -> RecordChanged:
    document = {"security_context": {"run_as": {"k8s_service_account": account}}}
    return record("workflow_execution_config", document, scope)


def test_the_service_account_of_the_settings_has_to_be_allowed() -> None:
    given = run_as("admin", Scope(project="shop"))
    resolve(request(), settings(given), ANY)
    refused = refusal(request(), given, policy({"service_accounts": ["trainer"]}))
    assert refused.path == "security_context.run_as.k8s_service_account"
    assert (refused.value, refused.limit, refused.scope) == ("admin", "one of trainer", "platform")
    assert resolve(request(), settings(given, policy({"service_accounts": ["admin"]})), ANY)


def test_a_called_launch_plan_has_to_allow_the_service_account_of_the_execution() -> None:
    given = run_as("admin", Scope(project="shop"))
    # That of its own settings is not used.
    own = run_as("other", OTHER)
    denied = policy({"service_accounts": ["other"]}, OTHER)
    assert refusal(called(overrides()), given, own, denied).scope == str(OTHER)
    allowed = policy({"service_accounts": ["admin"]}, OTHER)
    assert resolve(called(overrides()), settings(given, own, allowed), ANY)


@pytest.mark.parametrize("source", ["settings", "launch plan", "execution"])
def test_an_annotation_that_replaces_a_profile_is_judged(source: str) -> None:
    key = "container.apparmor.security.beta.kubernetes.io/primary"
    given = {"annotations": {key: "unconfined"}}
    records = [record("workflow_execution_config", given)] if source == "settings" else []
    wanted = request(
        plan=given if source == "launch plan" else None,
        **(given if source == "execution" else {}),
    )
    refused = refusal(wanted, *records)
    assert refused.path == f"annotations.{key}"
    assert resolve(wanted, settings(*records, policy({"privileged": True})), ANY)


def test_a_pod_that_cannot_be_read_is_refused() -> None:
    wanted = request(task=overrides(pod_template={"pod_spec": {"hostPID": "true"}}))
    refused = refusal(wanted, policy({"privileged": True}))
    assert (refused.path, refused.value) == ("pod_template.pod_spec.hostPID", "true")
