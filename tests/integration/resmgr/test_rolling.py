"""Replicas that are replaced one by one, under load."""

import asyncio
import itertools
import signal
from pathlib import Path
from typing import Any

from nats.aio.client import Client

from tests.integration.resmgr.replicas import replicas
from tests.integration.resmgr.running import Caller, config, started
from tests.servers import NatsServer, ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab.messages.events import PoolChanged

IN_FLIGHT = 64
QUOTA = 48
"""Fewer units than requests, so that some replies are refusals."""


async def test_no_request_fails_while_processes_are_replaced(
    tmp_path: Path,
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    client: Client,
    settings_stream: SettingsStream,
) -> None:
    await settings_stream.announce(PoolChanged(name="gpu", quota=QUOTA))
    block = {"type": "redis", "redis": redis_with_retries(valkey_server)}
    async with (
        replicas(nats_server, block, tmp_path / "replicas.log", 1) as found,
        asyncio.TaskGroup() as tasks,
    ):
        over = asyncio.Event()
        for number in range(IN_FLIGHT):
            tasks.create_task(request_until(over, Caller(client), number))
        for _ in range(3):
            await found.start()
            assert await found.stop(signal.SIGTERM) == 0
        over.set()


async def test_no_request_fails_while_replicas_leave_one_by_one(
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    client: Client,
    settings_stream: SettingsStream,
) -> None:
    await settings_stream.announce(PoolChanged(name="gpu", quota=QUOTA))
    block = {"type": "redis", "redis": redis_with_retries(valkey_server)}
    leaving = config(nats_server, block)
    async with started(leaving), asyncio.TaskGroup() as tasks:
        over = asyncio.Event()
        for number in range(IN_FLIGHT):
            tasks.create_task(request_until(over, Caller(client), number))
        for _ in range(20):
            async with started(leaving):
                await asyncio.sleep(0.02)
        over.set()


def redis_with_retries(valkey_server: ValkeyServer) -> dict[str, Any]:
    """Return a block with retries: on a busy machine a try may exceed its timeout of a second."""
    return {"hostPaths": [f"127.0.0.1:{valkey_server.port}"], "maxRetries": 10}


async def request_until(over: asyncio.Event, caller: Caller, number: int) -> None:
    """Allocate and release in turns; raises on a timeout and on an error reply."""
    for turn in itertools.count():
        if over.is_set():
            return
        token = f"{number}/{turn}"
        await caller.allocate(token, wait_seconds=0)
        await caller.release(token)
