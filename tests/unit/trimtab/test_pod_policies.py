"""Pods that need more than their policy allows are refused, with the field that has to change."""

from typing import Any

import pytest

from trimtab import kinds
from trimtab.levels import PLATFORM, Scope
from trimtab.resolution import pod_access, pod_policies
from trimtab.resolution.limits import Refusal
from trimtab.settings.fold import Effective, Record, fold

TARGET = Scope("development", "shop", "nightly")
PROJECT = Scope(project="shop")
KIND = kinds.by_name("pod_policy")
Document = dict[str, Any]

EVERYTHING = {"privileged": True, "host_network": True, "host_path": ["/"]}


def policy(*records: tuple[Scope, Document]) -> Effective:
    stored = [Record.of(KIND, at, revision, value) for revision, (at, value) in enumerate(records)]
    return fold(KIND, TARGET, stored)


NONE = policy()
ALL = policy((PLATFORM, EVERYTHING))


def check(template: Document, *policies: Effective) -> None:
    pod_policies.check(pod_access.of_template("pod_template", template), policies)


def refusal(template: Document, *policies: Effective) -> Refusal:
    with pytest.raises(Refusal) as refused:
        check(template, *policies)
    return refused.value


def spec(**fields: Any) -> Document:
    return {"pod_spec": fields}


def container(**fields: Any) -> Document:
    return spec(containers=[{"name": "primary", **fields}])


def security(**fields: Any) -> Document:
    return container(securityContext=fields)


def pod_security(**fields: Any) -> Document:
    return spec(securityContext=fields)


def volume(**fields: Any) -> Document:
    return spec(volumes=[{"name": "v", **fields}])


C = "containers.0"
S = f"{C}.securityContext"
PRIVILEGED: list[tuple[str, Document]] = [
    (f"{S}.privileged", security(privileged=True)),
    (
        "initContainers.0.securityContext.privileged",
        spec(initContainers=[{"name": "i", "securityContext": {"privileged": True}}]),
    ),
    (
        "ephemeralContainers.0.securityContext.privileged",
        spec(ephemeralContainers=[{"name": "e", "securityContext": {"privileged": True}}]),
    ),
    (
        "containers.1.securityContext.privileged",
        spec(containers=[{"name": "a"}, {"name": "b", "securityContext": {"privileged": True}}]),
    ),
    ("hostPID", spec(hostPID=True)),
    ("hostIPC", spec(hostIPC=True)),
    ("nodeName", spec(nodeName="control-plane")),
    (f"{S}.capabilities.add.0", security(capabilities={"add": ["SYS_ADMIN"]})),
    (f"{S}.capabilities.add.0", security(capabilities={"add": ["ALL"]})),
    (f"{S}.capabilities.add.1", security(capabilities={"add": ["CHOWN", "NET_ADMIN"]})),
    (f"{S}.capabilities.add.0", security(capabilities={"add": ["sys_admin"]})),
    (f"{S}.capabilities.add.0", security(capabilities={"add": ["CAP_SYS_ADMIN"]})),
    (f"{S}.capabilities.add.0", security(capabilities={"add": ["NET_RAW"]})),
    (f"{S}.procMount", security(procMount="Unmasked")),
    (f"{S}.seccompProfile.type", security(seccompProfile={"type": "Unconfined"})),
    ("securityContext.seccompProfile.type", pod_security(seccompProfile={"type": "Unconfined"})),
    (f"{S}.appArmorProfile.type", security(appArmorProfile={"type": "Unconfined"})),
    ("securityContext.appArmorProfile.type", pod_security(appArmorProfile={"type": "Unconfined"})),
    (f"{S}.seLinuxOptions.type", security(seLinuxOptions={"type": "spc_t"})),
    (f"{S}.seLinuxOptions.user", security(seLinuxOptions={"user": "system_u"})),
    ("securityContext.seLinuxOptions.role", pod_security(seLinuxOptions={"role": "sysadm_r"})),
    (f"{S}.windowsOptions.hostProcess", security(windowsOptions={"hostProcess": True})),
    (
        "securityContext.windowsOptions.hostProcess",
        pod_security(windowsOptions={"hostProcess": True}),
    ),
    (
        "securityContext.sysctls.0.name",
        pod_security(sysctls=[{"name": "kernel.msgmax", "value": "1"}]),
    ),
    ("volumes.0.flexVolume", volume(flexVolume={"driver": "vendor/any"})),
    ("volumes.0.gitRepo", volume(gitRepo={"repository": "-u./hook"})),
    # A field that a later release of Kubernetes adds, and spellings that are no fields of it.
    ("hostEverything", spec(hostEverything=True)),
    ("HostPID", spec(HostPID=True)),
    ("host_network", spec(host_network=True)),
    (f"{C}.security_context", container(security_context={"privileged": True})),
    (f"{S}.Privileged", security(Privileged=True)),
    ("volumes.0.hostpath", volume(hostpath={"path": "/"})),
    (f"{C}.lifecycle.postStart.hostExec", container(lifecycle={"postStart": {"hostExec": {}}})),
    ("securityContext.privileged", pod_security(privileged=True)),
]
HOST_NETWORK: list[tuple[str, Document]] = [
    ("hostNetwork", spec(hostNetwork=True)),
    (f"{C}.ports.0.hostPort", container(ports=[{"containerPort": 80, "hostPort": 80}])),
    (f"{C}.ports.1.hostPort", container(ports=[{"containerPort": 80}, {"hostPort": 1}])),
    (
        "initContainers.0.ports.0.hostPort",
        spec(initContainers=[{"name": "i", "ports": [{"hostPort": 9}]}]),
    ),
    (
        f"{C}.livenessProbe.httpGet.host",
        container(livenessProbe={"httpGet": {"host": "169.254.169.254", "port": 80}}),
    ),
    (
        f"{C}.readinessProbe.tcpSocket.host",
        container(readinessProbe={"tcpSocket": {"host": "127.0.0.1", "port": 10250}}),
    ),
    (
        f"{C}.startupProbe.httpGet.host",
        container(startupProbe={"httpGet": {"host": "localhost", "port": 1}}),
    ),
    (
        f"{C}.lifecycle.preStop.httpGet.host",
        container(lifecycle={"preStop": {"httpGet": {"host": "10.0.0.1", "port": 1}}}),
    ),
    (
        f"{C}.lifecycle.postStart.tcpSocket.host",
        container(lifecycle={"postStart": {"tcpSocket": {"host": "10.0.0.1"}}}),
    ),
]
HOST_PATH: list[tuple[str, Document]] = [
    ("volumes.0.hostPath.path", volume(hostPath={"path": "/"})),
    ("volumes.0.hostPath.path", volume(hostPath={"path": "/var/run/docker.sock"})),
    ("volumes.0.hostPath.path", volume(hostPath={"path": "/mnt", "type": "Directory"})),
    ("volumes.0.hostPath.path", volume(hostPath={"path": "/mnt/database"})),
    ("volumes.0.hostPath.path", volume(hostPath={"path": "/mnt/Data"})),
    ("volumes.0.hostPath.path", volume(hostPath={"path": "//etc"})),
    ("volumes.0.hostPath.path", volume(hostPath={"path": "/./etc/"})),
    # Two sources of one volume: Kubernetes refuses it, and so does the policy.
    ("volumes.0.hostPath.path", volume(emptyDir={}, hostPath={"path": "/etc"})),
    (
        "volumes.1.hostPath.path",
        spec(volumes=[{"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {"path": "/etc"}}]),
    ),
]
UNREADABLE: list[tuple[str, Document]] = [
    ("", {"pod_spec": [{"hostNetwork": True}]}),
    ("", {"pod_spec": "hostNetwork: true"}),
    ("hostNetwork", spec(hostNetwork="true")),
    ("hostNetwork", spec(hostNetwork=1)),
    ("hostPID", spec(hostPID="false")),
    ("hostIPC", spec(hostIPC=["true"])),
    ("nodeName", spec(nodeName=7)),
    ("containers", spec(containers={"name": "a", "securityContext": {"privileged": True}})),
    ("containers.0", spec(containers=[[{"securityContext": {"privileged": True}}]])),
    ("containers.0", spec(containers=[None])),
    (S, container(securityContext=[{"privileged": True}])),
    (f"{S}.privileged", security(privileged="true")),
    (f"{S}.privileged", security(privileged=1)),
    (f"{S}.capabilities", security(capabilities=["SYS_ADMIN"])),
    (f"{S}.capabilities.add", security(capabilities={"add": "SYS_ADMIN"})),
    (f"{S}.capabilities.add", security(capabilities={"add": {"0": "SYS_ADMIN"}})),
    (f"{S}.capabilities.add.0", security(capabilities={"add": [["SYS_ADMIN"]]})),
    (f"{S}.procMount", security(procMount=True)),
    ("securityContext.sysctls", pod_security(sysctls={"kernel.msgmax": "1"})),
    ("securityContext.sysctls.0.name", pod_security(sysctls=[{"name": 1}])),
    (f"{C}.ports", container(ports={"hostPort": 80})),
    (f"{C}.ports.0.hostPort", container(ports=[{"hostPort": "80"}])),
    (f"{C}.ports.0.hostPort", container(ports=[{"hostPort": True}])),
    (f"{C}.ports.0.hostPort", container(ports=[{"hostPort": 80.0}])),
    (f"{C}.livenessProbe.httpGet", container(livenessProbe={"httpGet": "http://10.0.0.1"})),
    ("volumes", spec(volumes={"v": {"hostPath": {"path": "/"}}})),
    ("volumes.0", spec(volumes=["/"])),
    ("volumes.0.hostPath", volume(hostPath="/")),
    ("volumes.0.hostPath", volume(hostPath=[{"path": "/"}])),
    ("volumes.0.hostPath.path", volume(hostPath={})),
    ("volumes.0.hostPath.path", volume(hostPath={"path": None})),
    ("volumes.0.hostPath.path", volume(hostPath={"path": ""})),
    ("volumes.0.hostPath.path", volume(hostPath={"path": ["/"]})),
    ("volumes.0.hostPath.path", volume(hostPath={"path": "etc"})),
    ("volumes.0.hostPath.path", volume(hostPath={"path": "/mnt/data/../../etc"})),
    ("volumes.0.hostPath.path", volume(hostPath={"path": "/mnt/data/.."})),
    ("volumes.0.hostPath.path", volume(hostPath={"path": "C:\\"})),
    ("serviceAccountName", spec(serviceAccountName=["admin"])),
    ("serviceAccount", spec(serviceAccount={"name": "admin"})),
]


def cases(table: list[tuple[str, Document]]) -> pytest.MarkDecorator:
    ids = [f"{number}-{path}" for number, (path, _) in enumerate(table)]
    return pytest.mark.parametrize(("path", "template"), table, ids=ids)


@cases(PRIVILEGED)
def test_privileges_need_a_policy_that_allows_them(path: str, template: Document) -> None:
    refused = refusal(template, policy((PLATFORM, {**EVERYTHING, "privileged": False})))
    assert refused.path == f"pod_template.pod_spec.{path}"
    assert (refused.scope, "pod_policy.privileged" in str(refused)) == ("platform", True)
    check(template, policy((PLATFORM, {"privileged": True})))


@cases(HOST_NETWORK)
def test_the_network_of_the_node_needs_a_policy_that_allows_it(
    path: str, template: Document
) -> None:
    refused = refusal(template, policy((PLATFORM, {**EVERYTHING, "host_network": False})))
    assert refused.path == f"pod_template.pod_spec.{path}"
    assert (refused.scope, "pod_policy.host_network" in str(refused)) == ("platform", True)
    check(template, policy((PLATFORM, {"host_network": True})))


@cases(HOST_PATH)
def test_a_path_of_the_node_needs_a_policy_with_a_prefix_of_it(
    path: str, template: Document
) -> None:
    for prefixes in ([], ["/mnt/data"], ["/mnt/data", "/var/run/docker"]):
        refused = refusal(template, policy((PLATFORM, {**EVERYTHING, "host_path": prefixes})))
        assert refused.path == f"pod_template.pod_spec.{path}"
        assert (refused.scope, "pod_policy.host_path" in str(refused)) == ("platform", True)
    check(template, policy((PLATFORM, {"host_path": ["/"]})))


@cases([*PRIVILEGED, *HOST_NETWORK, *HOST_PATH])
def test_without_a_record_all_of_it_is_denied(path: str, template: Document) -> None:
    refused = refusal(template, NONE)
    assert (refused.path, refused.scope) == (f"pod_template.pod_spec.{path}", "")
    assert "only the settings file or the platform can allow" in str(refused)


@cases([*PRIVILEGED, *HOST_NETWORK, *HOST_PATH])
def test_a_record_of_a_project_alone_allows_none_of_it(path: str, template: Document) -> None:
    refusal(template, policy((PROJECT, EVERYTHING)))


@cases(UNREADABLE)
def test_a_part_that_cannot_be_read_is_refused_whatever_the_policy(
    path: str, template: Document
) -> None:
    refused = refusal(template, ALL)
    assert refused.path == f"pod_template.pod_spec.{path}".rstrip(".")
    assert "cannot be read" in str(refused)


@pytest.mark.parametrize("path", ["/mnt/data", "/mnt/data/", "/mnt/./data", "//mnt//data/a b"])
def test_a_path_below_an_allowed_prefix_is_allowed(path: str) -> None:
    check(volume(hostPath={"path": path}), policy((PLATFORM, {"host_path": ["/mnt/data"]})))


@pytest.mark.parametrize("field", ["serviceAccountName", "serviceAccount"])
def test_a_service_account_has_to_be_in_the_list_where_there_is_one(field: str) -> None:
    template = spec(**{field: "admin"})
    check(template, NONE)
    check(template, policy((PLATFORM, {"service_accounts": ["trainer", "admin"]})))
    refused = refusal(template, policy((PROJECT, {"service_accounts": ["trainer"]})))
    assert (refused.path, refused.limit) == (f"pod_template.pod_spec.{field}", "one of trainer")
    assert refused.scope == "project shop"
    refused = refusal(template, policy((PROJECT, {"service_accounts": []})))
    assert refused.limit == "none"


def test_both_names_of_a_service_account_are_read() -> None:
    template = spec(serviceAccountName="trainer", serviceAccount="admin")
    refused = refusal(template, policy((PROJECT, {"service_accounts": ["trainer"]})))
    assert refused.path == "pod_template.pod_spec.serviceAccount"


@pytest.mark.parametrize(
    "key",
    [
        "container.apparmor.security.beta.kubernetes.io/primary",
        "container.seccomp.security.alpha.kubernetes.io/primary",
        "seccomp.security.alpha.kubernetes.io/pod",
    ],
)
def test_annotations_that_replace_profiles_are_read(key: str) -> None:
    for value in ("runtime/default", "localhost/own"):
        check({"annotations": {key: value}}, NONE)
    refused = refusal({"annotations": {key: "unconfined"}}, NONE)
    assert refused.path == f"pod_template.annotations.{key}"
    check({"annotations": {key: "unconfined"}}, ALL)


def test_what_the_baseline_of_kubernetes_allows_needs_no_policy() -> None:
    template = spec(
        hostUsers=False,
        hostNetwork=False,
        hostPID=None,
        shareProcessNamespace=True,
        automountServiceAccountToken=True,
        nodeName="",
        runtimeClassName="gvisor",
        nodeSelector={"zone": "a"},
        tolerations=[{"operator": "Exists"}],
        securityContext={
            "runAsUser": 0,
            "seccompProfile": {"type": "RuntimeDefault"},
            "sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}],
        },
        volumes=[
            {"name": "a", "emptyDir": {"medium": "Memory"}},
            {"name": "b", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
            {"name": "c", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "d", "hostPath": None, "secret": {"secretName": "s"}},
        ],
        initContainers=[{"name": "i", "restartPolicy": "Always"}],
        containers=[
            {
                "name": "primary",
                "securityContext": {
                    "privileged": False,
                    "allowPrivilegeEscalation": True,
                    "procMount": "Default",
                    "capabilities": {"add": ["CHOWN", "KILL"], "drop": ["ALL"]},
                    "seLinuxOptions": {"type": "container_t", "user": "", "level": "s0:c1"},
                    "appArmorProfile": {"type": "Localhost", "localhostProfile": "own"},
                    "windowsOptions": {"hostProcess": False},
                },
                "ports": [{"containerPort": 80, "hostPort": 0}],
                "livenessProbe": {"httpGet": {"path": "/", "port": 80, "host": ""}},
                "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
                "volumeMounts": [{"name": "a", "mountPath": "/a", "readOnly": True}],
            }
        ],
    )
    check(template, NONE)


def test_every_policy_has_to_allow_and_the_one_that_does_not_is_named() -> None:
    template = spec(hostNetwork=True)
    inner = policy((PLATFORM, EVERYTHING))
    outer = policy((PLATFORM, EVERYTHING), (PROJECT, {"host_network": False}))
    check(template, inner, inner)
    for both in ((inner, outer), (outer, inner)):
        assert refusal(template, *both).scope == "project shop"


def test_a_refusal_repeats_neither_a_long_value_nor_a_secret() -> None:
    refused = refusal(spec(x={"password": "hunter2", "y": "z" * 10**6}), NONE)
    assert "hunter2" not in str(refused) + repr(refused.value)
    assert len(str(refused)) + len(repr(refused.value)) < 2000
    refused = refusal(spec(**{"x" * 10**6: 1}), NONE)
    assert len(str(refused)) + len(refused.path) < 2000
