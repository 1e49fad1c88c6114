"""Executions of other releases: read where possible, else ended with a reason."""

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from nats.aio.client import Client
from sqlalchemy.ext.asyncio import create_async_engine

from tests.integration.admin.running import execute, register, rows, until, workflow
from trimtab.messages import subjects
from trimtab.runtime.connection import connect
from trimtab_admin.config import AdminConfig
from trimtab_admin.storage import tables

CLAIM = {"owner": "propeller-1", "epoch": 1, "at": "2026-01-02T03:04:05Z"}


@pytest.fixture
async def client(admin: httpx.AsyncClient, settings: AdminConfig) -> AsyncIterator[Client]:
    await register(admin, workflow())
    async with connect(settings, "test") as client:
        yield client


async def created(admin: httpx.AsyncClient) -> str:
    return str((await execute(admin)).json()["id"])


async def append(client: Client, execution: str, *events: dict[str, Any]) -> None:
    for index, event in enumerate(events):
        body = json.dumps({"execution": execution, "index": index, **CLAIM, **event})
        await client.jetstream().publish(subjects.events(execution), body.encode())


async def wait_for(admin: httpx.AsyncClient, execution: str, phase: str) -> dict[str, Any]:
    async def reached() -> dict[str, Any] | None:
        body: dict[str, Any] = (await admin.get(f"/executions/{execution}")).json()
        return body if body["phase"] == phase else None

    found: dict[str, Any] = await until(reached)
    return found


async def test_a_log_of_an_older_release_is_read_and_its_events_may_come_again(
    admin: httpx.AsyncClient, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    execution, node = await created(admin), {"node": "n0", "attempt": 0}
    await until(lambda: _is_declared(client))
    log = [
        {"type": "owned"},
        {"type": "node_running", **node, "place": "/tmp/n0"},
        {"type": "node_failed", **node, "error": "", "final": False, "lost": True},
        {"type": "succeeded", "output": 1},
    ]
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            await append(client, execution, *log)
        body = await wait_for(admin, execution, "succeeded")
        await until(lambda: _is_handled(client))
    assert body["nodes"]["n0"]["attempt"] == 1
    assert "projection.conflicting_event" not in caplog.messages


async def test_an_unreadable_event_ends_its_execution_with_a_reason(
    admin: httpx.AsyncClient, client: Client
) -> None:
    execution = await created(admin)
    await until(lambda: _is_declared(client))
    await append(client, execution, {"type": "owned"}, {"type": "paused"})
    body = await wait_for(admin, execution, "failed")
    assert body["error"].startswith(f"event 1 of the log of {execution} cannot be read")


async def test_an_unreadable_request_ends_its_execution_and_delays_no_other(
    admin: httpx.AsyncClient, client: Client, settings: AdminConfig
) -> None:
    execution = await created(admin)

    async def requested() -> bool:
        [stored] = await rows(settings, tables.executions)
        return stored["requested_in"] is not None

    await until(requested)
    engine = create_async_engine(settings.database_url)
    row = tables.executions.update().where(tables.executions.c.id == execution)
    async with engine.begin() as connection:
        await connection.execute(row.values(request="{}", requested_in=sa.null()))
    await engine.dispose()
    body = await wait_for(admin, execution, "failed")
    assert body["error"].startswith(f"the request of {execution} cannot be read")
    await created(admin)


async def _is_declared(client: Client) -> bool:
    try:
        await client.jetstream().consumer_info(subjects.EXECUTION_EVENTS, subjects.ADMIN)
    except Exception:  # noqa: BLE001  # the streams are not there yet
        return False
    return True


async def _is_handled(client: Client) -> bool:
    info = await client.jetstream().consumer_info(subjects.EXECUTION_EVENTS, subjects.ADMIN)
    return not info.num_pending and not info.num_ack_pending
