"""A service's connection, from its start to its end."""

import asyncio
import gc

from tests.servers import NatsServer
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.connection import connect

SECONDS = 30


async def test_leaving_while_the_server_is_away_leaves_nothing_running(
    nats_server: NatsServer,
) -> None:
    before = asyncio.all_tasks()
    async with connect(ServiceConfig(nats_url=nats_server.url), "test") as client:
        nats_server.kill()
        async with asyncio.timeout(SECONDS):
            while not client.is_reconnecting:
                await asyncio.sleep(0.02)
    assert client.is_closed
    async with asyncio.timeout(SECONDS):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.02)


async def test_leaving_at_any_moment_of_connecting_leaves_nothing_open(
    nats_server: NatsServer,
) -> None:
    before = asyncio.all_tasks()
    for moment in range(60):
        connecting = asyncio.create_task(connect_and_wait(nats_server))
        for _ in range(moment):
            await asyncio.sleep(0)
        connecting.cancel()
        await asyncio.wait([connecting], timeout=SECONDS)
        assert connecting.cancelled()
    async with asyncio.timeout(SECONDS):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.02)
    gc.collect()  # warns of a stream that nobody closed, and warnings are errors


async def connect_and_wait(server: NatsServer) -> None:
    async with connect(ServiceConfig(nats_url=server.url), "test"):
        await asyncio.Event().wait()
