"""Fixtures: a cohort on a real Valkey, and the whole service on real servers."""

from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client

from tests.integration.resmgr.direct import Cohort, open_cohort
from tests.integration.resmgr.running import Caller, redis_config, started
from tests.servers import NatsServer, ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab.messages.events import PoolChanged
from trimtab_resmgr.store import Rules


@pytest.fixture
def rules() -> Rules:
    """Rules with a short grace. Tests that wait for the end of a lease request a short one."""
    return Rules(grace=0.05)


@pytest.fixture
async def cohort(valkey_server: ValkeyServer, rules: Rules) -> AsyncIterator[Cohort]:
    """A cohort with the pool ``gpu`` of 10 units."""
    pool = PoolChanged(name="gpu", quota=10)
    async with open_cohort(valkey_server.port, rules, pool) as cohort:
        yield cohort


@pytest.fixture
async def caller(
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    client: Client,
    settings_stream: SettingsStream,
) -> AsyncIterator[Caller]:
    """A caller of a service of type ``redis`` with the pool ``gpu`` of 10 units."""
    await settings_stream.announce(PoolChanged(name="gpu", quota=10))
    async with started(redis_config(nats_server, valkey_server)):
        yield Caller(client)
