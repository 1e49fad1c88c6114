"""The rights of an API token: its roles, with their scopes and kinds."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.integration.admin.callers import grant, token_headers
from tests.integration.admin.running import FORCE, SCOPE, execute, workflow

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAB = {**SCOPE, "project": "lab"}
LIMITS = {"limits": {"cpu": "2"}}
SHOP2 = {**SCOPE, "project": "shop2"}
ELSEWHERE = [LAB, SHOP2, {"domain": "development"}, {}]
Headers = dict[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def admin(shared: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """admin with a ceiling, and a record, a workflow and an execution in each of three projects."""
    await put(shared, {}, {"ceiling": {"cpu": "4"}})
    await shared.post("/projects", json={"name": "shop2"})
    for scope in (SCOPE, LAB, SHOP2):
        await put(shared, scope, LIMITS)
        body = {**scope, "workflow": workflow().model_dump(mode="json")}
        assert (await shared.post("/workflows", json=body)).status_code == 201
        assert (await execute(shared, **scope)).status_code == 201
    yield shared


async def put(admin: httpx.AsyncClient, scope: dict[str, str], document: Any) -> None:
    response = await admin.put("/records/task_resource", params=scope | FORCE, json=document)
    assert response.status_code == 200, response.text


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def editor(admin: httpx.AsyncClient) -> Headers:
    return await token_headers(admin, "editor", grant("editor", project="shop"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def viewer(admin: httpx.AsyncClient) -> Headers:
    return await token_headers(admin, "viewer", grant("viewer", project="shop"))


async def test_an_editor_writes_within_its_scope(admin: httpx.AsyncClient, editor: Headers) -> None:
    for scope in ({"project": "shop"}, SCOPE, {**SCOPE, "workflow": "nightly"}):
        writes: list[tuple[str, Any]] = [("PUT", LIMITS), ("PATCH", LIMITS), ("DELETE", None)]
        for method, body in writes:
            response = await admin.request(
                method,
                "/records/task_resource",
                params={**scope, **FORCE},
                json=body,
                headers=editor,
            )
            assert response.status_code in (200, 204), response.text
    await put(admin, SCOPE, LIMITS)


@pytest.mark.parametrize("dry_run", ["false", "true"])
@pytest.mark.parametrize("scope", ELSEWHERE)
async def test_an_editor_cannot_write_outside_its_scope(
    admin: httpx.AsyncClient, editor: Headers, scope: dict[str, str], dry_run: str
) -> None:
    before = (await admin.get("/status")).json()["revision"]
    params = {**scope, **FORCE, "dry_run": dry_run}
    for method in ("PUT", "PATCH", "DELETE"):
        # The refusal is the same for a document that is stored, and for one that is not valid.
        for body in (LIMITS, {}, {"nonsense": 1}):
            response = await admin.request(
                method, "/records/task_resource", params=params, json=body, headers=editor
            )
            assert response.status_code == 403
            assert response.json()["allowed"] == "editor of project shop"
    assert (await admin.get("/status")).json()["revision"] == before


async def test_a_repeated_parameter_does_not_bypass_authorization(
    admin: httpx.AsyncClient, editor: Headers
) -> None:
    query = "project=lab&project=shop&domain=development&force=true"
    response = await admin.put(f"/records/task_resource?{query}", json=LIMITS, headers=editor)
    assert (response.status_code, response.json()["path"]) == (400, "project")


@pytest.mark.parametrize(
    "document",
    [
        {"limits": {"cpu": "5"}},
        {"limits": {"cpu": "5"}, "unset": ["ceiling.cpu"]},
        {"limits": {"cpu": "5"}, "unset": ["ceiling"]},
        {"limits": {"cpu": "5"}, "ceiling": {"cpu": "9"}},
        {"limits": {"cpu": "5"}, "over_limit": "clamp"},
    ],
)
async def test_an_editor_cannot_raise_a_limit_above_the_ceiling(
    admin: httpx.AsyncClient, editor: Headers, document: Any
) -> None:
    for scope in ({"project": "shop"}, SCOPE, {**SCOPE, "workflow": "nightly"}):
        params = {**scope, **FORCE}
        response = await admin.put(
            "/records/task_resource", params=params, json=document, headers=editor
        )
        assert response.status_code == 400, response.text
    body = await admin.get("/effective/task_resource", params=SCOPE, headers=editor)
    assert body.json()["document"]["limits"] == {"cpu": "2"}


async def test_an_editor_cannot_change_the_ceiling_itself(
    admin: httpx.AsyncClient, editor: Headers
) -> None:
    response = await admin.patch(
        "/records/task_resource", params=FORCE, json={"ceiling": {"cpu": "99"}}, headers=editor
    )
    assert (response.status_code, response.json()["allowed"]) == (403, "editor of project shop")


async def test_a_viewer_reads_and_changes_nothing(
    admin: httpx.AsyncClient, viewer: Headers
) -> None:
    record = await admin.get("/records/task_resource", params=SCOPE, headers=viewer)
    effective = await admin.get("/effective/task_resource", params=SCOPE, headers=viewer)
    assert (record.status_code, effective.status_code) == (200, 200)
    body = {**SCOPE, "workflow": "nightly", "inputs": {"day": "monday"}}
    executed = await admin.post("/executions", json=body, headers=viewer)
    written = await admin.put(
        "/records/task_resource", params=SCOPE | FORCE, json=LIMITS, headers=viewer
    )
    assert (written.status_code, executed.status_code) == (403, 403)


@pytest.mark.parametrize(
    "path",
    [
        "/records/task_resource",
        "/records/task_resource/history",
        "/effective/task_resource",
        "/explain/task_resource",
        "/effective",
    ],
)
@pytest.mark.parametrize("scope", ELSEWHERE)
async def test_reading_a_single_object_outside_the_scope_is_refused(
    admin: httpx.AsyncClient, viewer: Headers, path: str, scope: dict[str, str]
) -> None:
    assert (await admin.get(path, params=scope, headers=viewer)).status_code == 403


async def test_lists_contain_what_the_scope_covers(
    admin: httpx.AsyncClient, viewer: Headers
) -> None:
    async def listed(path: str) -> list[Any]:
        items: list[Any] = (await admin.get(path, headers=viewer)).json()
        return items

    for path in ("/workflows", "/executions"):
        assert {item["project"] for item in await listed(path)} == {"shop"}
    assert [project["name"] for project in await listed("/projects")] == ["shop"]
    for path in ("/records", "/history?kind=task_resource"):
        assert {item["scope"]["project"] for item in await listed(path)} == {"shop"}
    assert {item["kind"] for item in await listed("/history")} == {"project", "task_resource"}


async def test_a_page_is_filled_with_items_that_the_caller_may_see(
    admin: httpx.AsyncClient, viewer: Headers
) -> None:
    await execute(admin, **LAB)
    for path in ("/executions", "/history", "/records"):
        response = await admin.get(path, params={"limit": "1"}, headers=viewer)
        assert len(response.json()) == 1


async def test_a_caller_can_apply_its_own_export_again(
    admin: httpx.AsyncClient, editor: Headers
) -> None:
    exported = (await admin.get("/export", headers=editor)).json()
    assert {document["project"] for document in exported["documents"]} == {"shop"}
    applied = await admin.post("/apply", json=exported, headers=editor)
    assert {change["action"] for change in applied.json()["changes"]} == {"none"}


@pytest.mark.parametrize("dry_run", ["false", "true"])
async def test_one_document_outside_the_scope_refuses_all_documents(
    admin: httpx.AsyncClient, editor: Headers, dry_run: str
) -> None:
    documents = [
        {"kind": "task_resource", **scope, "document": {"limits": {"cpu": "1"}}}
        for scope in (SCOPE, LAB)
    ]
    response = await admin.post(
        "/apply", params={"dry_run": dry_run}, json={"documents": documents}, headers=editor
    )
    assert response.status_code == 403
    stored = await admin.get("/records/task_resource", params=SCOPE)
    assert stored.json()["document"] == LIMITS


@pytest.mark.parametrize("dry_run", ["false", "true"])
async def test_pruning_cannot_delete_outside_the_scope(
    admin: httpx.AsyncClient, editor: Headers, dry_run: str
) -> None:
    queue = {"kind": "execution_queue", **LAB, "document": {"tags": ["gpu"]}}
    await admin.post("/apply", params={"prune": "owner=ml"}, json={"documents": [queue]})
    params = {"prune": "owner=ml", "allow_empty": "true", "dry_run": dry_run}
    response = await admin.post("/apply", params=params, json={"documents": []}, headers=editor)
    named = "lab" in response.text.replace("label", "")
    assert (response.status_code, named) == (403, False)
    [entry] = (await admin.get("/audit", params={"limit": "1"})).json()
    assert entry["scope"] == "project-domain lab/development"
    assert (await admin.get("/records/execution_queue", params=LAB)).status_code == 200


async def test_an_editor_registers_and_executes_only_within_its_scope(
    admin: httpx.AsyncClient, editor: Headers
) -> None:
    body = {"workflow": workflow("2").model_dump(mode="json")}
    for scope, status in ((SCOPE, 201), (LAB, 403)):
        registered = await admin.post("/workflows", json={**scope, **body}, headers=editor)
        executed = await admin.post(
            "/executions",
            json={**scope, "workflow": "nightly", "inputs": {"day": "monday"}},
            headers=editor,
        )
        assert (registered.status_code, executed.status_code) == (status, status)


async def test_an_execution_outside_the_scope_is_one_that_does_not_exist(
    admin: httpx.AsyncClient, viewer: Headers
) -> None:
    [other, *_] = (await admin.get("/executions", params={"project": "lab"})).json()
    missing = "a" * len(other["id"])
    for more in ("", "/events", "/events?since=7"):
        foreign, absent = [
            await admin.get(f"/executions/{id}{more}", headers={**viewer, "X-Request-Id": "r-1"})
            for id in (other["id"], missing)
        ]
        assert (foreign.status_code, foreign.headers) == (404, absent.headers)
        assert foreign.text.replace(other["id"], missing) == absent.text


async def test_workflows_and_projects_outside_the_scope_cannot_be_read(
    admin: httpx.AsyncClient, viewer: Headers
) -> None:
    for path in ("/workflows/lab/development/nightly", "/projects/lab"):
        assert (await admin.get(path)).status_code == 200
        assert (await admin.get(path, headers=viewer)).status_code == 403


async def test_a_grant_for_a_launch_plan_starts_nothing_else(admin: httpx.AsyncClient) -> None:
    plan = {"name": "late", "workflow": "nightly", "version": "1"}
    registered = await admin.post("/launch_plans", json={**SCOPE, "launch_plan": plan})
    assert registered.status_code == 201
    scope = {**SCOPE, "workflow": "nightly", "launch_plan": "late"}
    headers = await token_headers(admin, "late", grant("editor", **scope))
    body = {**SCOPE, "workflow": "nightly", "version": "1", "inputs": {"day": "monday"}}
    late = await admin.post("/executions", json={**body, "launch_plan": "late"}, headers=headers)
    default = await admin.post("/executions", json=body, headers=headers)
    assert (late.status_code, default.status_code) == (201, 403)
    listed = await admin.get("/executions", headers=headers)
    assert [item["launch_plan"] for item in listed.json()] == ["late"]


async def test_who_may_execute_may_override_what_has_a_hook(
    admin: httpx.AsyncClient, editor: Headers, viewer: Headers
) -> None:
    body = {**SCOPE, "workflow": "nightly", "version": "1", "inputs": {"day": "monday"}}
    found = [
        await admin.post(
            "/executions", json={**body, "overrides": {hook: {"retries": 3}}}, headers=headers
        )
        for headers in (editor, viewer)
        for hook in ("trainer", "load")
    ]
    assert [response.status_code for response in found] == [201, 400, 403, 403]


async def test_a_grant_for_one_kind_reaches_that_kind_only(
    admin: httpx.AsyncClient,
) -> None:
    headers = await token_headers(admin, "queues", grant("editor", "execution_queue"))
    params = {"project": "shop", **FORCE}
    queue = await admin.put(
        "/records/execution_queue", params=params, json={"tags": ["gpu"]}, headers=headers
    )
    limits = await admin.put("/records/task_resource", params=params, json=LIMITS, headers=headers)
    assert (queue.status_code, limits.status_code) == (200, 403)
    for path in ("/records", "/history"):
        assert {item["kind"] for item in (await admin.get(path, headers=headers)).json()} == {
            "execution_queue"
        }
    body = (await admin.get("/effective", params=SCOPE, headers=headers)).json()
    assert list(body["kinds"]) == ["execution_queue"]
    assert (await admin.get("/executions", headers=headers)).json() == []


async def test_an_admin_of_a_project_changes_it_and_creates_no_other(
    admin: httpx.AsyncClient, editor: Headers
) -> None:
    owner = await token_headers(admin, "owner", grant("admin", project="shop"))
    change = {"description": "theirs"}
    responses = [
        await admin.patch(f"/projects/{project}", json=change, headers=headers)
        for headers, project in ((owner, "shop"), (owner, "lab"), (editor, "shop"))
    ]
    assert [response.status_code for response in responses] == [200, 403, 403]
    new = await admin.post("/projects", json={"name": "new"}, headers=owner)
    assert new.status_code == 403


def operations(description: Any) -> list[tuple[str, str]]:
    """Return all operations except the watch, whose response does not end."""
    return [
        (method, path)
        for path, methods in description["paths"].items()
        for method in methods
        if path != "/api/v2/watch"
    ]


async def test_a_caller_without_a_grant_is_refused_by_every_operation(
    admin: httpx.AsyncClient,
) -> None:
    """This includes operations that will be added: by default they are for admins only."""
    nowhere = grant("admin", "workflow_priority", project="lab", workflow="x", domain="staging")
    headers = await token_headers(admin, "nowhere", nowhere)
    description = (await admin.get("/openapi.json")).json()
    responses = {}
    for method, path in operations(description):
        url = path.removeprefix("/api/v2").format(**NAMES)
        body = BODIES.get(path, {}) if method in ("post", "put", "patch") else None
        response = await admin.request(method, url, json=body, headers=headers)
        responses[method, path.removeprefix("/api/v2")] = response
    allowed = {key for key, response in responses.items() if response.status_code != 403}
    assert allowed == FOR_EVERY_TOKEN
    assert [path for path in FILTERED if responses["get", path].json()] == []


NAMES = {
    "kind": "task_resource",
    "name": "shop",
    "project": "shop",
    "domain": "development",
    "execution": "x",
    "id": "x",
    "token": "x",
    "sequence": "1",
    "cluster": "embedded",
    "namespace": "x",
    "digest": "0" * 64,
}
FILTERED = ("/records", "/history", "/workflows", "/launch_plans", "/executions", "/namespaces")
FOR_EVERY_TOKEN = {
    *(("get", path) for path in FILTERED),
    *(
        ("get", path)
        for path in ("/kinds", "/domains", "/clusters", "/pools", "/queues", "/status")
    ),
    ("get", "/pools/{name}"),
    ("get", "/queues/{name}"),
    ("get", "/projects"),
    ("get", "/executions/{execution}"),
    ("get", "/namespaces/{cluster}/{namespace}"),
    ("get", "/namespaces/{cluster}/{namespace}/diff"),
    ("post", "/namespaces/{cluster}/{namespace}/prune"),
    ("get", "/executions/{execution}/events"),
    ("get", "/export"),
    ("post", "/apply"),
}
BODIES: dict[str, Any] = {
    "/api/v2/workflows": {**SCOPE, "workflow": workflow().model_dump(mode="json")},
    "/api/v2/launch_plans": {
        **SCOPE,
        "launch_plan": {"name": "late", "workflow": "nightly", "version": "1"},
    },
    "/api/v2/executions": {**SCOPE, "workflow": "nightly"},
    "/api/v2/apply": {"documents": []},
}
