"""A resmgr of type ``redis`` and its servers, each in its own process, for measurements."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import nats.errors
import psutil
from nats.aio.client import Client

from tests.servers import NatsServer, ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab.messages import subjects
from trimtab.messages.events import PoolChanged
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.connection import connect
from trimtab.tokens.protocol import COHORT, Allocate
from trimtab_admin.messaging import streams
from trimtab_resmgr import encoding
from trimtab_resmgr.scripts import MAX_BATCH
from trimtab_resmgr.store import CohortStore, PoolLimits

CEILING = 2_000_000
LEASE_SECONDS = 3600
"""Longer than any measurement, so that no lease expires during one."""


class System(NamedTuple):
    nats: NatsServer
    valkey: ValkeyServer
    client: Client
    processes: Mapping[str, psutil.Process]

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU time that each process has used."""
        return {
            name: (times := process.cpu_times()).user + times.system
            for name, process in self.processes.items()
        }


@asynccontextmanager
async def running(*pools: PoolChanged) -> AsyncIterator[System]:
    """Run the system, and enter the block when it can grant tokens."""
    others = set(psutil.Process().children())
    with (
        tempfile.TemporaryDirectory() as path,
        NatsServer(Path(path) / "nats") as nats_server,
        ValkeyServer(Path(path) / "valkey") as valkey,
    ):
        servers = {each.name(): each for each in set(psutil.Process().children()) - others}
        async with connect(ServiceConfig(nats_url=nats_server.url), "bench") as client:
            await streams.bootstrap(client)
            await SettingsStream(client).announce(*pools)
            block = (
                f'{{"type": "redis", "redis": {{"hostPaths": ["127.0.0.1:{valkey.port}"]}}, '
                f'"resourceMaxQuota": {CEILING}, "maxLeaseSeconds": {LEASE_SECONDS}}}'
            )
            settings = {"NATS_URL": nats_server.url, "RESOURCEMANAGER": block, "PORT": "0"}
            with process("-m", "trimtab_resmgr", **settings) as resmgr:
                first = f'{{"pool": "{pools[0].name}"}}'.encode()
                await wait_for_response(client, subjects.resmgr("inspect", COHORT), first)
                processes = {"resmgr": resmgr, "callers": psutil.Process(), **servers}
                yield System(nats_server, valkey, client, processes)


@contextmanager
def process(*arguments: str, **settings: str) -> Iterator[psutil.Process]:
    """Run a Python process until the block ends."""
    environment = {**os.environ, **{f"TRIMTAB_{key}": value for key, value in settings.items()}}
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as running:
        try:
            yield psutil.Process(running.pid)
        finally:
            running.send_signal(signal.SIGTERM)


async def hold(store: CohortStore, requests: Iterator[Allocate], limits: PoolLimits) -> None:
    """Allocate tokens without NATS, which is faster."""
    while some := list(islice(requests, MAX_BATCH)):
        submissions = [(encoding.allocate(each, LEASE_SECONDS), (limits,)) for each in some]
        replies = await store.submit(*submissions)
        assert {reply[0] for reply in replies} == {encoding.AllocationReply.GRANTED}


async def wait_for_response(client: Client, subject: str, body: bytes) -> None:
    """Wait until requests to a subject have a response."""
    while True:
        try:
            await client.request(subject, body, timeout=1.0)
        except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
            await asyncio.sleep(0.05)
        else:
            return
