"""History: each change has a row with actor, time, reason, both bodies, request and trace."""

import json
from datetime import UTC, datetime, timedelta

import httpx

from tests.databases import BOTH
from tests.integration.admin.running import FORCE, SCOPE, rows
from trimtab_admin.config import AdminConfig
from trimtab_admin.storage import tables
from trimtab_admin.storage.tables import history

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


async def put(admin: httpx.AsyncClient, cpu: str, **headers: str) -> int:
    document = {"limits": {"cpu": cpu}}
    answer = await admin.put(
        "/records/task_resource", params=SCOPE | FORCE, headers=headers, json=document
    )
    version: int = answer.json()["version"]
    return version


async def test_a_change_is_recorded_with_its_author_reason_request_and_trace(
    admin: httpx.AsyncClient, settings: AdminConfig
) -> None:
    await put(admin, "1")
    headers = {"X-Trimtab-Reason": "quarter end", "X-Request-Id": "r-1", **TRACEPARENT}
    version = await put(admin, "2", **headers)
    row = (await rows(settings, history))[-1]
    assert (row["revision"], row["actor"], row["reason"]) == (version, "root", "quarter end")
    assert (row["request_id"], row["trace_id"]) == ("r-1", TRACE)
    assert datetime.now(UTC) - row["at"] < timedelta(minutes=1)
    before, after = (json.loads(row[name])["document"] for name in ("before", "after"))
    assert (before, after) == ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "2"}})


async def test_a_deletion_is_recorded_with_the_deleted_document(
    admin: httpx.AsyncClient, settings: AdminConfig
) -> None:
    await put(admin, "1")
    await admin.delete("/records/task_resource", params=SCOPE | FORCE)
    row = (await rows(settings, history))[-1]
    assert json.loads(row["before"])["document"] == {"limits": {"cpu": "1"}}
    assert row["after"] is None


async def test_a_write_that_is_rejected_or_changes_nothing_leaves_no_row(
    admin: httpx.AsyncClient, settings: AdminConfig
) -> None:
    await put(admin, "1")
    before = await rows(settings, history)
    await put(admin, "1")
    await admin.put("/records/task_resource", params=FORCE, json={"limits": {"cpu": "x"}})
    await admin.put("/records/task_resource", json={"limits": {"cpu": "2"}})
    assert await rows(settings, history) == before


async def test_the_outbox_carries_the_trace(
    admin: httpx.AsyncClient, settings: AdminConfig
) -> None:
    version = await put(admin, "1", **TRACEPARENT)
    [row] = [row for row in await rows(settings, tables.outbox) if row["revision"] == version]
    assert TRACE in row["traceparent"]


@BOTH
async def test_every_revision_has_its_row(admin: httpx.AsyncClient, settings: AdminConfig) -> None:
    for cpu in ("1", "2", "3"):
        await put(admin, cpu)
    [revision] = await rows(settings, tables.revision)
    numbers = [row["revision"] for row in await rows(settings, history)]
    assert numbers == list(range(1, revision["value"] + 1))
