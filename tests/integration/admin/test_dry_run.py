"""Dry runs: they return what a write would change, and change nothing."""

from typing import Any

import httpx
import pytest

from tests.databases import BOTH
from tests.integration.admin.running import (
    FORCE,
    SCOPE,
    register,
    registration,
    until_connected,
    workflow,
)

RECORD = "/records/task_resource"
DRY = {"dry_run": "true"}


async def put(admin: httpx.AsyncClient, kind: str, document: Any, **params: str) -> httpx.Response:
    answer = await admin.put(f"/records/{kind}", params=params | FORCE, json=document)
    assert answer.status_code == 200, answer.text
    return answer


async def revision(admin: httpx.AsyncClient) -> int:
    number: int = (await admin.get("/status")).json()["revision"]
    return number


async def dry_run(admin: httpx.AsyncClient, document: Any, **params: str) -> Any:
    answer = await admin.put(RECORD, params=params | DRY, json=document)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_each_kind_of_write_returns_its_changes_and_changes_nothing(
    admin: httpx.AsyncClient,
) -> None:
    version = (await put(admin, "task_resource", {"limits": {"cpu": "2"}}, **SCOPE)).json()
    before, params = await revision(admin), SCOPE | DRY
    put_, patched, deleted = (
        await admin.put(RECORD, params=params, json={"limits": {"gpu": "1"}}),
        await admin.patch(RECORD, params=params, json={"limits": {"cpu": None}}),
        await admin.delete(RECORD, params=params),
    )
    cpu = {"path": "limits.cpu", "before": "2", "after": None}
    gpu = {"path": "limits.gpu", "before": None, "after": "1"}
    for answer, changes, action in (
        (put_, [cpu, gpu], "update"),
        (patched, [cpu], "update"),
        (deleted, [cpu], "delete"),
    ):
        [change] = answer.json()["changes"]
        assert (answer.status_code, answer.json()["dry_run"]) == (200, True)
        assert (change["changes"], change["action"]) == (changes, action)
        assert (change["version"], change["revision"]) == (version["version"], None)
    assert await revision(admin) == before
    assert (await admin.get(RECORD, params=SCOPE)).json() == version


async def test_it_lists_the_targets_whose_effective_values_change_with_both_values(
    admin: httpx.AsyncClient,
) -> None:
    await admin.post("/projects", json={"name": "lab"})
    await register(admin, workflow())
    await put(admin, "task_resource", {"limits": {"cpu": "4"}})
    await put(admin, "task_resource", {"limits": {"cpu": "1"}}, project="lab")
    radius = (await dry_run(admin, {"limits": {"cpu": "8"}}))["radius"]
    # Three domains; the record of the project lab overrides the platform.
    numbers = [radius[name] for name in ("domains", "projects", "project_domains", "workflows")]
    assert (numbers, radius["launch_plans"]) == ([3, 1, 3, 1], 0)
    assert {effect["target"]["project"] for effect in radius["effects"]} == {"", "shop"}
    change = {"path": "limits.cpu", "before": "4", "after": "8"}
    assert all(effect["changes"] == [change] for effect in radius["effects"])
    assert radius["effects"][-1]["target"]["workflow"] == "nightly"


async def test_it_lists_the_namespaces_that_would_be_rendered_with_other_values(
    admin: httpx.AsyncClient,
) -> None:
    path, document = "/records/cluster_resource", {"attributes": {"size": "1"}}
    await put(admin, "cluster_resource", document, project="shop", domain="staging")
    answer = await admin.put(path, params=DRY, json=document)
    radius = answer.json()["radius"]
    assert radius["rendered"] == ["shop-development", "shop-production"]
    assert radius["namespaces"] == 2
    assert (await dry_run(admin, {"limits": {"cpu": "1"}}))["radius"]["namespaces"] == 0


async def test_the_list_is_limited_and_the_numbers_count_all(admin: httpx.AsyncClient) -> None:
    documents = [{"kind": "project", "name": f"p{number}", "document": {}} for number in range(60)]
    await admin.post("/apply", json={"documents": documents})
    radius = (await dry_run(admin, {"limits": {"cpu": "8"}}))["radius"]
    assert (radius["projects"], radius["project_domains"]) == (61, 183)
    assert len(radius["effects"]) == 100


@pytest.mark.parametrize(
    ("document", "params", "status"),
    [
        ({"limits": {"cpu": "x"}}, {}, 400),
        ({"defaults": {"cpu": "3"}}, {"project": "shop"}, 400),
        ({}, {"project": "shpo"}, 404),
    ],
)
async def test_a_write_that_would_be_rejected_is_rejected(
    admin: httpx.AsyncClient, document: Any, params: dict[str, str], status: int
) -> None:
    await put(admin, "task_resource", {"limits": {"cpu": "2"}})
    answer = await admin.put(RECORD, params=params | DRY, json=document)
    assert answer.status_code == status


async def test_a_dry_run_checks_the_precondition(admin: httpx.AsyncClient) -> None:
    answer = await admin.put(RECORD, params=DRY, headers={"If-Match": '"99"'}, json={})
    assert (answer.status_code, answer.json()["given_version"]) == (412, 99)


@BOTH
async def test_calls_that_change_no_record_have_dry_runs_that_roll_back(
    admin: httpx.AsyncClient,
) -> None:
    await until_connected(admin)  # A resync needs NATS.
    await register(admin, workflow())
    calls: dict[str, Any] = {
        "/projects": {"name": "new"},
        "/domains": {"name": "new"},
        "/workflows": registration(workflow("2")),
        "/launch_plans": {
            **SCOPE,
            "launch_plan": {"name": "weekly", "workflow": "nightly", "version": "1"},
        },
        "/executions": {**SCOPE, "workflow": "nightly", "inputs": {"day": "monday"}},
        "/resync": {},
    }
    before = await stored(admin)
    for path, body in calls.items():
        answer = await admin.post(path, params=DRY, json=body)
        # A propeller resolves an execution, and none is running.
        expected = 503 if path == "/executions" else 200
        assert answer.status_code == expected, (path, answer.text)
    assert await stored(admin) == before
    for path, body in calls.items():
        answer = await admin.post(path, json=body)
        assert answer.status_code in (200, 201), (path, answer.text)
        assert await stored(admin) != before, path
        before = await stored(admin)


async def stored(admin: httpx.AsyncClient) -> list[Any]:
    paths = ("/history", "/workflows", "/launch_plans", "/executions", "/export", "/projects")
    return [await revision(admin), *[(await admin.get(path)).json() for path in paths]]
