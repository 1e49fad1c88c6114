"""API tokens: created, rotated, revoked, expired; what the database stores of them."""

import asyncio
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.integration.admin.callers import bearer, create_token, grant, status, token_headers
from tests.integration.admin.running import TOKEN, rows, running
from tests.servers import PATIENCE_SECONDS
from trimtab_admin.access.credentials import Credential, hash_secret
from trimtab_admin.config import AdminConfig
from trimtab_admin.storage import tables

pytestmark = pytest.mark.asyncio(loop_scope="module")

VIEWER = grant("viewer")


async def test_a_secret_authenticates_and_is_returned_only_once(shared: httpx.AsyncClient) -> None:
    created = await create_token(shared, "ci-1", VIEWER)
    assert created["secret"].startswith(f"trimtab_{created['id']}_")
    assert await status(shared, bearer(created["secret"])) == 200
    listed = {token["id"]: token for token in (await shared.get("/tokens")).json()}
    assert "secret" not in listed[created["id"]]
    assert (listed[created["id"]]["name"], created["created_by"]) == ("ci-1", "root")


async def test_a_dry_run_returns_no_secret_and_changes_no_token(shared: httpx.AsyncClient) -> None:
    created = await create_token(shared, "ci-dry", VIEWER)
    before, dry_run = (await shared.get("/tokens")).json(), {"dry_run": "true"}
    path = f"/tokens/{created['id']}"
    answers = (
        await shared.post("/tokens", params=dry_run, json={"name": "new", "grants": [VIEWER]}),
        await shared.post(f"{path}/rotate", params=dry_run, json={}),
        await shared.delete(path, params=dry_run),
    )
    assert [(each.status_code, "secret" in each.json()) for each in answers] == [(200, False)] * 3
    assert answers[2].json()["revoked_at"] is not None
    assert (await shared.get("/tokens")).json() == before
    assert await status(shared, bearer(created["secret"])) == 200


async def test_the_database_never_contains_the_secret(
    shared: httpx.AsyncClient, shared_settings: AdminConfig
) -> None:
    created = await create_token(shared, "ci-2", VIEWER)
    await shared.post(f"/tokens/{created['id']}/rotate", json={})
    secret = created["secret"].split("_", 2)[2].encode()
    stored = await rows(shared_settings, tables.api_tokens)
    database = Path(shared_settings.database_url.partition("///")[2])
    assert created["id"] in {row["id"] for row in stored}
    files = [file.read_bytes() for file in database.parent.glob(f"{database.name}*")]
    assert len(files) > 1  # the write-ahead log too
    assert not any(secret in content for content in files)


async def test_a_secret_with_a_changed_letter_is_refused(shared: httpx.AsyncClient) -> None:
    secret = (await create_token(shared, "ci-3", VIEWER))["secret"]
    other = "x" if secret[-1] != "x" else "y"
    assert await status(shared, bearer(secret[:-1] + other)) == 401
    assert await status(shared, bearer(secret + "x")) == 401


async def test_hashes_are_compared_in_constant_time(
    shared: httpx.AsyncClient, shared_settings: AdminConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []

    def compare(given: str, stored: str) -> bool:
        compared.append(stored)
        return given == stored

    created = await create_token(shared, "ci-9", VIEWER)
    monkeypatch.setattr(secrets, "compare_digest", compare)
    credential = Credential(created["id"], "x" * 43)
    assert await status(shared, bearer(str(credential))) == 401
    assert await status(shared, bearer(created["secret"])) == 200
    stored = {
        row["id"]: row["secret_hash"] for row in await rows(shared_settings, tables.api_tokens)
    }
    assert compared.count(stored[created["id"]]) == 2
    assert compared.count(hash_secret(TOKEN)) >= 2


async def test_after_a_rotation_the_old_secret_is_valid_until_the_grace_is_over(
    shared: httpx.AsyncClient,
) -> None:
    first = await create_token(shared, "ci-4", VIEWER)
    path = f"/tokens/{first['id']}/rotate"
    second = (await shared.post(path, json={"grace_seconds": 60})).json()
    assert [await status(shared, bearer(each["secret"])) for each in (first, second)] == [200, 200]
    third = (await shared.post(path, json={"grace_seconds": 0})).json()
    tried = [await status(shared, bearer(each["secret"])) for each in (first, second, third)]
    assert tried == [401, 401, 200]


async def test_a_revoked_token_is_refused_permanently(
    shared: httpx.AsyncClient,
) -> None:
    created = await create_token(shared, "ci-5", VIEWER)
    path = f"/tokens/{created['id']}"
    assert await status(shared, bearer(created["secret"])) == 200
    first, second = await shared.delete(path), await shared.delete(path)
    assert first.json()["revoked_at"] == second.json()["revoked_at"] is not None
    response = await shared.get("/kinds", headers=bearer(created["secret"]))
    assert (response.status_code, response.json()["detail"]) == (401, 'API token "ci-5" is revoked')
    assert (await shared.post(f"{path}/rotate", json={})).status_code == 409


async def test_a_revocation_takes_effect_at_other_admins(
    shared: httpx.AsyncClient, shared_settings: AdminConfig
) -> None:
    created = await create_token(shared, "ci-6", VIEWER)
    async with running(shared_settings) as other:
        assert await status(other, bearer(created["secret"])) == 200
        await shared.delete(f"/tokens/{created['id']}")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await status(other, bearer(created["secret"])) == 200:
                await asyncio.sleep(0.1)


async def test_expiry_ends_the_watches_of_a_token(shared: httpx.AsyncClient) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        for seconds in (2, 8, 32):  # on a busy machine the token may expire before the watch begins
            soon = datetime.now(UTC) + timedelta(seconds=seconds)
            headers = await token_headers(
                shared, f"for-{seconds}", VIEWER, expires_at=soon.isoformat()
            )
            if await status(shared, headers, "/watch") == 200:
                break
    response = await shared.get("/kinds", headers=headers)
    assert (response.status_code, seconds < 32) == (401, True)
    assert "has expired" in response.json()["detail"]


async def test_a_revocation_ends_watches_at_all_admins(
    shared: httpx.AsyncClient, shared_settings: AdminConfig
) -> None:
    created = await create_token(shared, "ci-7", VIEWER)
    headers = bearer(created["secret"])
    async with running(shared_settings) as other, asyncio.timeout(PATIENCE_SECONDS):
        watches = [
            asyncio.create_task(status(admin, headers, "/watch")) for admin in (shared, other)
        ]
        while await last_used(shared, created["id"]) is None:
            await asyncio.sleep(0.1)
        assert not any(watch.done() for watch in watches)
        await shared.delete(f"/tokens/{created['id']}")
        assert await asyncio.gather(*watches) == [200, 200]


async def test_the_last_use_of_a_token_is_stored(shared: httpx.AsyncClient) -> None:
    created = await create_token(shared, "ci-8", VIEWER)
    await status(shared, bearer(created["secret"]))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (used := await last_used(shared, created["id"])) is None:
            await asyncio.sleep(0.1)
    assert datetime.now(UTC) - datetime.fromisoformat(used) < timedelta(minutes=1)


async def last_used(admin: httpx.AsyncClient, id: str) -> str | None:
    found: str | None = (await admin.get(f"/tokens/{id}")).json().get("last_used_at")
    return found


async def test_the_name_of_a_token_is_never_used_again(shared: httpx.AsyncClient) -> None:
    revoked = await create_token(shared, "gone", VIEWER)
    await shared.delete(f"/tokens/{revoked['id']}")
    for name in ("gone", "root", "anonymous"):
        response = await shared.post("/tokens", json={"name": name, "grants": [VIEWER]})
        assert response.status_code == 409


@pytest.mark.parametrize(
    ("change", "status", "path"),
    [
        ({"name": "settings file"}, 400, "name"),
        ({"grants": []}, 400, "grants"),
        ({"grants": [grant("owner")]}, 400, "grants.0.role"),
        ({"grants": [grant("viewer", workflow="nightly")]}, 400, "project"),
        ({"grants": [grant("viewer", project="nowhere")]}, 404, "project"),
        ({"grants": [grant("viewer", "task_resources")]}, 404, "kind"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, 400, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-23:59"}, 400, "expires_at"),
        ({"expires_at": "2030-01-01T00:00:00"}, 400, "expires_at"),
        ({"secret": "mine"}, 400, "secret"),
    ],
)
async def test_a_token_that_is_not_valid_is_not_created(
    shared: httpx.AsyncClient, change: dict[str, object], status: int, path: str
) -> None:
    body = {"name": "never", "grants": [VIEWER], **change}
    response = await shared.post("/tokens", json=body)
    assert (response.status_code, response.json()["path"]) == (status, path)
    assert "never" not in [token["name"] for token in (await shared.get("/tokens")).json()]


async def test_the_first_token_closes_an_open_api(settings: AdminConfig) -> None:
    async with running(settings.model_copy(update={"token_file": None})) as admin:
        assert await status(admin, {"Authorization": ""}) == 200
        refused = await admin.post("/tokens", json={"name": "ci", "grants": [VIEWER]})
        assert (refused.status_code, refused.json()["path"]) == (400, "grants")
        watch = asyncio.create_task(status(admin, {"Authorization": ""}, "/watch"))
        created = await create_token(admin, "me", grant("admin"))
        # The token may be created before the watch is authenticated.
        assert await asyncio.wait_for(watch, PATIENCE_SECONDS) in (200, 401)
        assert await status(admin, {"Authorization": ""}) == 401
        assert await status(admin, bearer(TOKEN)) == 401
        headers = bearer(created["secret"])
        await admin.delete(f"/tokens/{created['id']}", headers=headers)
        assert await status(admin, headers) == await status(admin, {"Authorization": ""}) == 401


async def test_history_names_the_token_as_the_actor(shared: httpx.AsyncClient) -> None:
    headers = await token_headers(shared, "ann@example.com", grant("editor", project="lab"))
    await shared.put(
        "/records/execution_queue",
        params={"project": "lab", "force": "true"},
        json={"tags": ["gpu"]},
        headers=headers,
    )
    [change] = (await shared.get("/history", params={"kind": "execution_queue"})).json()
    assert change["actor"] == "ann@example.com"
