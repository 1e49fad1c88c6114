"""Watches: changes in order, from the revision where a client left off, without gaps."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.databases import BOTH
from tests.integration.admin.running import FORCE, SCOPE, TOKEN, running, settings_for
from tests.integration.admin.test_process import environment, process
from tests.servers import PATIENCE_SECONDS, NatsServer
from trimtab.api.settings import DocumentBody, HistoryBody
from trimtab.client import Client
from trimtab_admin.access.authorization import ROOT
from trimtab_admin.config import AdminConfig
from trimtab_admin.settings.history import History, HistoryFilter
from trimtab_admin.settings.watching import Watches
from trimtab_admin.storage.database import reading_sessions_of, sessions_of
from trimtab_admin.storage.maintenance import HistoryRetention

RECORD = "/records/task_resource"


@pytest.fixture
async def watches(settings: AdminConfig) -> AsyncIterator[Watches]:
    """Return the watches of another replica, which this one's commits do not wake."""
    sessions = reading_sessions_of(settings.database_url)
    yield Watches(History(sessions, sessions), heartbeat_seconds=0.1)
    await sessions.kw["bind"].dispose()


async def put(admin: httpx.AsyncClient, cpu: str, **params: str) -> int:
    document = {"limits": {"cpu": cpu}}
    answer = await admin.put(RECORD, params=params | FORCE, json=document)
    version: int = answer.json()["version"]
    return version


async def take(events: AsyncIterator[str], number: int) -> list[dict[str, Any]]:
    """Return the next changes; heartbeats are skipped."""
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(seen) < number:
            lines = (await anext(events)).splitlines()
            seen += [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    return seen


async def test_a_watch_yields_past_changes_and_then_each_new_one(
    admin: httpx.AsyncClient, watches: Watches
) -> None:
    first = await put(admin, "1")
    async with aclosing(watches.events(HistoryFilter(ROOT), first - 1)) as events:
        assert [change["revision"] for change in await take(events, 1)] == [first]
        second = await put(admin, "2", **SCOPE)
        [change] = await take(events, 1)
    assert (change["revision"], change["scope"]["project"]) == (second, "shop")
    assert change["after"] == {"limits": {"cpu": "2"}}


@BOTH
async def test_changes_of_a_transaction_come_in_order_during_concurrent_writes(
    admin: httpx.AsyncClient, watches: Watches
) -> None:
    start = await put(admin, "1")
    documents = [
        {"kind": "workflow_priority", **SCOPE, "workflow": f"w{n}", "document": {"priority": n}}
        for n in range(10)
    ]
    async with aclosing(watches.events(HistoryFilter(ROOT), start)) as events:
        await asyncio.gather(
            admin.post("/apply", json={"documents": documents}),
            *(put(admin, str(cpu), **SCOPE) for cpu in range(2, 7)),
        )
        seen = await take(events, 15)
    revisions = [change["revision"] for change in seen]
    assert revisions == list(range(start + 1, start + 16))
    together = [change for change in seen if change["kind"] == "workflow_priority"]
    assert len({change["commit"] for change in together}) == 1
    assert together[-1]["revision"] == together[0]["commit"]


async def test_a_heartbeat_advances_past_changes_that_are_filtered_out(
    admin: httpx.AsyncClient, watches: Watches
) -> None:
    last = await put(admin, "1")
    async with aclosing(watches.events(HistoryFilter(ROOT, kind="workflow_priority"), 0)) as events:
        async with asyncio.timeout(PATIENCE_SECONDS):
            heartbeat = await anext(events)
    assert heartbeat == f": heartbeat\nid: {last}\n\n"


async def test_a_watch_ends_when_it_is_stopped(admin: httpx.AsyncClient, watches: Watches) -> None:
    watches.stop()
    assert [event async for event in watches.events(HistoryFilter(ROOT), 0)] == []


@pytest.mark.parametrize("how", ["query", "header"])
async def test_a_revision_that_the_database_never_had_is_gone(
    admin: httpx.AsyncClient, how: str
) -> None:
    given: dict[str, Any] = (
        {"params": {"since": "999"}} if how == "query" else {"headers": {"Last-Event-ID": "999"}}
    )
    answer = await admin.get("/watch", **given)
    assert (answer.status_code, "read everything again" in answer.text) == (410, True)


@BOTH
async def test_a_revision_before_the_kept_history_is_gone(
    admin: httpx.AsyncClient, settings: AdminConfig
) -> None:
    old = [await put(admin, "1"), await put(admin, "2")]
    sessions = sessions_of(settings.database_url)
    await HistoryRetention(sessions, days=1).delete(datetime.now(UTC) + timedelta(seconds=1))
    await sessions.kw["bind"].dispose()
    answer = await admin.get("/watch", params={"since": str(old[0])})
    assert (answer.status_code, f"those since {old[1]} are" in answer.text) == (410, True)
    # The last change of each live record is kept indefinitely.
    kept = (await admin.get(f"{RECORD}/history")).json()
    assert [row["revision"] for row in kept] == [old[1]]


async def test_deleting_old_history_does_not_repeat_declarations_of_the_settings_file(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    declaring = settings_for(tmp_path, nats_server.url, pools=[{"name": "gpu", "quota": 2}])
    async with running(declaring) as admin:
        await admin.put("/pools/gpu", params=FORCE, json={"name": "gpu", "quota": 5})
    sessions = sessions_of(declaring.database_url)
    await HistoryRetention(sessions, days=1).delete(datetime.now(UTC) + timedelta(seconds=1))
    await sessions.kw["bind"].dispose()
    async with running(declaring) as admin:
        assert (await admin.get("/pools/gpu")).json()["quota"] == 5


async def test_a_client_resumes_after_admin_was_killed_and_misses_nothing(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    variables = environment(tmp_path, nats_server.url)
    seen: list[HistoryBody] = []
    async with Client(f"http://127.0.0.1:{variables['TRIMTAB_PORT']}", TOKEN) as client:
        for round_, how in enumerate((signal.SIGKILL, signal.SIGTERM)):
            async with process(variables, how):
                if round_ == 0:
                    watch = client.settings.watch(kind="task_resource", since=0)
                for cpu in range(10):
                    document = DocumentBody(
                        kind="task_resource", document={"limits": {"cpu": f"{round_}{cpu}"}}
                    )
                    await client.settings.apply([document])
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        seen.append(await anext(watch))
        await watch.aclose()
    cpus = [(change.after or {})["limits"]["cpu"] for change in seen]
    assert cpus == [f"{round_}{cpu}" for round_ in range(2) for cpu in range(10)]
