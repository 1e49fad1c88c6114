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

from tests import strays
from tests.integration.admin.running import execute, register, rows, until, workflow
from tests.servers import NatsServer
from tests.strays import Stray
from trimtab.messages import subjects
from trimtab.messages.executions import logged_event
from trimtab.runtime import bus
from trimtab.runtime.connection import connect
from trimtab_admin.config import AdminConfig
from trimtab_admin.storage import tables

CLAIM = {"owner": "propeller-1", "epoch": 1, "at": "2026-01-02T03:04:05Z"}
FOREIGN = [b"", b"{}", b"\xff", b"[" * 100_000, b"9" * 10_000]
NAMES = ["e2", "=00", "a.b", "=", "x" * 3000]
"""Names at the end of a subject that is not the one of the log."""


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
    await append(client, execution, {"type": "owned"}, {"type": "node_running"})
    body = await wait_for(admin, execution, "failed")
    assert body["error"].startswith(f"event 1 of the log of {execution} cannot be read")


async def test_events_of_a_later_release_are_stored_and_the_execution_goes_on(
    admin: httpx.AsyncClient, client: Client, settings: AdminConfig
) -> None:
    execution = await created(admin)
    await until(lambda: _is_declared(client))
    paused = {"type": "paused", "until": ["tomorrow"]}
    await append(client, execution, {"type": "owned"}, paused, {"type": "succeeded", "output": 1})
    assert (await wait_for(admin, execution, "succeeded"))["output"] == 1
    stored = await rows(settings, tables.execution_events)
    [body] = [json.loads(row["body"]) for row in stored if row["index"] == 1]
    assert body == {"execution": execution, "index": 1, **CLAIM, **paused}


async def test_an_execution_that_a_later_release_ended_has_ended(
    admin: httpx.AsyncClient, client: Client
) -> None:
    execution = await created(admin)
    await until(lambda: _is_declared(client))
    cancelled = {"type": "cancelled", "ends": True, "message": "by ann"}
    await append(client, execution, {"type": "owned"}, cancelled)
    body = await wait_for(admin, execution, "failed")
    assert body["error"].endswith("'cancelled', which only a later release knows: by ann")


async def test_a_foreign_message_in_a_log_becomes_a_dead_letter_and_changes_nothing(
    admin: httpx.AsyncClient, client: Client, nats_server: NatsServer
) -> None:
    execution = await created(admin)
    await until(lambda: _is_declared(client))
    succeeded = {"execution": execution, "index": 0, **CLAIM, "type": "succeeded"}
    prefix = subjects.events("").removesuffix("-")
    foreign = [
        *[Stray(subjects.events(execution).encode(), None, body) for body in FOREIGN],
        *[Stray((prefix + name).encode(), None, json.dumps(succeeded).encode()) for name in NAMES],
    ]
    await strays.publish(nats_server, foreign)
    await append(client, execution, {"type": "owned"})
    await wait_for(admin, execution, "running")
    await until(lambda: _is_handled(client))
    dead = subjects.dead(subjects.EXECUTION_EVENTS, subjects.ADMIN)
    letters = await bus.read_all(client, subjects.DEAD_LETTERS, dead)
    bodies = sorted(letter.body for letter in letters)
    assert bodies == sorted(stray.body for stray in foreign)
    assert (await admin.get(f"/executions/{execution}")).json()["phase"] == "running"


async def test_a_log_that_was_lost_is_restored_behind_foreign_messages(
    admin: httpx.AsyncClient, client: Client
) -> None:
    execution = await created(admin)
    await until(lambda: _is_declared(client))
    await append(client, execution, {"type": "owned"}, {"type": "paused"})
    await wait_for(admin, execution, "running")
    await until(lambda: _is_handled(client))
    jetstream = client.jetstream()
    declared = (await jetstream.stream_info(subjects.EXECUTION_EVENTS)).config
    await jetstream.delete_stream(subjects.EXECUTION_EVENTS)
    await jetstream.add_stream(declared)
    await client.publish(subjects.events(execution), b"{}")

    async def restored() -> bool:
        subject = subjects.events(execution)
        stored = await bus.read_all(client, subjects.EXECUTION_EVENTS, subject)
        found = [logged_event(each.subject, each.body) for each in stored]
        return [event and event.type for event in found] == [None, "owned", "paused"]

    await until(restored)


async def test_an_unreadable_request_ends_its_execution_and_delays_no_other(
    admin: httpx.AsyncClient, client: Client, settings: AdminConfig
) -> None:
    execution, other = await created(admin), await created(admin)
    await until_requested(settings)
    [before, _] = await rows(settings, tables.executions)
    row = tables.executions.update().where(tables.executions.c.id == execution)
    await write(settings, row.values(request="{}"), PENDING)
    body = await wait_for(admin, execution, "failed")
    assert body["error"].startswith(f"the request of {execution} cannot be read")
    await until_requested(settings, other)
    [after] = [r for r in await rows(settings, tables.executions) if r["id"] == execution]
    assert after["updated_at"] > before["updated_at"]


async def test_an_execution_that_is_running_is_not_ended_by_its_unreadable_row(
    admin: httpx.AsyncClient, client: Client, settings: AdminConfig
) -> None:
    execution, other = await created(admin), await created(admin)
    await until_requested(settings)
    await append(client, execution, {"type": "owned"})
    await wait_for(admin, execution, "running")
    row = tables.executions.update().where(tables.executions.c.id == execution)
    await write(settings, row.values(request="{}"), PENDING)
    await until_requested(settings, other)
    await append(client, other, {"type": "owned"})
    await wait_for(admin, other, "running")
    assert (await admin.get(f"/executions/{execution}")).json()["phase"] == "running"


async def test_a_request_that_cannot_be_published_delays_no_other(
    admin: httpx.AsyncClient, client: Client, settings: AdminConfig
) -> None:
    execution, other = await created(admin), await created(admin)
    await until_requested(settings)
    event = {"execution": execution, "index": 0, "body": "{}"}
    await write(settings, tables.execution_events.insert().values(event), PENDING)
    await until_requested(settings, other)
    [stored] = [r for r in await rows(settings, tables.executions) if r["id"] == execution]
    assert (stored["requested_in"], stored["phase"]) == (None, "requested")


PENDING = tables.executions.update().values(requested_in=sa.null())
"""Has all executions requested again."""


async def write(settings: AdminConfig, *statements: sa.Executable) -> None:
    """Change the database without admin, in one transaction."""
    engine = create_async_engine(settings.database_url)
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(statement)
    await engine.dispose()


async def until_requested(settings: AdminConfig, *executions: str) -> None:
    """Wait until these executions, or all, are requested in the streams."""

    async def requested() -> bool:
        stored = await rows(settings, tables.executions)
        wanted = [row for row in stored if not executions or row["id"] in executions]
        return all(row["requested_in"] is not None for row in wanted)

    await until(requested)


async def _is_declared(client: Client) -> bool:
    try:
        await client.jetstream().consumer_info(subjects.EXECUTION_EVENTS, subjects.ADMIN)
    except Exception:  # noqa: BLE001  # the streams are not there yet
        return False
    return True


async def _is_handled(client: Client) -> bool:
    info = await client.jetstream().consumer_info(subjects.EXECUTION_EVENTS, subjects.ADMIN)
    return not info.num_pending and not info.num_ack_pending
