"""Service accounts, secrets, roles, tokens, the pulling of images, and shared memory of pods."""

import json
from typing import Any

import pytest

from tests.unit.propeller.pod_attempts import attempt, container, defaults, spec, template
from trimtab_propeller.pods import build_pod
from trimtab_propeller.pods.fields import PodRejected


@pytest.mark.parametrize(
    ("own", "settings", "base", "account"),
    [
        ({"serviceAccountName": "pod"}, "settings", "base", "pod"),
        ({"serviceAccount": "pod"}, "settings", "base", "pod"),
        ({}, "settings", "base", "settings"),
        ({}, None, "base", "base"),
        ({}, None, None, None),
    ],
)
def test_the_service_account_is_that_of_the_pod_then_the_settings_then_the_template(
    own: dict[str, str], settings: str | None, base: str | None, account: str | None
) -> None:
    configured = template(**({"serviceAccountName": base} if base else {}))
    pod = spec(attempt(pod=own, service_account=settings), configured)
    assert pod.get("serviceAccountName") == account
    assert "serviceAccount" not in pod


def secrets(*given: dict[str, str], **fields: Any) -> Any:
    return spec(attempt(secrets=given, **fields))


def variables(pod: Any) -> dict[str, Any]:
    return {each["name"]: each for each in container(pod)["env"]}


@pytest.mark.parametrize(
    "requirement", [{}, {"mount_requirement": "ANY"}, {"mount_requirement": "ENV_VAR"}]
)
def test_a_secret_with_a_key_is_a_variable(requirement: dict[str, str]) -> None:
    pod = secrets({"group": "database", "key": "password", **requirement})
    source = {"secretKeyRef": {"name": "database", "key": "password"}}
    name = "_FSEC_DATABASE_PASSWORD"
    assert variables(pod)[name] == {"name": name, "valueFrom": source}
    assert "volumes" not in pod


def test_a_secret_is_also_the_variable_that_it_names() -> None:
    file = {"mount_requirement": "FILE"}
    found = variables(
        secrets(
            {"group": "a", "key": "k", "env_var": "VALUE"},
            {"group": "a", "key": "k", "env_var": "FILE", **file},
            {"group": "b", "env_var": "DIRECTORY", **file},
        )
    )
    source = {"secretKeyRef": {"name": "a", "key": "k"}}
    for name in ("_FSEC_A_K", "VALUE"):
        assert found[name] == {"name": name, "valueFrom": source}
    assert found["FILE"] == {"name": "FILE", "value": "/etc/trimtab/secrets/a/k"}
    assert found["DIRECTORY"] == {"name": "DIRECTORY", "value": "/etc/trimtab/secrets/b"}


def test_a_secret_that_has_to_be_a_file_is_mounted() -> None:
    file = {"mount_requirement": "FILE"}
    pod = secrets(
        {"group": "b", "key": "y", **file},
        {"group": "a", "key": "x", **file},
        {"group": "b", "key": "x", **file},
    )
    items = [{"key": "x", "path": "x"}, {"key": "y", "path": "y"}]
    assert pod["volumes"] == [
        {"name": "trimtab-secret-0", "secret": {"secretName": "a", "items": items[:1]}},
        {"name": "trimtab-secret-1", "secret": {"secretName": "b", "items": items}},
    ]
    mounts = container(pod)["volumeMounts"]
    assert [each["mountPath"] for each in mounts] == [
        "/etc/trimtab/secrets/a",
        "/etc/trimtab/secrets/b",
    ]
    assert all(each["readOnly"] for each in mounts)


def test_a_secret_without_a_key_is_files_of_all_its_keys() -> None:
    pod = secrets({"group": "a"}, {"group": "a", "key": "x", "mount_requirement": "FILE"})
    assert pod["volumes"] == [{"name": "trimtab-secret-0", "secret": {"secretName": "a"}}]


def test_only_the_primary_container_has_secrets() -> None:
    sidecar = {"name": "log", "image": "l"}
    given = ({"group": "a", "key": "k"}, {"group": "b"})
    pod = secrets(*given, pod={"containers": [sidecar]})
    log = container(pod, "log")
    assert "volumeMounts" not in log
    assert not [each for each in log["env"] if each["name"].startswith("_FSEC_")]


def test_a_secret_replaces_a_variable_of_its_name() -> None:
    pod = secrets({"group": "a", "key": "k"}, environment={"_FSEC_A_K": "forged"})
    assert [each for each in container(pod)["env"] if each["name"] == "_FSEC_A_K"] == [
        {"name": "_FSEC_A_K", "valueFrom": {"secretKeyRef": {"name": "a", "key": "k"}}}
    ]


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        ([{"group": "A"}], "security_context.secrets.0.group", "cannot be the name of a Secret"),
        ([{"group": "a/b"}], "security_context.secrets.0.group", "cannot be the name"),
        ([{"group": "a", "key": "../x"}], "security_context.secrets.0.key", "cannot be a key"),
        ([{"group": "a", "key": ".."}], "security_context.secrets.0.key", "cannot be a key"),
        (
            [{"group": "a", "mount_requirement": "ENV_VAR"}],
            "security_context.secrets.0.key",
            "no key",
        ),
        (
            [{"group": "a", "key": "b", "group_version": "1"}],
            "security_context.secrets.0.group_version",
            "version",
        ),
        (
            [{"group": "a", "key": "b"}, {"group": "a", "key": "B"}],
            "security_context.secrets.1",
            "two different secrets would be the variable _FSEC_A_B",
        ),
        (
            [{"group": "a", "key": "b", "env_var": "X"}, {"group": "a", "env_var": "X"}],
            "security_context.secrets.1",
            "two different secrets would be the variable X",
        ),
    ],
)
def test_a_secret_that_no_pod_can_have_is_rejected(given: Any, path: str, message: str) -> None:
    with pytest.raises(PodRejected, match=message) as error:
        secrets(*given)
    assert error.value.path == path


@pytest.mark.parametrize("at", ["/etc/trimtab/secrets", "/etc/trimtab/secrets/a"])
def test_a_mount_of_the_pod_where_the_secrets_are_is_rejected(at: str) -> None:
    mount = {"name": "v", "mountPath": at}
    own = {"containers": [{"name": "primary", "volumeMounts": [mount]}]}
    with pytest.raises(PodRejected, match="where the secrets are"):
        secrets({"group": "a"}, pod=own)


def test_role_identity_client_and_tokens_are_annotations_without_values() -> None:
    client = {"client_id": "c", "client_secret": {"group": "oauth", "key": "secret"}}
    token = {"name": "API_TOKEN", "client": client, "token_endpoint": "https://id.example.com/t"}
    wanted = attempt(
        iam_role="arn:aws:iam::1:role/train",
        execution_identity="ada",
        oauth2_client=client,
        tokens=[token],
        annotations={"iam.amazonaws.com/role": "another"},
    )
    annotations = build_pod(wanted, defaults())["metadata"]["annotations"]
    assert annotations["iam.amazonaws.com/role"] == "arn:aws:iam::1:role/train"
    assert annotations["trimtab.io/execution-identity"] == "ada"
    assert json.loads(annotations["trimtab.io/oauth2-client"]) == client
    assert json.loads(annotations["trimtab.io/oauth2-tokens"]) == [token]


@pytest.mark.parametrize("name", ["execution-identity", "oauth2-client", "oauth2-tokens"])
def test_no_other_source_sets_identity_or_tokens(name: str) -> None:
    forged = {f"trimtab.io/{name}": "forged"}
    wanted = attempt(annotations=forged)  # Earlier releases admitted it.
    assert forged.keys().isdisjoint(build_pod(wanted, defaults())["metadata"]["annotations"])


def test_the_annotation_of_the_role_is_configured() -> None:
    configured = defaults(iam_role_annotation="example.com/role")
    annotations = build_pod(attempt(iam_role="r"), configured)["metadata"]["annotations"]
    assert annotations["example.com/role"] == "r"
    assert "iam.amazonaws.com/role" not in annotations


def test_pull_secrets_are_added_once_and_the_policy_where_there_is_none() -> None:
    configured = defaults(image_pull_secrets=["a", "b"], image_pull_policy="Always")
    own = {
        "imagePullSecrets": [{"name": "b"}],
        "initContainers": [{"name": "i", "image": "x", "imagePullPolicy": "Never"}],
    }
    pod = spec(attempt(pod=own), configured)
    assert pod["imagePullSecrets"] == [{"name": "b"}, {"name": "a"}]
    policies = [container(pod, name)["imagePullPolicy"] for name in ("i", "primary")]
    assert policies == ["Never", "Always"]


LIMITED = {"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}}


@pytest.mark.parametrize(
    ("size", "resources", "volume"),
    [
        (True, LIMITED, {"medium": "Memory", "sizeLimit": "2Gi"}),
        (True, {}, {"medium": "Memory"}),
        ("64Mi", LIMITED, {"medium": "Memory", "sizeLimit": "64Mi"}),
    ],
)
def test_shared_memory_is_a_volume_of_memory_in_the_primary_container(
    size: bool | str, resources: dict[str, Any], volume: dict[str, str]
) -> None:
    own = {"containers": [{"name": "log", "image": "l"}]}
    pod = spec(attempt(shared_memory=size, resources=resources, pod=own))
    assert pod["volumes"] == [{"name": "trimtab-shared-memory", "emptyDir": volume}]
    mount = {"name": "trimtab-shared-memory", "mountPath": "/dev/shm"}
    assert container(pod)["volumeMounts"] == [mount]
    assert "volumeMounts" not in container(pod, "log")


@pytest.mark.parametrize("size", [False, "0"])
def test_no_shared_memory_is_no_volume(size: bool | str) -> None:
    assert "volumes" not in spec(attempt(shared_memory=size))


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"volumes": [{"name": "trimtab-shared-memory"}]}, "has a volume trimtab-shared-memory"),
        (
            {"containers": [{"name": "primary", "volumeMounts": [{"mountPath": "/dev/shm/"}]}]},
            "has a mount at /dev/shm",
        ),
    ],
)
def test_a_volume_or_mount_of_the_pod_in_its_place_is_rejected(own: Any, message: str) -> None:
    with pytest.raises(PodRejected, match=message) as error:
        spec(attempt(shared_memory=True, pod=own))
    assert error.value.path == "shared_memory"
