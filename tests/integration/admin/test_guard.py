"""The checks before any operation: token, host, origin, content type and size of the body."""

import httpx
import pytest

from tests.integration.admin.running import FORCE, TOKEN, running
from trimtab_admin.config import AdminConfig

RECORD = "/records/task_resource"


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", "Bearer t0ké"])
async def test_a_call_without_the_token_is_refused(admin: httpx.AsyncClient, token: str) -> None:
    headers = [(b"Authorization", token.encode())]
    response = await admin.get("/projects", headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["content-type"] == "application/problem+json"


async def test_health_needs_no_api_token(admin: httpx.AsyncClient) -> None:
    for path in ("healthz", "readyz"):
        response = await admin.get(f"http://127.0.0.1/{path}", headers={"Authorization": ""})
        assert response.status_code in (200, 503)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "",
        "evil.example@127.0.0.1",
        "127.0.0.1/evil.example",
        "127.0.0.1?evil.example",
        "127.0.0.1#evil.example",
        "127.0.0.1:80:evil.example",
        "127.0.0.1, evil.example",
        "[::1",
        "0.0.0.0",
        "2130706433",
    ],
)
async def test_another_host_name_is_refused(admin: httpx.AsyncClient, host: str) -> None:
    response = await admin.get("/projects", headers={"Host": host})
    assert response.status_code == 403


async def test_two_host_names_are_refused(admin: httpx.AsyncClient) -> None:
    headers = [
        ("Host", "127.0.0.1"),
        ("Host", "evil.example"),
        ("Authorization", f"Bearer {TOKEN}"),
    ]
    assert (await admin.get("/projects", headers=headers)).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080"])
async def test_names_of_this_machine_are_accepted(admin: httpx.AsyncClient, host: str) -> None:
    assert (await admin.get("/projects", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:9999"])
async def test_a_page_of_another_origin_is_refused(admin: httpx.AsyncClient, origin: str) -> None:
    response = await admin.post("/projects", headers={"Origin": origin}, json={"name": "lab"})
    assert response.status_code == 403
    assert len((await admin.get("/projects")).json()) == 1


async def test_a_page_of_the_own_origin_is_accepted(admin: httpx.AsyncClient) -> None:
    headers = {"Origin": "http://127.0.0.1:8080", "Host": "127.0.0.1:8080"}
    assert (await admin.get("/projects", headers=headers)).status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_content_type_that_a_form_can_send_is_refused(
    admin: httpx.AsyncClient, content_type: str
) -> None:
    headers = {"Content-Type": content_type}
    response = await admin.post("/projects", headers=headers, content=b'{"name": "lab"}')
    assert response.status_code == 415
    assert "application/json" in response.json()["detail"]


async def test_only_patch_accepts_merge_patches(
    admin: httpx.AsyncClient,
) -> None:
    headers = {"Content-Type": "application/merge-patch+json; charset=utf-8"}
    document = b'{"limits": {"cpu": "1"}}'
    for method, status in (("PATCH", 200), ("PUT", 415)):
        response = await admin.request(
            method, RECORD, params=FORCE, headers=headers, content=document
        )
        assert response.status_code == status


async def test_a_body_that_exceeds_what_nats_carries_is_refused(admin: httpx.AsyncClient) -> None:
    attributes = {"size": "x" * 600_000}
    response = await admin.put(
        "/records/cluster_resource", params=FORCE, json={"attributes": attributes}
    )
    assert response.status_code == 413


async def test_patches_cannot_grow_a_record_beyond_what_nats_carries(
    admin: httpx.AsyncClient,
) -> None:
    codes = [
        (
            await admin.patch(
                "/records/cluster_resource",
                params=FORCE,
                json={"attributes": {name: "x" * 500_000}},
            )
        ).status_code
        for name in ("one", "two")
    ]
    assert codes == [200, 400]


async def test_an_unknown_path_is_a_problem(admin: httpx.AsyncClient) -> None:
    for path, status in (("/nothing", 404), ("/kinds", 405)):
        response = await admin.post(path, json={})
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"


async def test_the_api_describes_itself(admin: httpx.AsyncClient) -> None:
    paths = (await admin.get("/openapi.json")).json()["paths"]
    assert "put" in paths["/api/v2/records/{kind}"]
    names = {
        parameter["name"] for parameter in paths["/api/v2/records/{kind}"]["put"]["parameters"]
    }
    assert {"kind", "domain", "project", "force", "if-match"} <= names


async def test_every_operation_that_changes_something_has_a_dry_run(
    admin: httpx.AsyncClient,
) -> None:
    paths = (await admin.get("/openapi.json")).json()["paths"]
    names = {
        (method, path): {parameter["name"] for parameter in operation.get("parameters", ())}
        for path, methods in paths.items()
        for method, operation in methods.items()
        if method != "get"
    }
    assert names
    assert [key for key, parameters in names.items() if "dry_run" not in parameters] == []


async def test_without_a_token_file_the_api_is_open_to_this_machine(settings: AdminConfig) -> None:
    async with running(settings.model_copy(update={"token_file": None})) as admin:
        assert (await admin.get("/projects", headers={"Authorization": ""})).status_code == 200
