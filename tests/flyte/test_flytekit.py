"""flytekit's own client, unmodified, with the API token that `trimtab token print` prints."""

import json
import os
import subprocess
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.flyte.admins import TOKEN, Admin
from tests.flyte.environments import CLIENTS, environment
from tests.servers import PATIENCE_SECONDS
from trimtab.release import VERSION

Calls = Callable[..., list[Any]]

KINDS: Mapping[str, Any] = {
    "TASK_RESOURCE": {
        "taskResourceAttributes": {
            "defaults": {"cpu": "500m", "memory": "1Gi"},
            "limits": {"cpu": "2", "gpu": "1", "ephemeralStorage": "10Gi"},
        }
    },
    "CLUSTER_RESOURCE": {
        "clusterResourceAttributes": {"attributes": {"projectQuotaCpu": "8", "team": "shop"}}
    },
    "EXECUTION_QUEUE": {"executionQueueAttributes": {"tags": ["gpu", "critical"]}},
    "EXECUTION_CLUSTER_LABEL": {"executionClusterLabel": {"value": "east"}},
    "PLUGIN_OVERRIDE": {
        "pluginOverrides": {
            "overrides": [
                {
                    "taskType": "spark",
                    "pluginId": ["first", "second"],
                    "missingPluginBehavior": "USE_DEFAULT",
                }
            ]
        }
    },
    "WORKFLOW_EXECUTION_CONFIG": {
        "workflowExecutionConfig": {
            "maxParallelism": 5,
            "securityContext": {"runAs": {"k8sServiceAccount": "runner"}},
            "rawOutputDataConfig": {"outputLocationPrefix": "s3://shop/raw"},
            "labels": {"values": {"team": "shop"}},
            "annotations": {"values": {"note": "from flytekit"}},
            "interruptible": True,
            "envs": {"values": [{"key": "REGION", "value": "eu"}]},
        }
    },
    "CLUSTER_ASSIGNMENT": {"clusterAssignment": {"clusterPoolName": "big"}},
}
OWN = {"EXECUTION_QUEUE": 2, "EXECUTION_CLUSTER_LABEL": 3, "PLUGIN_OVERRIDE": 5}
"""The kinds that the client has models for, with their numbers, which it takes."""
SCOPES: Mapping[str, Mapping[str, str]] = {
    "Project": {"project": "shop"},
    "ProjectDomain": {"project": "shop", "domain": "development"},
    "Workflow": {"project": "shop", "domain": "development", "workflow": "flows.nightly"},
}


@pytest.fixture(scope="module", autouse=True)
def project(admin: Admin) -> None:
    with admin.client() as client:
        assert client.post("/api/v2/projects", json={"name": "shop"}).status_code == 201


@pytest.fixture
def calls(admin: Admin, tmp_path: Path) -> Calls:
    """A function that makes calls in one process of the client, and returns their results."""
    trimtab = Path(sysconfig.get_path("scripts")) / "trimtab"
    config = {
        "endpoint": admin.grpc,
        "insecure": True,
        "authType": "ExternalCommand",
        "command": [os.fspath(trimtab), "token", "print", "--server", admin.url],
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"admin": config}))

    def make(*calls: tuple[str, Mapping[str, Any]], token: str = TOKEN) -> list[Any]:
        done = subprocess.run(
            [environment("flytekit") / "python", CLIENTS / "flytekit_calls.py", "config.yaml"],
            cwd=tmp_path,
            env={**os.environ, "TRIMTAB_TOKEN": token, "DO_NOT_TRACK": "1", "HOME": str(tmp_path)},
            input=json.dumps(calls),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout))

    return make


def results(*values: Any) -> list[Any]:
    return [{"result": value} for value in values]


def test_projects_are_registered_updated_and_listed(calls: Calls) -> None:
    lab = {"id": "lab", "name": "Lab", "description": "for tries"}
    domains = [{"id": name, "name": name} for name in ("development", "staging", "production")]
    shop = {"id": "shop", "name": "shop", "domains": domains}
    archived = {**lab, "name": "Old lab", "state": "ARCHIVED"}
    ascending = {"limit": 1, "sortBy": {"key": "identifier", "direction": "ASCENDING"}}
    found = calls(
        ("register_project", {"project": lab}),
        ("register_project", {"project": lab}),
        ("update_project", {"project": {**lab, "name": "Old lab", "state": 1}}),
        ("GetProject", {"id": "lab"}),
        ("list_projects_paginated", {}),
        ("ListProjects", ascending),
        ("ListProjects", {**ascending, "token": "1"}),
        ("get_domains", {}),
    )
    assert found == [
        {"result": None},
        {
            "error": "FlyteEntityAlreadyExistsException",
            "code": "ALREADY_EXISTS",
            "details": found[1]["details"],
        },
        {"result": None},
        {"result": {**archived, "domains": domains}},
        # flytekit's model of a project has neither domains nor labels.
        {"result": [[{"id": "shop", "name": "shop"}], ""]},
        {"result": {"projects": [shop], "token": "1"}},
        {"result": {}},
        {"result": domains},
    ]


def test_the_version_is_that_of_the_release(calls: Calls) -> None:
    assert calls(("get_control_plane_version", {})) == results(VERSION)


@pytest.mark.parametrize("level", SCOPES)
def test_each_kind_is_updated_read_listed_and_deleted_at_each_level(
    calls: Calls, level: str
) -> None:
    made: list[tuple[str, Mapping[str, Any]]] = []
    expected: list[Any] = []
    for kind, target in KINDS.items():
        if (level, kind) == ("Workflow", "CLUSTER_RESOURCE"):
            continue  # refused: a namespace belongs to a project and a domain
        row = {**SCOPES[level], "matchingAttributes": target}
        one = {**SCOPES[level], "resourceType": kind}
        made += [
            (f"Update{level}Attributes", {"attributes": row}),
            (f"Get{level}Attributes", one),
            ("ListMatchableAttributes", {"resourceType": kind}),
            (f"Delete{level}Attributes", one),
            ("ListMatchableAttributes", {"resourceType": kind}),
        ]
        listed = {"attributes": target, **SCOPES[level]}
        expected += [{}, {"attributes": row}, {"configurations": [listed]}, {}, {}]
    assert calls(*made) == results(*expected)


def test_the_methods_of_the_client_write_and_read_what_it_has_models_for(calls: Calls) -> None:
    domain, workflow = SCOPES["ProjectDomain"], SCOPES["Workflow"]
    made: list[tuple[str, Mapping[str, Any]]] = []
    expected: list[Any] = []
    for kind, number in OWN.items():
        target = KINDS[kind]
        made += [
            ("update_project_domain_attributes", {**domain, "matching_attributes": target}),
            ("get_project_domain_attributes", {**domain, "resource_type": number}),
            ("update_workflow_attributes", {**workflow, "matching_attributes": target}),
            ("get_workflow_attributes", {**workflow, "resource_type": number}),
            ("list_matchable_attributes", {"resource_type": number}),
            ("DeleteWorkflowAttributes", {**workflow, "resourceType": kind}),
            ("DeleteProjectDomainAttributes", {**domain, "resourceType": kind}),
        ]
        expected += [
            None,
            {"attributes": {**domain, "matchingAttributes": target}},
            None,
            {"attributes": {**workflow, "matchingAttributes": target}},
            {"configurations": [{"attributes": target, **scope} for scope in (workflow, domain)]},
            {},
            {},
        ]
    assert calls(*made) == results(*expected)


def test_a_missing_row_and_an_unknown_project_are_errors_of_the_client(calls: Calls) -> None:
    missing, unknown = calls(
        ("get_project_domain_attributes", {**SCOPES["ProjectDomain"], "resource_type": 1}),
        (
            "get_project_domain_attributes",
            {"project": "mall", "domain": "development", "resource_type": 1},
        ),
    )
    assert (missing["error"], missing["code"]) == ("FlyteEntityNotExistException", "NOT_FOUND")
    assert (unknown["error"], unknown["code"]) == ("FlyteInvalidInputException", "INVALID_ARGUMENT")
    assert "mall" in unknown["details"]


def test_another_token_is_refused(calls: Calls) -> None:
    [refused] = calls(("list_projects_paginated", {}), token="other")
    assert (refused["error"], refused["code"]) == (
        "FlyteAuthenticationException",
        "UNAUTHENTICATED",
    )


def test_the_native_api_has_the_record_and_its_history(calls: Calls, admin: Admin) -> None:
    domain = SCOPES["ProjectDomain"]
    row = {**domain, "matchingAttributes": KINDS["EXECUTION_CLUSTER_LABEL"]}
    calls(("UpdateProjectDomainAttributes", {"attributes": row}))
    with admin.client() as client:
        path = "/api/v2/records/execution_cluster_label"
        record = client.get(path, params=domain).json()
        [change, *_] = client.get("/api/v2/history", params=domain).json()
    assert record["document"] == change["after"] == {"value": "east"}
    assert (change["revision"], change["actor"]) == (record["version"], "root")
    assert change["reason"] == ""
