"""Flyte's REST API on admin's port: access, methods, paths, bodies and errors."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
import pytest_asyncio
from google.rpc.status_pb2 import Status

from tests.integration.admin.callers import grant, token_headers
from tests.integration.admin.running import TOKEN, running
from tests.servers import PATIENCE_SECONDS
from trimtab_admin.config import AdminConfig
from trimtab_admin.flyte import attributes

pytestmark = pytest.mark.asyncio(loop_scope="module")

V1 = "http://127.0.0.1/api/v1"
SHOP = f"{V1}/project_domain_attributes/shop/development"
LABEL = {"attributes": {"matching_attributes": {"execution_cluster_label": {"value": "gpu"}}}}
JSON = {"Accept": "application/json", "Content-Type": "application/json"}
LARGE = 4 * 1024 * 1024


async def rest(admin: httpx.AsyncClient, method: str, target: str, **more: str) -> httpx.Response:
    """Send a request whose path is not normalized; ``more`` has headers, with ``_`` for ``-``."""
    path, _, query = target.partition("?")
    headers = {"host": "127.0.0.1", "authorization": f"Bearer {TOKEN}"}
    headers |= {name.replace("_", "-"): value for name, value in more.items() if name != "body"}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": more.get("body", "").encode()}

    async def send(message: Any) -> None:
        sent.append(message)

    await admin._transport.app(scope, receive, send)  # type: ignore[attr-defined]
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=content)


async def test_a_label_that_is_written_is_a_record(shared: httpx.AsyncClient) -> None:
    written = await shared.put(SHOP, json=LABEL)
    assert (written.status_code, written.json()) == (200, {})
    found = await shared.get(SHOP, params={"resourceType": 3})
    assert found.json()["attributes"]["matchingAttributes"] == {
        "executionClusterLabel": {"value": "gpu"}
    }
    assert found.headers["grpc-metadata-content-type"] == "application/grpc"
    scope = {"project": "shop", "domain": "development"}
    record = await shared.get("/records/execution_cluster_label", params=scope)
    assert record.json()["document"] == {"value": "gpu"}
    history = (await shared.get("/history", params={"limit": 1})).json()
    assert history[0]["actor"] == "root"


async def test_a_call_without_a_token_is_refused_and_audited(shared: httpx.AsyncClient) -> None:
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}):
        refused = await shared.get(SHOP, headers={**headers, "X-Request-Id": "r-rest"})
        assert (refused.status_code, refused.json()["code"]) == (401, 16)
        assert refused.headers["www-authenticate"] == "Bearer"
    newest = (await shared.get("/audit", params={"limit": 1})).json()[0]
    assert (newest["status"], newest["request_id"]) == (401, "r-rest")
    assert newest["path"] == "/api/v1/project_domain_attributes/shop/development"


async def test_a_call_that_the_grants_do_not_allow_is_refused_and_audited(
    shared: httpx.AsyncClient,
) -> None:
    viewer = await token_headers(shared, "rest-viewer", grant("viewer"))
    assert (await shared.get(f"{V1}/projects/shop", headers=viewer)).status_code == 200
    refused = await shared.put(SHOP, json=LABEL, headers=viewer)
    assert (refused.status_code, refused.json()["code"]) == (403, 7)
    assert "rest-viewer" in refused.json()["message"]
    newest = (await shared.get("/audit", params={"limit": 1})).json()[0]
    assert (newest["status"], newest["caller"]) == (403, "rest-viewer")


async def test_an_error_is_a_status_in_the_form_of_the_response(shared: httpx.AsyncClient) -> None:
    accept = {"Accept": "application/octet-stream", "Authorization": ""}
    refused = await shared.get(SHOP, headers=accept)
    assert refused.headers["content-type"] == "application/octet-stream"
    assert Status.FromString(refused.content).code == 16


async def test_a_web_page_of_another_origin_is_refused(shared: httpx.AsyncClient) -> None:
    page = {"Origin": "http://elsewhere"}
    refused = await shared.get(SHOP, headers=page)
    assert (refused.status_code, refused.json()["code"]) == (403, 7)
    preflight = await shared.options(SHOP, headers=page)
    assert (preflight.status_code, preflight.content) == (403, b"")


async def test_open_paths_need_no_token(shared: httpx.AsyncClient) -> None:
    none = {"Authorization": ""}
    for path in ("/healthcheck", "/config/v1/flyte_client"):
        assert (await shared.get(f"http://127.0.0.1{path}", headers=none)).status_code == 200
    options = await shared.options(SHOP, headers=none)
    assert (options.status_code, options.content) == (200, b"")


async def test_other_paths_are_those_of_the_native_api(shared: httpx.AsyncClient) -> None:
    for path in ("/API/v1/projects", "/api/v1", "/api/v3/x"):
        found = await shared.get(f"http://127.0.0.1{path}")
        assert found.headers["content-type"] == "application/problem+json"
    unknown = await shared.get(f"{V1}/nope")
    assert (unknown.status_code, unknown.json()) == (
        404,
        {"code": 5, "message": "Not Found", "details": []},
    )


async def test_a_wrong_method_is_unimplemented(shared: httpx.AsyncClient) -> None:
    for method in ("PATCH", "POST", "HEAD", "TRACE"):
        response = await shared.request(method, SHOP)
        assert response.status_code == 501
    assert response.json()["message"] == "Method Not Allowed"
    other = await shared.get(f"{V1}/tasks/shop/development")
    assert (other.status_code, other.json()["code"]) == (501, 12)
    assert other.json()["message"].startswith("flyteidl.service.AdminService/ListTasks is not")


async def test_forms_stand_for_other_methods(shared: httpx.AsyncClient) -> None:
    form = "application/x-www-form-urlencoded"
    path = "/api/v1/project_domain_attributes/shop/development"
    read = await rest(shared, "POST", path, content_type=form, body="resource_type=5")
    assert (read.status_code, "PLUGIN_OVERRIDE" in read.text) == (404, True)
    override = {"content_type": form, "x_http_method_override": "put"}
    ignored = await rest(shared, "POST", path, **override, body="a=1")
    assert "missing matching_attributes" in ignored.text
    json_type = {**override, "content_type": "application/json"}
    assert (await rest(shared, "POST", path, **json_type, body="{}")).status_code == 501


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("//projects", "/api/v1/projects"),
        ("/./projects?limit=1", "/api/v1/projects?limit=1"),
        ("/x/../projects/a%20b", "/api/v1/projects/a%20b"),
        ("/projects/x/..//", "/api/v1/projects/"),
        ("/../..//evil.example", "/evil.example"),
        ("/..%2F..%2F%2Fevil.example", "/evil.example"),
    ],
)
async def test_a_path_with_empty_segments_and_dots_is_redirected(
    shared: httpx.AsyncClient, target: str, location: str
) -> None:
    response = await rest(shared, "GET", f"/api/v1{target}")
    assert (response.status_code, response.headers["location"]) == (307, location)


@pytest.mark.parametrize(
    ("target", "status", "text"),
    [
        ("/projects/%zz", 400, "400 Bad Request"),
        ("/projects/a%2Fb", 404, "Not Found"),
        ("/projects/%ff", 400, "the path is not UTF-8"),
        ("/projects/a+b", 404, "project [a+b] not found"),
        ("/projects/a%2Bb", 404, "project [a+b] not found"),
        ("/projects/%C3%BC", 404, "project [ü] not found"),
        ("/projects?limit=%zz", 400, "invalid URL escape"),
    ],
)
async def test_escapes_of_paths(
    shared: httpx.AsyncClient, target: str, status: int, text: str
) -> None:
    response = await rest(shared, "GET", f"/api/v1{target}")
    assert response.status_code == status
    assert text in response.text


async def test_bodies_have_limits(shared: httpx.AsyncClient) -> None:
    def body(letters: int) -> dict[str, Any]:
        label = {"execution_cluster_label": {"value": "v" * letters}}
        return {"attributes": {"matching_attributes": label}}

    large = await shared.put(SHOP, json=body(LARGE))
    assert (large.status_code, large.json()["code"]) == (429, 8)
    assert "vs. 4194304" in large.json()["message"]
    larger = await shared.put(SHOP, json=body(2 * LARGE))
    assert (larger.status_code, larger.json()["code"]) == (429, 8)
    # Long texts are read in a thread.
    refused = await shared.put(SHOP, json=body(1_000_000))
    assert (refused.status_code, refused.json()["code"]) == (400, 3)


async def test_a_client_sets_how_long_it_waits(
    shared: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = await shared.get(SHOP, headers={"Grpc-Timeout": "1x"})
    assert (wrong.status_code, wrong.json()["message"]) == (400, "invalid grpc-timeout: 1x")

    async def never(_rpcs: attributes.AttributeRpcs, *_call: Any) -> None:
        await asyncio.sleep(PATIENCE_SECONDS)

    monkeypatch.setattr(attributes.AttributeRpcs, "_shown", never)
    late = await shared.get(SHOP, headers={"Grpc-Timeout": "10m"})
    assert (late.status_code, late.json()["code"]) == (504, 4)


async def test_an_unexpected_error_is_a_status(
    shared: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_rpcs: attributes.AttributeRpcs, *_call: Any) -> None:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(attributes.AttributeRpcs, "_shown", fail)
    failed = await shared.get(SHOP, headers={"X-Request-Id": "r-7"})
    assert (failed.status_code, failed.json()["code"]) == (500, 13)
    assert "r-7" in failed.json()["message"]
    assert "fire" not in failed.text


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def anonymous(
    shared_settings: AdminConfig, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """An admin whose REST door accepts calls without a token, as those of a viewer."""
    database = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('anonymous') / 'admin.db'}"
    changes = {"anonymous_doors": ("rest",), "database_url": database}
    settings = shared_settings.model_copy(update=changes)
    async with running(settings) as client:
        await client.post("/projects", json={"name": "shop"})
        yield client


async def test_the_configuration_can_open_the_door_to_viewers(
    anonymous: httpx.AsyncClient,
) -> None:
    none = {"Authorization": ""}
    assert (await anonymous.get(f"{V1}/projects/shop", headers=none)).status_code == 200
    assert (await anonymous.put(SHOP, json=LABEL, headers=none)).status_code == 403
    assert (await anonymous.get("/projects", headers=none)).status_code == 401
    wrong = {"Authorization": "Bearer wrong"}
    assert (await anonymous.get(f"{V1}/projects/shop", headers=wrong)).status_code == 401
