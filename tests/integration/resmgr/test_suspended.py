"""A replica that was suspended grants nothing to callers that gave up in the meantime."""

import asyncio
import signal
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.integration.resmgr.replicas import replicas
from tests.integration.resmgr.running import Caller, ErrorReply
from tests.servers import PATIENCE_SECONDS, NatsServer, ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab.messages.events import PoolChanged

REQUEST_SECONDS = PATIENCE_SECONDS / 60
"""The age after which a request is rejected; short, because a test waits for longer than that."""


@pytest.mark.parametrize("suspended", [True, False])
async def test_a_request_in_the_buffers_of_a_suspended_replica_is_rejected(
    tmp_path: Path,
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    client: Client,
    settings_stream: SettingsStream,
    suspended: bool,
) -> None:
    await settings_stream.announce(PoolChanged(name="gpu", quota=100))
    redis = {"hostPaths": [f"127.0.0.1:{valkey_server.port}"]}
    seconds = REQUEST_SECONDS if suspended else 600.0
    block = {"type": "redis", "redis": redis, "requestSeconds": seconds}
    caller = Caller(client)
    async with replicas(nats_server, block, tmp_path / "replicas.log", 1) as found:
        await _until_granted(caller)  # From now on the replica knows the clock of Redis.
        [process] = found.running
        process.send_signal(signal.SIGSTOP)
        requests = [asyncio.create_task(caller.allocate(str(number))) for number in range(20)]
        await asyncio.sleep(2 * REQUEST_SECONDS)
        process.send_signal(signal.SIGCONT)
        answers = await asyncio.gather(*requests, return_exceptions=True)
        held = (await caller.inspect()).held
    refused = [
        answer
        for answer in answers
        if isinstance(answer, ErrorReply) and answer.problem.status == 503
    ]
    assert (len(refused), held) == ((20, 0) if suspended else (0, 20))


async def _until_granted(caller: Caller) -> None:
    """On a busy machine, the first requests may be too late."""
    while True:
        try:
            await caller.allocate("first")
            await caller.release("first")
        except ErrorReply:
            continue
        return
