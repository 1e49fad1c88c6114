"""Fixtures of resmgr's tests: a cohort on a real Valkey, and the whole service on real servers."""

from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client

from tests.integration.resmgr.direct import Cohort
from tests.integration.resmgr.direct import cohort as asked
from tests.integration.resmgr.running import Caller, limiting, started
from tests.servers import NatsServer, ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab.messages.events import PoolChanged
from trimtab_resmgr.leases import Rules


@pytest.fixture
def rules() -> Rules:
    """Tests that wait for an end name a short lease."""
    return Rules(grace=0.05)


@pytest.fixture
async def cohort(valkey_server: ValkeyServer, rules: Rules) -> AsyncIterator[Cohort]:
    """With the pool ``gpu`` of 10."""
    pool = PoolChanged(name="gpu", quota=10)
    async with asked(valkey_server.port, rules, pool) as found:
        yield found


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
