"""Namespaces of 2,000 projects in three domains, on a directory cluster.

One process of clusterres, NATS and the client share the machine's cores. Each limit is the same
number of atomic writes to the same disk, by as many threads as the cluster has. Run as
``python -m bench.namespaces``.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import psutil
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.servers import NatsServer, free_port
from tests.settings_stream import SettingsStream
from trimtab.levels import PLATFORM, Scope
from trimtab.messages import subjects
from trimtab.messages.events import (
    ClusterChanged,
    DomainChanged,
    ProjectChanged,
    RecordChanged,
)
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.connection import connect
from trimtab_admin.messaging import streams

PROJECTS = int(os.environ.get("PROJECTS", "2000"))
DOMAINS = ("development", "staging", "production")
NAMESPACES = PROJECTS * len(DOMAINS)
THREADS = 4
QUOTA = """\
apiVersion: v1
kind: ResourceQuota
metadata:
  name: project-quota
  namespace: {{ namespace }}
spec:
  hard:
    limits.cpu: {{ cpu }}
"""


def values(scope: Scope, cpu: int) -> RecordChanged:
    return RecordChanged.at(scope, "cluster_resource", {"attributes": {"cpu": str(cpu)}})


class Statuses:
    """Waits for statuses; one message costs the same however many namespaces there are."""

    def __init__(self) -> None:
        self._awaited: set[str] = set()
        self._revision = 0
        self._complete = asyncio.Event()

    async def take(self, message: Msg) -> None:
        # Not the whole model: parsing it would take as long as the work that is measured.
        status = json.loads(message.data)
        assert not status["error"], status["error"]
        if status["revision"] >= self._revision:
            self._awaited.discard(status["namespace"])
            if not self._awaited:
                self._complete.set()

    def expect(self, namespaces: Iterable[str], revision: int) -> None:
        self._awaited, self._revision = set(namespaces), revision
        self._complete.clear()

    async def until_complete(self) -> None:
        await self._complete.wait()


class Bench:
    """Measures one process of clusterres."""

    def __init__(self, client: Client, directory: Path, url: str) -> None:
        self._stream = SettingsStream(client)
        self._statuses = Statuses()
        self._directory = directory
        self._cpu = 1
        self._port = free_port()
        self._environment = os.environ | {
            "TRIMTAB_NATS_URL": url,
            "TRIMTAB_TEMPLATES": str(directory / "templates"),
            "TRIMTAB_CLUSTERS": json.dumps({"east": {"directory": str(directory / "east")}}),
            "TRIMTAB_LOG_LEVEL": "ERROR",
            "TRIMTAB_PORT": str(self._port),
        }

    async def run(self, client: Client) -> AsyncIterator[tuple[str, float, float]]:
        """Yield the name of each figure, its seconds, and those of the same writes alone."""
        await client.subscribe(subjects.ALL_NAMESPACES, cb=self._statuses.take)
        await self._stream.put(*(DomainChanged(name=domain) for domain in DOMAINS))
        await self._stream.put(ClusterChanged(name="east"), values(PLATFORM, 1))
        await self._stream.announce(*(ProjectChanged(name=f"p{n}") for n in range(PROJECTS)))
        with self._clusterres() as process:
            seconds = await self._until_all()
            yield "start with nothing applied", seconds, self._limit(NAMESPACES, 2)
            yield "one project's change", *await self._one_project()
            yield "a domain's change", await self._domain(), self._limit(PROJECTS, 1)
            await self._stream.put(values(Scope(DOMAINS[1]), 77))
            yield "one project's change behind a domain's", *await self._one_project()
            memory = psutil.Process(process.pid).memory_info().rss / 2**20
            print(f"  {'memory':<44}{memory:>8.0f} MiB")
        with self._clusterres():
            yield "restart without work", await self._until_idle(), self._limit(NAMESPACES, 0)

    async def _until_all(self) -> float:
        everything = (f"p{number}-{domain}" for number in range(PROJECTS) for domain in DOMAINS)
        self._statuses.expect(everything, self._stream.revision)
        began = time.perf_counter()
        await self._statuses.until_complete()
        return time.perf_counter() - began

    async def _until_idle(self) -> float:
        """Return the seconds until every namespace was checked; no status is news then."""
        began = time.perf_counter()
        async with httpx.AsyncClient() as http:
            while not await self._is_idle(http):
                await asyncio.sleep(0.05)
        return time.perf_counter() - began

    async def _is_idle(self, http: httpx.AsyncClient) -> bool:
        try:
            facts = (await http.get(f"http://127.0.0.1:{self._port}/readyz")).json()
        except httpx.TransportError:
            return False
        east = facts["clusters"]["east"]
        is_current = facts["view"]["revision"] == self._stream.revision
        return is_current and east["dirty"] == 0 and "succeeded_seconds_ago" in east

    async def _domain(self) -> float:
        return await self._change(
            Scope(DOMAINS[0]), (f"p{number}-{DOMAINS[0]}" for number in range(PROJECTS))
        )

    async def _one_project(self) -> tuple[float, float]:
        scope = Scope(DOMAINS[2], "p1")
        return await self._change(scope, [f"p1-{DOMAINS[2]}"]), self._limit(1, 1)

    async def _change(self, scope: Scope, namespaces: Iterable[str]) -> float:
        """Return the seconds from a change until all these namespaces have it."""
        self._cpu += 1
        self._statuses.expect(namespaces, self._stream.revision + 1)
        began = time.perf_counter()
        await self._stream.put(values(scope, self._cpu))
        await self._statuses.until_complete()
        return time.perf_counter() - began

    def _limit(self, directories: int, files: int) -> float:
        """Return the seconds of so many files in each of so many directories."""
        with tempfile.TemporaryDirectory(dir=self._directory) as path:
            roots = [Path(path) / str(number) for number in range(directories)]
            began = time.perf_counter()
            with ThreadPoolExecutor(THREADS) as threads:
                list(threads.map(lambda root: write(root, files), roots))
            return time.perf_counter() - began

    @contextmanager
    def _clusterres(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "trimtab_clusterres"]
        process = subprocess.Popen(command, env=self._environment)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def write(root: Path, files: int) -> None:
    """Write small files as a directory cluster does, with nothing else."""
    root.mkdir()
    for number in range(files):
        temporary = root / f".{number}"
        with temporary.open("wb") as file:
            file.write(QUOTA.encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(root / str(number))
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(descriptor)
        os.close(descriptor)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    async with connect(ServiceConfig(nats_url=url), "bench") as client:
        await streams.bootstrap(client)
        yield client


async def measure(directory: Path, url: str) -> None:
    print(f"  {NAMESPACES:,} namespaces")
    async with connected(url) as client:
        async for name, seconds, limit in Bench(client, directory, url).run(client):
            share = f"{seconds / limit:6.1f} × the writes alone, {limit:.2f} s"
            print(f"  {name:<44}{seconds:>8.2f} s {share}", flush=True)


def run() -> None:
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as path:
        directory = Path(path)
        (directory / "templates").mkdir()
        (directory / "templates" / "quota.yaml").write_text(QUOTA)
        with NatsServer(directory / "nats") as server:
            uvloop.run(measure(directory, server.url))


if __name__ == "__main__":
    run()
