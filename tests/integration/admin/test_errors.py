"""Every error has one form: it names the field, the value and what is allowed."""

from typing import Any

import httpx
import pytest

from tests.integration.admin.running import FORCE

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECORD = "/records/task_resource"
JSON = {"Content-Type": "application/json"}


async def problem(admin: httpx.AsyncClient, method: str, path: str, **sent: Any) -> dict[str, Any]:
    response = await admin.request(method, path, **sent)
    assert response.headers["content-type"] == "application/problem+json", response.text
    found: dict[str, Any] = response.json()
    assert found["status"] == response.status_code
    assert found["title"]
    return found


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "field", "allowed"),
    [
        ("GET", "/nothing", {}, 404, "path", "/api/v2/openapi.json"),
        ("GET", "/projects/", {}, 404, "path", "/api/v2/openapi.json"),
        ("DELETE", "/projects", {}, 405, "method", "GET, POST"),
        ("OPTIONS", RECORD, {}, 405, "method", "DELETE, GET, PATCH, PUT"),
        ("GET", "/kinds?verbose=1", {}, 400, "verbose", "no parameter"),
        ("GET", "/records?projct=shop", {}, 400, "projct", "domain, kind, launch_plan"),
        ("GET", "/records?limit=0", {}, 400, "limit", "at least 1"),
        ("GET", "/executions?limit=x", {}, 400, "limit", "an integer"),
        ("GET", "/executions?project=a&project=b", {}, 400, "project", "one value"),
        ("GET", "/executions/%00", {}, 400, "execution", "text without NUL"),
        ("GET", "/effective/task_resources", {}, 404, "kind", "task_resource"),
        ("POST", "/projects", {"json": {"name": "x", "labls": {}}}, 400, "labls", "labels"),
        ("POST", "/projects", {"json": {"name": "X"}}, 400, "name", "pattern"),
        ("POST", "/projects", {"json": []}, 400, "body", "an object"),
        ("POST", "/projects", {"content": b"name=x"}, 415, "Content-Type", "application/json"),
        ("PUT", RECORD, {"params": FORCE, "json": {"limit": {}}}, 400, "limit", "limits"),
        (
            "PUT",
            RECORD,
            {"params": FORCE, "json": {"limits": {"cpu": "2x"}}},
            400,
            "limits.cpu",
            "500m",
        ),
        (
            "POST",
            "/apply",
            {"json": {"documents": [{"kind": "x"}]}},
            400,
            "documents.0.document",
            "",
        ),
    ],
)
async def test_an_error_names_the_field_and_what_is_allowed(
    shared: httpx.AsyncClient,
    method: str,
    path: str,
    sent: dict[str, Any],
    status: int,
    field: str,
    allowed: str,
) -> None:
    found = await problem(shared, method, path, **sent)
    assert (found["status"], found["path"]) == (status, field)
    assert allowed in found["allowed"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"name": NaN}',
        b'{"name": 1e999}',
        b'{"name": "\\ud800"}',
        b'{"name": "\xff"}',
        b"[" * 100_000,
        b'{"name": ' + b"9" * 5000 + b"}",
    ],
)
async def test_a_body_that_is_not_json_is_an_error_of_the_body(
    shared: httpx.AsyncClient, body: bytes
) -> None:
    found = await problem(shared, "POST", "/projects", content=body, headers=JSON)
    assert (found["status"], found["path"]) == (400, "body")


async def test_the_error_of_a_large_body_names_the_limit(
    shared: httpx.AsyncClient,
) -> None:
    found = await problem(shared, "POST", "/projects", json={"name": "x" * 600_000})
    assert (found["status"], found["path"]) == (413, "body")
    assert "524288 bytes" in found["allowed"]


async def test_the_header_allow_lists_the_methods_of_the_path(shared: httpx.AsyncClient) -> None:
    response = await shared.delete("/projects")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")


async def test_an_error_repeats_the_beginning_of_a_long_value(
    shared: httpx.AsyncClient,
) -> None:
    found = await problem(shared, "POST", "/projects", json={"name": "X" * 100_000})
    assert found["value"] == "X" * 200 + "… (100000 characters)"
    assert len(str(found)) < 1000


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        ("workflow_execution_config", {"envs": {"PASSWORD": {"hunter2": 1}}}),
        ("workflow_execution_config", {"annotations": {"api-token": ["hunter2"]}}),
        ("cluster_resource", {"attributes": {"db_password": ["hunter2"]}}),
        ("cluster_resource", {"password": "hunter2"}),
    ],
)
async def test_an_error_does_not_repeat_a_secret(
    shared: httpx.AsyncClient, kind: str, document: dict[str, Any]
) -> None:
    found = await problem(shared, "PUT", f"/records/{kind}", params=FORCE, json=document)
    assert found["status"] == 400
    assert "hunter2" not in str(found)
