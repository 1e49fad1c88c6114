"""Each view becomes equal to the published settings by itself, whatever happens to NATS."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from time import monotonic

import pytest
from nats.aio.client import Client

from tests.servers import PATIENCE_SECONDS, NatsServer
from tests.settings_stream import SettingsStream, contents
from trimtab.errors import Retryable, Unavailable
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import ProjectChanged, Watermark
from trimtab.runtime import bus
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.connection import connect
from trimtab.settings.view import Change, View
from trimtab.testing import DOMAIN, deleted, record
from trimtab_admin.messaging import streams

A, B, C = (ProjectChanged(name=name) for name in "abc")


@asynccontextmanager
async def following(
    client: Client,
    changed: Callable[[Iterable[Change]], None] = lambda _changes: None,
    reloaded: Callable[[], None] = lambda: None,
    stale_after_seconds: float = 30.0,
) -> AsyncIterator[View]:
    view = View(client, changed, reloaded, stale_after_seconds)
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(view.follow())
        yield view
        reading.cancel()


async def declare(client: Client) -> None:
    """Declare the streams, again where the request did not survive a reconnect, as admin does."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(Unavailable):
                await streams.bootstrap(client)
                return


async def load(stream: SettingsStream, enough: asyncio.Event) -> None:
    """Change twenty projects and their records as fast as possible."""
    for index in itertools.count():
        if enough.is_set():
            return
        await stream.put(
            record({"limits": {"cpu": str(index)}}, scope=Scope(project=f"p{index % 20}")),
            ProjectChanged(name=f"p{index % 20}", deleted=index % 7 == 0),
        )


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not fact():
            await asyncio.sleep(0.02)


async def until_delivered(client: Client) -> None:
    """Wait until the server has delivered all of SETTINGS to a follower."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            for consumer in await client.jetstream().consumers_info(subjects.SETTINGS):
                if consumer.num_pending == 0 and consumer.delivered.consumer_seq:
                    return
            await asyncio.sleep(0.02)


async def test_a_view_shows_stored_and_new_changes(
    client: Client, settings_stream: SettingsStream
) -> None:
    await settings_stream.announce(record({"limits": {"cpu": "2"}}), A)
    async with following(client) as view:
        await view.wait_for(2, timeout=PATIENCE_SECONDS)
        assert contents(view.settings) == contents(settings_stream.settings)
        revision = await settings_stream.put(record({"limits": {"cpu": "4"}}), deleted())
        settings = await view.wait_for(revision, timeout=PATIENCE_SECONDS)
        assert contents(settings) == contents(settings_stream.settings)
        assert settings.effective("task_resource", DOMAIN).flat == {}


async def test_the_changes_of_a_transaction_are_shown_together(
    client: Client, settings_stream: SettingsStream
) -> None:
    shown: list[list[str]] = []

    def changed(changes: Iterable[Change]) -> None:
        shown.append([change.event.model_dump()["name"] for change in changes])

    await settings_stream.watermark()
    async with following(client, changed) as view:
        await view.wait_for(0, timeout=PATIENCE_SECONDS)
        await settings_stream.put(A, B, C)
        await settings_stream.put(A)
        await view.wait_for(4, timeout=PATIENCE_SECONDS)
    assert shown == [["a", "b", "c"], ["a"]]


async def test_a_view_is_not_ready_and_shows_nothing_before_a_watermark(
    client: Client, settings_stream: SettingsStream
) -> None:
    await settings_stream.put(A)
    async with following(client) as view:
        with pytest.raises(Retryable, match="at revision 0, not yet at 1"):
            await view.wait_for(1, timeout=0.5)
        assert not view.ready
        assert view.settings.projects == {}
        await settings_stream.watermark()
        await view.wait_for(1, timeout=PATIENCE_SECONDS)
        assert view.ready


async def test_a_view_without_watermarks_grows_stale_and_is_ready_again_with_one(
    client: Client, settings_stream: SettingsStream
) -> None:
    await settings_stream.announce(A)
    async with following(client, stale_after_seconds=1.0) as view:
        await view.wait_for(1, timeout=PATIENCE_SECONDS)
        await until(lambda: not view.ready)
        assert view.age_seconds > 1.0
        with pytest.raises(Retryable, match=r"verified \d+ s ago"):
            await view.wait_for(1, timeout=0.1)
        await settings_stream.watermark()
        await view.wait_for(1, timeout=PATIENCE_SECONDS)
        assert view.settings.projects == {"a": A}


async def test_waiting_for_a_revision_ends_when_it_arrives(
    client: Client, settings_stream: SettingsStream
) -> None:
    await settings_stream.announce(A)
    async with following(client) as view:
        waiting = [
            asyncio.create_task(view.wait_for(3, timeout=PATIENCE_SECONDS)) for _ in range(5)
        ]
        await view.wait_for(1, timeout=PATIENCE_SECONDS)
        assert not any(task.done() for task in waiting)
        await settings_stream.put(B)
        await settings_stream.put(C)
        for task in waiting:
            assert (await task).revision == 3


async def test_a_view_waits_for_streams_that_are_declared_later(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ServiceConfig(nats_url=nats_server.url)
    async with connect(settings, "test") as client, following(client) as view:
        await until(lambda: "view.interrupted" in caplog.messages)
        await streams.bootstrap(client)
        await SettingsStream(client).announce(A)
        await view.wait_for(1, timeout=PATIENCE_SECONDS)


async def test_views_equal_what_was_published_during_an_outage_of_the_server(
    nats_server: NatsServer, client: Client, settings_stream: SettingsStream
) -> None:
    enough = asyncio.Event()
    await settings_stream.watermark()
    async with following(client) as view, following(client) as other:
        writing = asyncio.create_task(load(settings_stream, enough))
        await view.wait_for(50, timeout=PATIENCE_SECONDS)
        nats_server.kill()
        await until(lambda: not client.is_connected)
        shown = view.settings.revision
        nats_server.start()
        await view.wait_for(shown + 50, timeout=PATIENCE_SECONDS)
        enough.set()
        await writing
        revision = await settings_stream.announce(A)
        for each in (view, other):
            settings = await each.wait_for(revision, timeout=PATIENCE_SECONDS)
            assert contents(settings) == contents(settings_stream.settings)


async def test_a_view_never_empties_when_the_store_is_wiped_and_filled_again(
    nats_server: NatsServer, client: Client, settings_stream: SettingsStream
) -> None:
    seen: list[set[str]] = []
    await settings_stream.announce(A, B, C)
    async with following(client, reloaded=lambda: seen.append(set(view.settings.projects))) as view:
        await view.wait_for(3, timeout=PATIENCE_SECONDS)
        nats_server.wipe()
        await declare(client)
        await settings_stream.put(A)  # no watermark yet shows that this is complete
        await until_delivered(client)
        assert set(view.settings.projects) == {"a", "b", "c"}
        revision = await settings_stream.refill()
        settings = await view.wait_for(revision, timeout=PATIENCE_SECONDS)
        assert contents(settings) == contents(settings_stream.settings)
    assert seen == [{"a", "b", "c"}] * 2


async def test_a_view_that_differs_from_its_watermark_is_not_ready_and_read_again(
    client: Client, settings_stream: SettingsStream
) -> None:
    await settings_stream.announce(A)
    async with following(client, stale_after_seconds=1.0) as view:
        await view.wait_for(1, timeout=PATIENCE_SECONDS)
        wrong = Watermark(revision=1, count=2, digest="0000000000000000")
        await bus.publish(client, subjects.SETTINGS, subjects.WATERMARK, wrong)
        await until(lambda: not view.ready)
        assert view.settings.projects == {"a": A}
        revision = await settings_stream.announce(B)
        settings = await view.wait_for(revision, timeout=PATIENCE_SECONDS)
        assert contents(settings) == contents(settings_stream.settings)


async def test_a_watermark_reveals_a_message_that_did_not_arrive(
    client: Client, settings_stream: SettingsStream
) -> None:
    await settings_stream.announce(A)
    reloads: list[float] = []
    async with following(client, reloaded=lambda: reloads.append(monotonic())) as view:
        await view.wait_for(1, timeout=PATIENCE_SECONDS)
        # As if revision 2 had not been delivered.
        view.settings.apply(ProjectChanged(name="phantom"), 1)
        revision = await settings_stream.announce(B)
        await until(lambda: len(reloads) == 2)
        settings = await view.wait_for(revision, timeout=PATIENCE_SECONDS)
        assert contents(settings) == contents(settings_stream.settings)


async def test_a_foreign_message_does_not_end_a_view(
    client: Client, settings_stream: SettingsStream
) -> None:
    await settings_stream.announce(A)
    async with following(client) as view:
        await view.wait_for(1, timeout=PATIENCE_SECONDS)
        await client.jetstream().publish(subjects.project("b"), b"not json")
        revision = await settings_stream.put(B)
        await view.wait_for(revision, timeout=PATIENCE_SECONDS)
        assert contents(view.settings) == contents(settings_stream.settings)
