"""A pod over a template of the configuration needs policies for all that its user reaches."""

from typing import Any

import pytest

from tests.unit.propeller.building import node, overrides, record, request, settings
from tests.unit.propeller.pod_attempts import attempt, container, defaults, spec, template
from trimtab.labels import POD_TEMPLATE
from trimtab.levels import PLATFORM
from trimtab.messages.events import RecordChanged
from trimtab.resolution.limits import Refusal
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.pods import build_pod
from trimtab_propeller.pods.fields import PodRejected
from trimtab_propeller.resolution import Site, resolve

PODS = Capabilities("pods", makes_pods=True)
IMAGE = "registry.example.com/tasks:v1"
LOGS = {"name": "logs", "hostPath": {"path": "/var/log"}}
MOUNT = {"name": "logs", "mountPath": "/logs"}
AGENT = {
    "name": "agent",
    "image": "agent:1",
    "securityContext": {"privileged": True},
    "volumeMounts": [MOUNT],
}
ALLOWED = record("pod_policy", {"privileged": True, "host_path": ["/var/log"]}, PLATFORM)


def admit(pod: dict[str, Any], *records: RecordChanged, **base: Any) -> None:
    """Admit an execution whose task has the pod, over a template with what ``base`` holds."""
    configured = template(**base).model_copy(update={"function_image": IMAGE})
    wanted = request(node("n0", compiled=overrides(pod_template={"pod_spec": pod})))
    resolve(wanted, settings(*records), PODS, Site(pods=configured))


def own(**fields: Any) -> dict[str, Any]:
    return {"name": "primary", "image": "i", **fields}


@pytest.mark.parametrize("source", ["settings", "launch plan", "execution"])
def test_every_source_of_annotations_selects_a_template_whose_rights_are_judged(
    source: str,
) -> None:
    given: dict[str, Any] = {"annotations": {POD_TEMPLATE: "host"}}
    records = [record("workflow_execution_config", given)] if source == "settings" else []
    wanted = request(
        plan=given if source == "launch plan" else None,
        **(given if source == "execution" else {}),
    )
    templates = {"host": {"pod_spec": {"hostNetwork": True}}}
    site = Site(pods=defaults(pod_templates=templates, function_image=IMAGE))
    with pytest.raises(Refusal, match="hostNetwork: true needs"):
        resolve(wanted, settings(*records), PODS, site)
    allowed = record("pod_policy", {"host_network": True}, PLATFORM)
    resolve(wanted, settings(*records, allowed), PODS, site)


def test_containers_that_only_the_template_has_need_no_policy() -> None:
    admit({}, containers=[AGENT], volumes=[LOGS])


@pytest.mark.parametrize(
    ("pod", "path"),
    [
        ({"containers": [{"name": "agent", "image": "own"}]}, "volumes.0.hostPath"),
        ({"containers": [own(volumeMounts=[MOUNT])]}, "volumes.0.hostPath"),
        ({"initContainers": [own(name="i", volumeMounts=[MOUNT])]}, "volumes.0.hostPath"),
        ({"containers": [own(volumeDevices=[{"name": "logs"}])]}, "volumes.0.hostPath"),
        ({"shareProcessNamespace": True}, "volumes.0.hostPath"),
        ({"volumes": [{"name": "logs", "emptyDir": {}}]}, "containers.1.securityContext"),
    ],
)
def test_what_a_user_takes_from_the_template_needs_a_policy(pod: dict[str, Any], path: str) -> None:
    with pytest.raises(Refusal, match="over the template of propeller's configuration") as refused:
        admit(pod, containers=[AGENT], volumes=[LOGS])
    assert refused.value.path.startswith(f"pod.spec.{path}")
    assert refused.value.node == "n0"
    admit(pod, ALLOWED, containers=[AGENT], volumes=[LOGS])


def test_an_annotation_of_the_template_with_a_profile_is_judged_by_its_container() -> None:
    def with_profile(name: str) -> None:
        key = f"container.apparmor.security.beta.kubernetes.io/{name}"
        metadata = {"annotations": {key: "unconfined"}}
        admit({}, containers=[AGENT], volumes=[LOGS], metadata=metadata)

    with_profile("agent")
    with pytest.raises(Refusal, match="apparmor"):
        with_profile("primary")


def test_a_container_of_a_user_gets_no_rights_by_the_name_of_another_one() -> None:
    agent = {"name": "agent", "image": "agent:1", "securityContext": {"privileged": True}}
    pod = {"containers": [{"name": "agent", "image": "own"}]}
    with pytest.raises(Refusal) as refused:
        admit(pod, containers=[agent])
    assert refused.value.path == "pod.spec.containers.0.securityContext.privileged"


@pytest.mark.parametrize(
    "base",
    [
        {"containers": [{"name": "default", "securityContext": {"privileged": True}}]},
        {"containers": [{"name": "primary", "volumeMounts": [MOUNT]}], "volumes": [LOGS]},
        {"hostPID": True},
    ],
)
def test_what_the_template_puts_into_the_containers_of_users_needs_a_policy(
    base: dict[str, Any],
) -> None:
    with pytest.raises(Refusal, match="pod_policy"):
        admit({}, **base)
    admit({}, ALLOWED, **base)


def test_the_service_account_of_the_template_needs_a_policy_that_allows_it() -> None:
    policy = record("pod_policy", {"service_accounts": ["trainer"]})
    admit({}, policy, serviceAccountName="trainer")
    with pytest.raises(Refusal, match="one of trainer"):
        admit({}, policy, serviceAccountName="admin")
    admit({"serviceAccountName": "trainer"}, policy, serviceAccountName="admin")


def test_two_containers_of_different_lists_cannot_have_one_name() -> None:
    pod = {"initContainers": [{"name": "agent", "image": "own"}]}
    with pytest.raises(PodRejected, match="agent") as error:
        spec(attempt(pod=pod), template(containers=[AGENT]))
    assert error.value.path == "pod_template.pod_spec.initContainers"


def test_containers_that_only_the_template_has_get_no_variables_of_users() -> None:
    wanted = attempt(environment={"BASH_ENV": "$(id)", "TRIMTAB_NODE": "n0"})
    agent = container(spec(wanted, template(containers=[AGENT])), "agent")
    names = {each["name"] for each in agent["env"]}
    assert {"TRIMTAB_NODE", "FLYTE_INTERNAL_EXECUTION_ID"} <= names
    assert "BASH_ENV" not in names


@pytest.mark.parametrize(
    ("field", "key"),
    [
        ("annotations", "trimtab.io/child-queue"),
        ("annotations", "a.trimtab.io/x"),
        ("labels", "trimtab.io/x"),
    ],
)
def test_a_pod_of_a_user_has_no_reserved_keys(field: str, key: str) -> None:
    wanted = attempt(pod={}, pod_metadata={field: {key: "x"}})
    with pytest.raises(PodRejected, match="only Trimtab sets") as error:
        build_pod(wanted, template())
    assert error.value.path == f"pod_template.{field}.{key}"


@pytest.mark.parametrize("source", ["execution", "pod"])
def test_no_annotation_of_a_user_is_the_role_of_the_pod(source: str) -> None:
    given = {"annotations": {"iam.amazonaws.com/role": "admin"}}
    wanted = attempt(pod={}, pod_metadata=given) if source == "pod" else attempt(**given)
    with pytest.raises(PodRejected, match=r"security_context\.run_as\.iam_role") as error:
        build_pod(wanted, template())
    assert error.value.path.endswith("annotations.iam.amazonaws.com/role")


def test_the_configuration_may_set_the_role_of_pods() -> None:
    role = {"iam.amazonaws.com/role": "base"}
    pod = build_pod(attempt(), template(metadata={"annotations": role}))
    assert pod["metadata"]["annotations"].items() >= role.items()
