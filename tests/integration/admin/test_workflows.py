"""Workflows and launch plans: registered once, and rejected if they are inconsistent."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.databases import BOTH
from tests.integration.admin.running import (
    FORCE,
    SCOPE,
    execute,
    register,
    registration,
    workflow,
)
from trimtab.workflows.graphs.runtimes import RuntimeMetadata
from trimtab_admin.executions import workflows

PLAN = {"name": "weekly", "workflow": "nightly", "version": "1"}


async def post_plan(admin: httpx.AsyncClient, **more: Any) -> httpx.Response:
    return await admin.post("/launch_plans", json={**SCOPE, "launch_plan": {**PLAN, **more}})


async def test_registering_a_version_again_with_the_same_content_succeeds(
    admin: httpx.AsyncClient,
) -> None:
    codes = [
        (await admin.post("/workflows", json=registration(workflow()))).status_code
        for _again in range(2)
    ]
    assert codes == [201, 200]
    assert len((await admin.get("/workflows")).json()) == 1


async def test_a_version_that_another_release_of_the_sdk_registered_is_the_same(
    admin: httpx.AsyncClient,
) -> None:
    """Releases differ in the types that they find."""
    await register(admin, workflow())
    typed = registration(workflow())
    typed["workflow"] |= {
        "input_types": {"day": "string"},
        "schemas": {"day": {"type": "string"}},
        "output_schema": {"type": "number"},
        "runtime": {"type": "TRIMTAB_SDK", "version": "7", "flavor": "Python"},
    }
    typed["workflow"]["tasks"]["load"] |= {"interface": {"required": ["day"]}, "digest": "0" * 64}
    assert (await admin.post("/workflows", json=typed)).status_code == 200
    assert (await admin.get("/workflows")).json() == [registration(workflow())]
    typed["workflow"]["schemas"] = {"dya": {"type": "string"}}
    answer = await admin.post("/workflows", json=typed)
    assert (answer.status_code, answer.json()["path"]) == (400, "schemas")


async def test_executions_and_launch_plans_have_inputs_of_the_declared_types_only(
    admin: httpx.AsyncClient,
) -> None:
    integer = {"type": "integer"}
    for wrong, path in (
        ({"schemas": {"day": {"pattern": "(a+)+$"}}}, "schemas.day.pattern"),
        ({"schemas": {"limit": {"type": "string"}}}, "inputs.limit"),
        ({"output_schema": {"$ref": "https://example.com"}}, "output_schema.$ref"),
    ):
        answer = await admin.post("/workflows", json=registration(workflow(**wrong)))
        assert (answer.status_code, answer.json()["path"]) == (400, path)
    await register(admin, workflow(schemas={"day": integer, "limit": integer}))
    for value in ("abc", None, 3.0, True):
        answer = await execute(admin, inputs={"day": value})
        assert (answer.status_code, answer.json()["path"]) == (400, "inputs.day")
        assert answer.json()["allowed"] == "an integer"
        answer = await post_plan(admin, inputs={"day": value})
        assert (answer.status_code, answer.json()["path"]) == (400, "launch_plan.inputs.day")
    assert (await post_plan(admin, inputs={"day": 3})).status_code == 201
    assert (await execute(admin, inputs={"limit": 4}, launch_plan="weekly")).status_code == 201


async def test_the_sdk_of_a_registration_is_shown(admin: httpx.AsyncClient) -> None:
    runtime = RuntimeMetadata(type="TRIMTAB_SDK", version="1.2", flavor="Python")
    await register(admin, workflow(runtime=runtime))
    [listed] = (await admin.get("/workflows")).json()
    assert listed["workflow"]["runtime"] == runtime.model_dump()


@BOTH
async def test_versions_that_are_registered_at_once_are_stored_once(
    admin: httpx.AsyncClient,
) -> None:
    """The two workflows share their tasks, too."""
    versions = [workflow(), workflow(name="other")] * 3
    calls = [admin.post("/workflows", json=registration(each)) for each in versions]
    statuses = [response.status_code for response in await asyncio.gather(*calls)]
    assert sorted(statuses) == [200, 200, 200, 200, 201, 201]


async def test_different_content_for_a_registered_version_is_a_conflict(
    admin: httpx.AsyncClient,
) -> None:
    await register(admin, workflow())
    other = workflow(module="def load(day): return 1\ndef train(rate): ...\n")
    answer = await admin.post("/workflows", json=registration(other))
    assert answer.status_code == 409
    assert "version '1'" in answer.json()["detail"]


async def test_the_newest_version_is_the_one_that_was_registered_last(
    admin: httpx.AsyncClient,
) -> None:
    for version in ("10", "9"):
        await register(admin, workflow(version))
    path = "/workflows/shop/development/nightly"
    assert (await admin.get(path)).json()["workflow"]["version"] == "9"
    assert (await admin.get(path, params={"version": "10"})).json() == registration(workflow("10"))
    unknown = await admin.get(path, params={"version": "11"})
    assert (unknown.status_code, unknown.json()["allowed"]) == (404, "10, 9")


async def test_a_node_with_an_unknown_task_is_rejected(admin: httpx.AsyncClient) -> None:
    body = registration(workflow())
    body["workflow"]["nodes"][1]["task"] = "trian"
    answer = await admin.post("/workflows", json=body)
    assert (answer.status_code, answer.json()["path"]) == (400, "nodes.1.task")
    assert answer.json()["allowed"] == "load, train; did you mean 'train'?"


async def test_an_unknown_field_of_a_workflow_is_rejected(admin: httpx.AsyncClient) -> None:
    body = registration(workflow())
    body["workflow"]["nodes"][0]["retrys"] = 3
    answer = await admin.post("/workflows", json=body)
    assert (answer.status_code, answer.json()["path"]) == (400, "workflow.nodes.0.retrys")


async def test_a_task_with_an_unknown_pool_is_rejected(admin: httpx.AsyncClient) -> None:
    body = registration(workflow())
    body["workflow"]["tasks"]["train"]["pool"] = "gpu"
    answer = await admin.post("/workflows", json=body)
    assert (answer.status_code, answer.json()["path"]) == (404, "pool")
    await admin.put("/pools/gpu", params=FORCE, json={"name": "gpu", "quota": 1})
    assert (await admin.post("/workflows", json=body)).status_code == 201


async def test_workflows_are_filtered_by_project_and_domain(admin: httpx.AsyncClient) -> None:
    await register(admin, workflow())
    for params, count in ((SCOPE, 1), ({"domain": "staging"}, 0)):
        assert len((await admin.get("/workflows", params=params)).json()) == count


async def test_a_registered_launch_plan_is_listed(admin: httpx.AsyncClient) -> None:
    await register(admin, workflow())
    plan = {"inputs": {"day": "sunday"}, "runtime_override": {"trainer": {"retries": 3}}}
    codes = [(await post_plan(admin, **plan)).status_code for _again in range(2)]
    assert codes == [201, 200]
    [body] = (await admin.get("/launch_plans", params=SCOPE)).json()
    assert body["launch_plan"]["inputs"] == {"day": "sunday"}


@pytest.mark.parametrize(
    ("wrong", "path", "allowed"),
    [
        ({"runtime_override": {"trianer": {}}}, "launch_plan.runtime_override.trianer", "trainer"),
        ({"inputs": {"dya": 1}}, "launch_plan.inputs.dya", "day, limit"),
        ({"name": "nightly"}, "launch_plan.name", "another name"),
    ],
)
async def test_a_launch_plan_that_does_not_match_its_workflow_is_rejected(
    admin: httpx.AsyncClient, wrong: dict[str, Any], path: str, allowed: str
) -> None:
    await register(admin, workflow())
    answer = await post_plan(admin, **wrong)
    assert (answer.status_code, answer.json()["path"]) == (400, path)
    assert allowed in answer.json()["allowed"]


@pytest.mark.parametrize(
    ("scope", "known"), [({"project": "x"}, "shop"), ({"domain": "x"}, "staging")]
)
async def test_an_unknown_project_or_domain_is_rejected(
    admin: httpx.AsyncClient, scope: dict[str, str], known: str
) -> None:
    answer = await admin.post("/workflows", json=registration(workflow()) | scope)
    assert answer.status_code == 404
    assert known in answer.json()["allowed"]


async def test_nothing_can_be_registered_in_an_archived_project(admin: httpx.AsyncClient) -> None:
    await register(admin, workflow())
    await admin.patch("/projects/shop", json={"state": "archived"})
    for answer in (
        await admin.post("/workflows", json=registration(workflow("2"))),
        await post_plan(admin),
    ):
        assert (answer.status_code, "archived" in answer.json()["detail"]) == (409, True)
    assert len((await admin.get("/workflows")).json()) == 1


@pytest.mark.parametrize("path", ["/workflows", "/launch_plans"])
async def test_a_list_has_at_most_so_many_items(
    admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(workflows, "_MAX_LISTED", 2)
    await register(admin, workflow())
    for name in ("nightly2", "nightly3"):
        await register(admin, workflow().model_copy(update={"name": name}))
    for name in ("weekly", "monthly", "yearly"):
        await post_plan(admin, name=name)
    assert len((await admin.get(path)).json()) == 2
