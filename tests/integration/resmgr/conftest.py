"""Fixtures of resmgr's tests: leases on a real Valkey, and the whole service on real servers."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client

from tests.integration.resmgr.running import Caller, limiting, started
from tests.servers import NatsServer, ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab.events import PoolChanged
from trimtab_resmgr.connection import connect
from trimtab_resmgr.leases import Leases
from trimtab_resmgr.settings import Redis


@pytest.fixture
async def leases(valkey_server: ValkeyServer) -> AsyncIterator[Leases]:
    client = connect(Redis(host_paths=(f"127.0.0.1:{valkey_server.port}",)))
    async with client, asyncio.TaskGroup() as tasks:
        yield Leases(client, tasks, "default")


@pytest.fixture
async def caller(
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    client: Client,
    settings_stream: SettingsStream,
) -> AsyncIterator[Caller]:
    """Of a service of type ``redis`` with the pool ``gpu`` of 10."""
    await settings_stream.announce(PoolChanged(name="gpu", quota=10))
    async with started(limiting(nats_server, valkey_server)):
        yield Caller(client)
