"""The connection of a service to NATS, from its start to its end."""

import asyncio
import gc

from tests.servers import PATIENCE_SECONDS, NatsServer
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.connection import connect


async def test_stopping_while_the_server_is_away_leaves_no_task_running(
    nats_server: NatsServer,
) -> None:
    before = asyncio.all_tasks()
    async with connect(ServiceConfig(nats_url=nats_server.url), "test") as client:
        nats_server.kill()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not client.is_reconnecting:
                await asyncio.sleep(0.02)
    assert client.is_closed
    async with asyncio.timeout(PATIENCE_SECONDS):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.02)


async def test_reconnecting_ends_although_its_cancellation_is_swallowed(
    nats_server: NatsServer,
) -> None:
    """Nothing cancels the second task of reconnecting, as if a cancellation had been swallowed."""
    async with connect(ServiceConfig(nats_url=nats_server.url), "test") as client:
        nats_server.kill()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not client.is_reconnecting:
                await asyncio.sleep(0.02)
        reconnecting = asyncio.create_task(client._attempt_reconnect())
        await asyncio.sleep(0.1)
    done, _ = await asyncio.wait([reconnecting], timeout=PATIENCE_SECONDS)
    assert done == {reconnecting}


async def test_a_cancellation_at_any_moment_of_connecting_leaves_nothing_open(
    nats_server: NatsServer,
) -> None:
    before = asyncio.all_tasks()
    for moment in range(60):
        connecting = asyncio.create_task(connect_and_wait(nats_server))
        for _ in range(moment):
            await asyncio.sleep(0)
        connecting.cancel()
        await asyncio.wait([connecting], timeout=PATIENCE_SECONDS)
        assert connecting.cancelled()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.02)
    gc.collect()  # warns about a stream that was not closed, and warnings are errors


async def connect_and_wait(server: NatsServer) -> None:
    async with connect(ServiceConfig(nats_url=server.url), "test"):
        await asyncio.Event().wait()
