"""No token is over-granted, lost or overtaken, whatever is killed, slow or deleted.

64 holders request tokens of one pool or two, some with caps of their own. Replicas of resmgr are
killed; Redis is slow in bursts, killed, flushed and replaced, and holders reassert their tokens.
`tests.integration.resmgr.invariants` has the conditions that must hold. ``--operations`` sets the
length, ``--seed`` the random choices.
"""

import asyncio
import signal
from pathlib import Path
from random import Random

import nats.errors
import pytest
from nats.aio.client import Client

from tests.integration.resmgr.crowd import LEASE_SECONDS, Crowd
from tests.integration.resmgr.invariants import (
    Limits,
    find_fence_regressions,
    find_over_grants,
    find_overtaken,
)
from tests.integration.resmgr.replicas import Replicas, replicas
from tests.integration.resmgr.running import Caller, ErrorReply, eventually
from tests.integration.resmgr.slow_proxy import slow_proxy
from tests.servers import PATIENCE_SECONDS, NatsServer, ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab.messages.events import PoolChanged
from trimtab.tokens import protocol

HOLDERS = 64
POOLS = {"gpu": Limits(16, project_cap=10), "gp": Limits(8, domain_cap=5), "seats": Limits(4)}
BLOCK = {
    "type": "redis",
    "maxLeaseSeconds": LEASE_SECONDS,
    "graceSeconds": 0.2,
    "placeSeconds": 1.0,
    "reserveSeconds": 0.5,
}


@pytest.mark.timeout(240 * PATIENCE_SECONDS)
async def test_no_token_is_over_granted_lost_or_overtaken(
    tmp_path: Path,
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    client: Client,
    settings_stream: SettingsStream,
    operations: int,
    seed: int,
) -> None:
    chance = Random(seed)
    await settings_stream.announce(*map(declared_pool, POOLS))
    crowd = Crowd(client, POOLS, operations, chance)
    log = tmp_path / "replicas.log"
    async with slow_proxy(valkey_server.port, chance) as port:
        block = BLOCK | {"redis": {"hostPaths": [f"127.0.0.1:{port}"]}}
        async with replicas(nats_server, block, log, 2) as found, asyncio.TaskGroup() as tasks:
            disturbing = tasks.create_task(disturb(crowd, found, valkey_server))
            await crowd.run(HOLDERS)
            await disturbing
            await eventually(lambda: is_free(Caller(client)))
    observations = crowd.observations
    assert crowd.wrong == []
    assert len(observations) > operations // 20
    assert find_over_grants(observations, POOLS) == []
    assert find_fence_regressions(observations) == []
    assert find_overtaken(observations) == []
    enough = len(observations) // 20
    assert sum(each.kept_its_position for each in observations) > enough
    assert sum(len(each.units) == 2 for each in observations) > enough
    assert sum(each.is_capped for each in observations) > enough


def declared_pool(name: str) -> PoolChanged:
    quota, project_cap, domain_cap = POOLS[name]
    return PoolChanged(
        name=name, quota=quota, project_cap=project_cap, project_domain_cap=domain_cap
    )


def restart(valkey_server: ValkeyServer) -> None:
    """Kill the server, which loses what it has not written to its append-only file yet."""
    valkey_server.kill()
    valkey_server.start()


REDIS_FAULTS = {"flush": ValkeyServer.flush, "restart": restart, "replace": ValkeyServer.wipe}
FAULTS = ("flush", "replica", "replace", "restart")


async def disturb(crowd: Crowd, found: Replicas, valkey_server: ValkeyServer) -> None:
    """Cause one fault after the other, seven in all or one for each 5 000 operations."""
    pace = min(crowd.operations // 8, 5_000)
    for number in range(1, crowd.operations // pace):
        while crowd.sent < number * pace:
            await asyncio.sleep(0.02)
        fault = FAULTS[number % len(FAULTS) - 1]
        if fault == "replica":
            await found.stop(signal.SIGKILL)
            await found.start()
            continue
        crowd.on_disturbance()
        await asyncio.to_thread(REDIS_FAULTS[fault], valkey_server)
        crowd.on_disturbance()


async def is_free(caller: Caller) -> bool:
    """Return whether no pool has a holder or a waiter any more, including those that died."""
    try:
        for pool in POOLS:
            recounted = await caller.request(protocol.Recounted, protocol.Recount(pool=pool))
            assert recounted.differences == ()
            inspected = await caller.inspect(pool)
            if inspected.held or inspected.waiting:
                return False
    except (ErrorReply, nats.errors.Error, TimeoutError):
        return False
    return True
