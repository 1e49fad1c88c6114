"""Nothing is over-granted, lost or overtaken, whatever is killed, slowed or forgotten.

64 holders ask for one pool or two, some with caps of their own. Their replicas are killed, Redis is
slow in bursts, killed, flushed and replaced, and they are believed about what they hold;
`tests.integration.resmgr.lives` says what must hold of it. ``--operations`` says for how long,
``--seed`` with which chances.
"""

import asyncio
import signal
from pathlib import Path
from random import Random

import nats.errors
import pytest
from nats.aio.client import Client

from tests.integration.resmgr.crowd import LEASE_SECONDS, Crowd
from tests.integration.resmgr.lives import Limits, not_grown, over_granted, overtaken
from tests.integration.resmgr.replicas import Replicas, replicas
from tests.integration.resmgr.running import Caller, Refused, eventually
from tests.integration.resmgr.slow import slowed
from tests.servers import NatsServer, ValkeyServer
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


@pytest.mark.timeout(4 * 3600)
async def test_nothing_is_over_granted_lost_or_overtaken(
    tmp_path: Path,
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    client: Client,
    settings_stream: SettingsStream,
    operations: int,
    seed: int,
) -> None:
    chance = Random(seed)
    await settings_stream.announce(*map(declared, POOLS))
    crowd = Crowd(client, POOLS, operations, chance)
    log = tmp_path / "replicas.log"
    async with slowed(valkey_server.port, chance) as port:
        block = BLOCK | {"redis": {"hostPaths": [f"127.0.0.1:{port}"]}}
        async with replicas(nats_server, block, log, 2) as found, asyncio.TaskGroup() as tasks:
            disturbing = tasks.create_task(disturb(crowd, found, valkey_server))
            await crowd.run(HOLDERS)
            await disturbing
            await eventually(lambda: is_free(Caller(client)))
    assert crowd.wrong == []
    assert len(crowd.lives) > operations // 20
    assert over_granted(crowd.lives, POOLS) == []
    assert not_grown(crowd.lives) == []
    assert overtaken(crowd.lives) == []
    enough = len(crowd.lives) // 20
    assert sum(life.kept_its_place for life in crowd.lives) > enough
    assert sum(len(life.units) == 2 for life in crowd.lives) > enough
    assert sum(life.is_capped for life in crowd.lives) > enough


def declared(name: str) -> PoolChanged:
    quota, project_cap, domain_cap = POOLS[name]
    return PoolChanged(
        name=name, quota=quota, project_cap=project_cap, project_domain_cap=domain_cap
    )


def restart(valkey_server: ValkeyServer) -> None:
    """It has its append-only file, but for what was not written yet."""
    valkey_server.kill()
    valkey_server.start()


FORGETTING = {"flush": ValkeyServer.flush, "restart": restart, "replace": ValkeyServer.wipe}
FAULTS = ("flush", "replica", "replace", "restart")


async def disturb(crowd: Crowd, found: Replicas, valkey_server: ValkeyServer) -> None:
    """One fault after the other, seven in all or one for each 5 000 operations."""
    pace = min(crowd.operations // 8, 5_000)
    for number in range(1, crowd.operations // pace):
        while crowd.asked < number * pace:
            await asyncio.sleep(0.02)
        fault = FAULTS[number % len(FAULTS) - 1]
        if fault == "replica":
            await found.end(signal.SIGKILL)
            await found.start()
            continue
        crowd.disturbed()
        await asyncio.to_thread(FORGETTING[fault], valkey_server)
        crowd.disturbed()


async def is_free(caller: Caller) -> bool:
    """Whether nothing is held or waits any more, of all that the dead have left."""
    try:
        for pool in POOLS:
            audited = await caller.ask(protocol.Recounted, protocol.Recount(pool=pool))
            assert audited.differences == ()
            inspected = await caller.inspect(pool)
            if inspected.held or inspected.waiting:
                return False
    except (Refused, nats.errors.Error, TimeoutError):
        return False
    return True
