"""Retention of execution logs: bounded in the stream and in the database, and never too early."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from nats.aio.client import Client

from tests.databases import BOTH
from tests.integration.admin.logs import append, events_of
from tests.integration.admin.running import (
    execute,
    register,
    rows,
    until,
    workflow,
)
from trimtab.messages import subjects
from trimtab.messages.executions import Admitted, AnyEvent
from trimtab.messages.resolutions import Resolution, ResolvedValue
from trimtab.runtime import bus
from trimtab.runtime.connection import connect
from trimtab_admin.config import AdminConfig
from trimtab_admin.executions import states
from trimtab_admin.executions.projection import CatchUp, Projection
from trimtab_admin.executions.retention import LogDeletion, LogPurge
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import Sessions, reading_sessions_of, sessions_of


@pytest.fixture
async def sessions(settings: AdminConfig) -> AsyncIterator[Sessions]:
    sessions = sessions_of(settings.database_url)
    yield sessions
    await sessions.kw["bind"].dispose()


def log_of(execution: str) -> list[AnyEvent]:
    """Return a log whose resolution has a value."""
    values = (ResolvedValue(path="retries", value=3, source="engine"),)
    resolution = Resolution(revision=1, executor="process", nodes={"n0": values})
    log = events_of(execution)
    assert isinstance(log[1], Admitted)
    log[1] = log[1].model_copy(update={"resolution": resolution})
    return log


async def indices(settings: AdminConfig, execution: str) -> list[int]:
    stored = await rows(settings, tables.execution_events)
    return sorted(row["index"] for row in stored if row["execution"] == execution)


@BOTH
async def test_the_copy_of_an_old_log_is_deleted_except_for_state_and_resolution(
    admin: httpx.AsyncClient, settings: AdminConfig, sessions: Sessions
) -> None:
    await register(admin, workflow())
    done, begun = [(await execute(admin)).json()["id"] for _ in range(2)]
    projection = Projection(sessions)
    for event in (*log_of(done), *log_of(begun)[:5]):
        await projection.on_event(event)
    before = (await admin.get(f"/executions/{done}")).json()
    deletion = LogDeletion(sessions, days=1)
    await deletion.delete(log_of(done)[-1].at)
    assert len(await indices(settings, done)) == len(log_of(done))
    await deletion.delete(datetime.now(UTC))
    assert await indices(settings, done) == [1]
    assert await indices(settings, begun) == [0, 1, 2, 3, 4]
    assert (await admin.get(f"/executions/{done}")).json() == before
    assert before["resolution"]["nodes"]["n0"][0]["value"] == 3
    answer = await admin.get(f"/executions/{done}/events")
    assert answer.text == (
        ': following\n\nevent: ended\ndata: {"phase":"succeeded","error":""}\n\n'
    )


@BOTH
async def test_events_of_a_deleted_log_that_come_again_change_nothing(
    admin: httpx.AsyncClient,
    settings: AdminConfig,
    sessions: Sessions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await register(admin, workflow())
    done = (await execute(admin)).json()["id"]
    projection = Projection(sessions)
    for event in log_of(done):
        await projection.on_event(event)
    before = (await admin.get(f"/executions/{done}")).json()
    await LogDeletion(sessions, days=1).delete(datetime.now(UTC) + timedelta(days=1))
    # A release that reads logs by other rules cannot read this one again.
    monkeypatch.setattr(states, "RULES", states.RULES + 1)
    for event in log_of(done):
        await projection.on_event(event)
    reading = reading_sessions_of(settings.database_url)
    await CatchUp(sessions, reading).apply()
    await reading.kw["bind"].dispose()
    assert (await admin.get(f"/executions/{done}")).json() == before
    assert await indices(settings, done) == [1]


async def test_a_stream_that_is_almost_full_keeps_no_log_of_an_ended_execution(
    admin: httpx.AsyncClient, settings: AdminConfig
) -> None:
    await register(admin, workflow())
    done, begun = [(await execute(admin)).json()["id"] for _ in range(2)]
    async with connect(settings, "test") as client:
        await until(lambda: _is_declared(client))
        await append(client, *log_of(done), *log_of(begun)[:5])

        async def is_stored() -> bool:
            return (await admin.get(f"/executions/{done}")).json()["phase"] == "succeeded"

        await until(is_stored)
        reading = reading_sessions_of(settings.database_url)
        purge = LogPurge(client, reading, days=365)
        await purge.make_room()
        assert len(await _log(client, done)) == len(log_of(done))
        jetstream = client.jetstream()
        info = await jetstream.stream_info(subjects.EXECUTION_EVENTS)
        await jetstream.update_stream(replace(info.config, max_bytes=info.state.bytes + 1))
        await purge.make_room()
        await reading.kw["bind"].dispose()
        assert await _log(client, done) == []
        assert len(await _log(client, begun)) == 5


async def _log(client: Client, execution: str) -> list[bus.StoredMessage]:
    return await bus.read_all(client, subjects.EXECUTION_EVENTS, subjects.events(execution))


async def _is_declared(client: Client) -> bool:
    try:
        await client.jetstream().consumer_info(subjects.EXECUTION_EVENTS, subjects.ADMIN)
    except Exception:  # noqa: BLE001  # the streams are not there yet
        return False
    return True
