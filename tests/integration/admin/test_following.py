"""Following executions: every change once and in order, from where a client left off."""

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from nats.aio.client import Client as NatsClient

from tests.databases import BOTH
from tests.integration.admin.callers import grant, status, token_headers
from tests.integration.admin.logs import append, events_of
from tests.integration.admin.running import (
    SCOPE,
    TOKEN,
    execute,
    register,
    until,
    workflow,
)
from tests.servers import PATIENCE_SECONDS, free_port
from trimtab.api.executions import NodeBody
from trimtab.client import Client
from trimtab.messages import subjects
from trimtab.runtime.connection import connect
from trimtab_admin.access.authorization import ROOT
from trimtab_admin.app import build, prepare
from trimtab_admin.config import AdminConfig
from trimtab_admin.executions import following as following_module
from trimtab_admin.executions.following import ExecutionStreams, TooManyStreams
from trimtab_admin.executions.projection import Projection
from trimtab_admin.storage.database import reading_sessions_of, sessions_of

HOUR = 3600.0


@asynccontextmanager
async def following_of(settings: AdminConfig, **seconds: float) -> AsyncIterator[ExecutionStreams]:
    """Return the streams of another replica, which the storing one wakes only by hints."""
    reading = reading_sessions_of(settings.database_url)
    yield ExecutionStreams(reading, **seconds)
    await reading.kw["bind"].dispose()


@pytest.fixture
async def projection(settings: AdminConfig) -> AsyncIterator[Projection]:
    sessions = sessions_of(settings.database_url)
    yield Projection(sessions)
    await sessions.kw["bind"].dispose()


@pytest.fixture
async def execution(admin: httpx.AsyncClient) -> str:
    await register(admin, workflow())
    return str((await execute(admin)).json()["id"])


async def stream(
    following: ExecutionStreams, execution: str, start: int = 0, *, allowed: bool = True
) -> AsyncIterator[str]:
    async def is_allowed() -> bool:
        return allowed

    followed = await following.find(execution, ROOT)
    async with aclosing(following.events(followed, start, ROOT, is_allowed)) as texts:
        async for text in texts:
            yield text


def indices(texts: list[str]) -> list[int]:
    return [int(text.split("\n")[0][4:]) for text in texts if text.startswith("id: ")]


@BOTH
async def test_an_ended_execution_is_followed_to_its_end_and_resumed(
    admin: httpx.AsyncClient, execution: str, projection: Projection
) -> None:
    log = events_of(execution)
    for event in log:
        await projection.on_event(event)
    path = f"/executions/{execution}/events"
    answer = await admin.get(path)
    assert answer.headers["content-type"].startswith("text/event-stream")
    texts = answer.text.split("\n\n")
    assert indices(texts) == list(range(len(log)))
    changes = [json.loads(text.split("data: ")[1]) for text in texts if "event: change" in text]
    assert [change["phase"] for change in changes] == ["running", *[None] * 7, "succeeded"]
    assert changes[2]["state"] == {
        "task": "load",
        "phase": "starting",
        "attempt": 1,
        "reason": "",
        "output": None,
    }
    assert texts[-2] == 'event: ended\ndata: {"phase":"succeeded","error":""}'
    last = {"Last-Event-ID": "3"}
    # A client that connects again repeats the address that it began with.
    for params, headers in (({"since": "3"}, {}), ({}, last), ({"since": "1"}, last)):
        resumed = await admin.get(path, params=params, headers=headers)
        assert indices(resumed.text.split("\n\n")) == list(range(4, len(log)))


async def test_a_stream_has_neither_the_request_nor_the_resolution(
    admin: httpx.AsyncClient, execution: str, projection: Projection
) -> None:
    for event in events_of(execution):
        await projection.on_event(event)
    text = (await admin.get(f"/executions/{execution}/events")).text
    assert "def load" not in text
    assert "executor" not in text


async def test_changes_arrive_by_the_hint_of_the_admin_that_stored_them(
    admin: httpx.AsyncClient, execution: str, settings: AdminConfig
) -> None:
    async with (
        following_of(settings, poll_seconds=HOUR, heartbeat_seconds=HOUR) as following,
        connect(settings, "test") as client,
    ):

        async def on_hint(message: Any) -> None:
            following.wake(subjects.name_of(message.subject))

        await client.subscribe(subjects.ALL_STORED, cb=on_hint)
        await client.flush()
        await until(lambda: _is_declared(client))
        texts: list[str] = []
        async with aclosing(stream(following, execution)) as streaming:
            for event in events_of(execution):
                await append(client, event)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while not texts or indices(texts)[-1:] != [event.index]:
                        texts.append(await anext(streaming))
        assert indices(texts) == list(range(len(events_of(execution))))


async def test_changes_arrive_without_a_hint_and_heartbeats_meanwhile(
    admin: httpx.AsyncClient, execution: str, settings: AdminConfig, projection: Projection
) -> None:
    async with (
        following_of(settings, poll_seconds=0.02, heartbeat_seconds=0.05) as following,
        aclosing(stream(following, execution)) as texts,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        assert await anext(texts) == ": following\n\n"
        assert await anext(texts) == ": heartbeat\n\n"
        await projection.on_event(events_of(execution)[0])
        while not (text := await anext(texts)).startswith("id: 0\n"):
            assert text == ": heartbeat\n\n"


async def test_a_log_of_several_batches_is_sent_whole_and_without_a_pause(
    admin: httpx.AsyncClient,
    execution: str,
    settings: AdminConfig,
    projection: Projection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following_module, "_BATCH", 2)
    log = events_of(execution)
    for event in log:
        await projection.on_event(event)
    async with (
        following_of(settings, poll_seconds=HOUR, heartbeat_seconds=HOUR) as following,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        texts = [text async for text in stream(following, execution)]
    assert indices(texts) == list(range(len(log)))
    assert texts[-1].startswith("event: ended")


async def test_clients_that_do_not_read_on_hold_no_connection_to_the_database(
    admin: httpx.AsyncClient, execution: str, settings: AdminConfig, projection: Projection
) -> None:
    for event in events_of(execution):
        await projection.on_event(event)
    async with following_of(settings) as following, AsyncExitStack() as stack:
        for _ in range(10):  # the pool has fewer connections
            texts = await stack.enter_async_context(aclosing(stream(following, execution)))
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert indices([await anext(texts), await anext(texts)]) == [0]
        assert following._reading.kw["bind"].pool.checkedout() == 0


async def test_an_event_after_a_gap_is_not_sent_before_the_gap_is_filled(
    admin: httpx.AsyncClient, execution: str, settings: AdminConfig, projection: Projection
) -> None:
    log = events_of(execution)
    async with (
        following_of(settings, poll_seconds=0.02, heartbeat_seconds=0.05) as following,
        aclosing(stream(following, execution)) as texts,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        for event in (log[0], log[2]):
            await projection.on_event(event)
        seen = [await anext(texts) for _ in range(4)]
        assert indices(seen) == [0]
        await projection.on_event(log[1])
        while len(indices(seen)) < 3:
            seen.append(await anext(texts))
        assert indices(seen) == [0, 1, 2]


async def test_a_stream_ends_when_its_admin_stops_and_when_its_caller_loses_access(
    admin: httpx.AsyncClient, execution: str, settings: AdminConfig
) -> None:
    async with following_of(settings) as following:
        refused = [text async for text in stream(following, execution, allowed=False)]
        assert refused == [": following\n\n"]
        texts = stream(following, execution)
        assert await anext(texts) == ": following\n\n"
        ending = asyncio.ensure_future(anext(texts, "ended"))
        await asyncio.sleep(0)
        following.stop()
        assert await ending == "ended"


async def test_a_caller_has_a_bounded_number_of_streams(
    admin: httpx.AsyncClient,
    execution: str,
    settings: AdminConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following_module, "MAX_STREAMS", 2)
    async with following_of(settings) as following:
        texts = [stream(following, execution) for _ in range(2)]
        for each in texts:
            following.check_room(ROOT)
            await anext(each)
        with pytest.raises(TooManyStreams, match="at most 2 executions"):
            following.check_room(ROOT)
        # It had room when it was found, as others had at the same time.
        assert [text async for text in stream(following, execution)] == []
        await texts[0].aclose()  # type: ignore[attr-defined]
        following.check_room(ROOT)
        await texts[1].aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("given", [{"params": {"since": "9"}}, {"headers": {"Last-Event-ID": "9"}}])
async def test_an_index_that_the_log_never_had_is_rejected(
    admin: httpx.AsyncClient, execution: str, given: dict[str, Any]
) -> None:
    answer = await admin.get(f"/executions/{execution}/events", **given)
    assert (answer.status_code, answer.json()["path"]) == (400, "since")


async def test_to_others_than_its_viewers_an_execution_does_not_exist(
    admin: httpx.AsyncClient, execution: str
) -> None:
    await admin.post("/projects", json={"name": "lab"})
    path = f"/executions/{execution}/events"
    stranger = await token_headers(admin, "stranger", grant("viewer", project="lab"))
    assert await status(admin, stranger, path) == 404
    assert (await admin.get("/executions/x0/events")).status_code == 404


async def _is_declared(client: NatsClient) -> bool:
    try:
        await client.jetstream().consumer_info(subjects.EXECUTION_EVENTS, subjects.ADMIN)
    except Exception:  # noqa: BLE001  # the streams are not there yet
        return False
    return True


class _Earlier:
    """An admin whose release cannot be followed, or a proxy that cuts each stream early."""

    def __init__(self, app: Any, *, chunks: int) -> None:
        """``chunks`` are sent of each stream; 0 is a path that does not exist."""
        self._app = app
        self._chunks = chunks
        self.streams = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if not scope.get("path", "").endswith("/events"):
            await self._app(scope, receive, send)
            return
        self.streams += 1
        if not self._chunks:
            await self._app({**scope, "path": f"{scope['path']}/of/another/release"}, receive, send)
            return
        left = self._chunks

        async def send_some(message: MutableMapping[str, Any]) -> None:
            nonlocal left
            await send(message)
            left -= message["type"] == "http.response.body"
            if left == 0:
                raise ConnectionError

        try:
            await self._app(scope, receive, send_some)
        except ConnectionError:
            return


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[Client]:
    port = free_port()
    config = uvicorn.Config(app, port=port, lifespan="on", log_config=None)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    await until(lambda: _started(server))
    async with Client(f"http://127.0.0.1:{port}", TOKEN) as client:
        yield client
    server.should_exit = True
    await task


async def _started(server: uvicorn.Server) -> bool:
    return server.started


@pytest.mark.parametrize("chunks", [0, 3, 1000])
async def test_a_client_waits_for_the_end_whatever_becomes_of_its_streams(
    admin: httpx.AsyncClient, execution: str, settings: AdminConfig, chunks: int
) -> None:
    await prepare(settings)
    front = _Earlier(build(settings), chunks=chunks)
    states: list[tuple[str, str]] = []

    def on_node(node: str, state: NodeBody) -> None:
        if (node, state.phase) not in states:
            states.append((node, state.phase))

    sessions = sessions_of(settings.database_url)
    try:
        async with serving(front) as client:
            waiting = asyncio.create_task(client.executions.wait(execution, on_node))
            for event in events_of(execution):
                await Projection(sessions).on_event(event)
                await asyncio.sleep(0.01)
            async with asyncio.timeout(PATIENCE_SECONDS):
                body = await waiting
    finally:
        await sessions.kw["bind"].dispose()
    assert (body.phase, body.output, body.project) == (
        "succeeded",
        {"score": 0.9},
        SCOPE["project"],
    )
    assert states[-1] == ("n1", "succeeded")
    assert front.streams >= 1 if chunks == 3 else front.streams == 1
