"""The audit trail: its entries, its limits, and the throttling of refused calls."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from tests.integration.admin.callers import bearer, create_token, grant, token_headers
from tests.integration.admin.running import FORCE, SCOPE, rows, running
from trimtab_admin.config import AdminConfig
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import sessions_of, transaction

WRONG = bearer("trimtab_abcdefghij_" + "x" * 43)


async def entries_of(admin: httpx.AsyncClient, **params: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = (await admin.get("/audit", params=params)).json()
    return entries


async def test_an_unauthenticated_call_is_recorded_without_its_secret(
    admin: httpx.AsyncClient, settings: AdminConfig
) -> None:
    headers = {**WRONG, "X-Request-Id": "r-1"}
    await admin.delete("/records/task_resource", params=SCOPE, headers=headers)
    [entry] = await entries_of(admin)
    assert (entry["status"], entry["method"], entry["request_id"]) == (401, "DELETE", "r-1")
    assert (entry["path"], entry["client"]) == ("/api/v2/records/task_resource", "127.0.0.1")
    assert (entry["token"], entry["caller"]) == ("abcdefghij", "")
    assert datetime.now(UTC) - datetime.fromisoformat(entry["at"]) < timedelta(minutes=1)
    assert "xxx" not in str(await rows(settings, tables.audit_trail))


async def test_a_forbidden_call_is_recorded_with_caller_and_scope(
    admin: httpx.AsyncClient,
) -> None:
    created = await create_token(admin, "ci", grant("viewer", project="shop"))
    headers = bearer(created["secret"])
    await admin.put("/records/task_resource", params=SCOPE | FORCE, json={}, headers=headers)
    entry = (await entries_of(admin))[0]
    assert (entry["status"], entry["caller"], entry["token"]) == (403, "ci", created["id"])
    assert entry["scope"] == "project-domain shop/development"
    assert entry["reason"].startswith('User "ci" is not an editor of task_resource')


async def test_a_call_of_a_page_of_another_origin_is_recorded(admin: httpx.AsyncClient) -> None:
    await admin.get("/projects", headers={"Origin": "https://evil.example"})
    [entry] = await entries_of(admin)
    assert (entry["status"], "https://evil.example" in entry["reason"]) == (403, True)


async def test_calls_that_are_allowed_but_fail_are_not_recorded(admin: httpx.AsyncClient) -> None:
    await admin.get("/projects/nowhere")
    await admin.put("/records/task_resource", params=SCOPE, json={})
    assert await entries_of(admin) == []


async def test_changes_of_api_tokens_are_recorded(admin: httpx.AsyncClient) -> None:
    created = await create_token(admin, "ci", grant("viewer"))
    path = f"/tokens/{created['id']}"
    await admin.post(f"{path}/rotate", json={})
    await admin.delete(path)
    found = [(entry["caller"], entry["reason"]) for entry in await entries_of(admin)]
    expected = [
        f'API token "ci" ({created["id"]}) {what}'
        for what in ("was revoked", "was rotated", "was created")
    ]
    assert found == [("root", reason) for reason in expected]


async def test_only_an_admin_reads_the_audit_trail_page_by_page(admin: httpx.AsyncClient) -> None:
    for number in range(5):
        await admin.get("/kinds", headers={**WRONG, "X-Request-Id": f"r-{number}"})
    headers = await token_headers(admin, "ci", grant("editor"))
    assert (await admin.get("/audit", headers=headers)).status_code == 403
    first = await admin.get("/audit", params={"limit": "4"})
    second = await admin.get(f"http://127.0.0.1{first.links['next']['url']}")
    ids = [entry["request_id"] for entry in (*first.json(), *second.json())]
    assert ids[2:] == ["r-4", "r-3", "r-2", "r-1", "r-0"]


async def test_the_audit_trail_is_filtered_by_status_caller_address_and_time(
    admin: httpx.AsyncClient,
) -> None:
    headers = await token_headers(admin, "ci", grant("viewer", project="shop"))
    await admin.get("/audit", headers=headers)
    await admin.get("/kinds", headers=WRONG)
    hour = timedelta(hours=1)
    past, future = datetime.now(UTC) - hour, datetime.now(UTC) + hour
    elsewhere = timezone(timedelta(hours=-12))
    filters: list[tuple[dict[str, str], list[int]]] = [
        ({"status": "403"}, [403]),
        ({"caller": "ci"}, [403]),
        ({"client": "127.0.0.1", "limit": "2"}, [401, 403]),
        ({"client": "127.0.0.2"}, []),
        ({"since": past.astimezone(elsewhere).isoformat(), "status": "401"}, [401]),
        ({"since": future.astimezone(elsewhere).isoformat()}, []),
    ]
    for params, statuses in filters:
        assert [entry["status"] for entry in await entries_of(admin, **params)] == statuses


@pytest.mark.parametrize("since", ["yesterday", "2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00"])
async def test_an_invalid_time_is_refused(admin: httpx.AsyncClient, since: str) -> None:
    response = await admin.get("/audit", params={"since": since})
    assert (response.status_code, response.json()["path"]) == (400, "since")


async def test_the_audit_trail_is_limited_by_rows_and_age(
    settings: AdminConfig,
) -> None:
    limited = settings.model_copy(update={"audit_rows": 3, "audit_days": 1})
    async with running(limited) as admin:
        for number in range(5):
            await admin.get("/kinds", headers={**WRONG, "X-Request-Id": f"r-{number}"})
        assert [entry["request_id"] for entry in await entries_of(admin)] == ["r-4", "r-3", "r-2"]
        await age_entries(settings, timedelta(days=2))
        await admin.get("/kinds", headers={**WRONG, "X-Request-Id": "now"})
        assert [entry["request_id"] for entry in await entries_of(admin)] == ["now"]


async def age_entries(settings: AdminConfig, by: timedelta) -> None:
    """Set the time of every entry to some time ago."""
    sessions = sessions_of(settings.database_url)
    async with transaction(sessions) as session:
        await session.execute(sa.update(tables.audit_trail).values(at=datetime.now(UTC) - by))
    await sessions.kw["bind"].dispose()


async def test_refused_calls_are_throttled_and_a_valid_token_never_is(
    settings: AdminConfig,
) -> None:
    async with running(settings.model_copy(update={"failed_tries_per_minute": 3})) as admin:
        responses = [await admin.get("/kinds", headers=WRONG) for _ in range(6)]
        assert [response.status_code for response in responses] == [401] * 3 + [429] * 3
        assert 1 <= int(responses[-1].headers["retry-after"]) <= 20
        assert responses[-1].headers["content-type"] == "application/problem+json"
        assert (await admin.get("/kinds")).status_code == 200
        # One entry stands for all throttled calls, and the next entry counts the others.
        assert [entry["status"] for entry in await entries_of(admin)] == [429, 401, 401, 401]
        await admin.get("/audit", headers=await token_headers(admin, "ci", grant("viewer")))
        counted = "; 2 calls of all clients were throttled since the last entry"
        entry = (await entries_of(admin))[0]
        assert (entry["status"], entry["reason"].endswith(counted)) == (403, True)


async def test_refused_calls_of_a_valid_token_are_counted_by_name(
    settings: AdminConfig,
) -> None:
    async with running(settings.model_copy(update={"failed_tries_per_minute": 3})) as admin:
        headers = await token_headers(admin, "ci", grant("viewer"))
        responses = [await admin.get("/tokens", headers=headers) for _ in range(4)]
        assert [response.status_code for response in responses] == [403] * 3 + [429]
        assert (await admin.get("/kinds", headers=headers)).status_code == 200
        assert (await admin.get("/kinds", headers=WRONG)).status_code == 401
