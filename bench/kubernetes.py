"""Namespaces on a real API server, next to raw applies of the same client to it.

clusterres, NATS, the control plane of ``tests/kubernetes`` and the client share the machine's
cores. A change is applied when its status arrives. Run as ``python -m bench.kubernetes``.
"""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import repeat
from pathlib import Path
from statistics import quantiles

import httpx
import psutil
import uvloop
from nats.aio.client import Client

from bench import namespaces
from tests.kubernetes import faults
from tests.kubernetes.control_plane import ControlPlane
from tests.servers import NatsServer
from trimtab.levels import PLATFORM, Scope
from trimtab.messages import subjects
from trimtab.messages.events import ClusterChanged, DomainChanged, ProjectChanged
from trimtab_clusterres.clusters.kubernetes.access import Kubeconfig
from trimtab_clusterres.clusters.kubernetes.connection import APPLY, Connection

DOMAIN = "development"
FEW = 200
MANY = int(os.environ.get("MANY", "2000"))
OBJECTS = 5
CHECK_SECONDS = 5
IDLE_SECONDS = 30
TEMPLATE = """\
apiVersion: v1
kind: Namespace
metadata: {name: "{{ namespace }}"}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: quota}
spec: {hard: {limits.cpu: {{ cpu }}}}
"""
CONFIG_MAP = """\
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings-NUMBER}
data: {project: "{{ project }}"}
"""
NAMES = [f"p{number}-{DOMAIN}" for number in range(FEW)]


class Raw:
    """Requests for quotas by the client of clusterres, and nothing else."""

    def __init__(self, kubeconfig: Path) -> None:
        self._connection = Connection(Kubeconfig(kubeconfig))
        self._cpu = 0

    async def apply(self, namespace: str) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "raw"},
            "spec": {"hard": {"limits.cpu": str(self._cpu)}},
        }
        path = f"/api/v1/namespaces/{namespace}/resourcequotas/raw"
        query = [("fieldManager", "bench"), ("force", "false")]
        await self._connection.write("PATCH", path, query=query, body=body, content_type=APPLY)

    async def read(self, namespace: str) -> None:
        await self._connection.get(f"/api/v1/namespaces/{namespace}/resourcequotas/quota")

    async def one_by_one(self) -> list[float]:
        """Return the seconds of an apply to each namespace."""
        self._cpu += 1
        return [await timed(self.apply(name)) for name in NAMES]

    async def all(self, request: Callable[[str], Awaitable[None]], times: int = 1) -> float:
        """Return the seconds of so many requests per namespace, 16 of them at once."""
        self._cpu += 1
        return await timed(asyncio.gather(*(request(name) for name in NAMES * times)))

    async def close(self) -> None:
        await self._connection.close()


class Bench(namespaces.Bench):
    """Measures processes of clusterres, one after the other, on one cluster."""

    def __init__(self, client: Client, directory: Path, url: str, kubeconfig: Path) -> None:
        super().__init__(client, directory, url)
        self._kubeconfig = kubeconfig
        self._raw = Raw(kubeconfig)
        self._connect(kubeconfig)

    async def measure(self, client: Client, directory: Path) -> None:
        await client.subscribe(subjects.ALL_NAMESPACES, cb=self._statuses.take)
        await self._stream.put(DomainChanged(name=DOMAIN), ClusterChanged(name="east"))
        await self._stream.put(namespaces.values(PLATFORM, 1))
        await self._announce(range(FEW))
        with self._clusterres():
            await self._statuses.until_complete()
            await self._raw.all(self._raw.apply)  # creates the objects
            await self._all_at_once()  # before projects have values of their own
            await self._one_by_one()
        self._environment["TRIMTAB_DRIFT_CHECK_SECONDS"] = str(CHECK_SECONDS)
        with self._clusterres():
            await self._until_idle()
            await self._check()
        del self._environment["TRIMTAB_DRIFT_CHECK_SECONDS"]
        async with faults.serving(self._kubeconfig, directory / "proxy") as proxy:
            self._connect(proxy.kubeconfig)
            with self._clusterres():
                await self._until_idle()
                await self._idle(proxy)
        self._connect(self._kubeconfig)
        with self._clusterres() as process:
            await self._announce(range(FEW, MANY))
            await self._statuses.until_complete()
            memory = psutil.Process(process.pid).memory_info().rss / 2**20
            print(f"  memory with {MANY:,} namespaces{memory:>26.0f} MiB")
        await self._raw.close()

    def _connect(self, kubeconfig: Path) -> None:
        clusters = {"east": {"kubeconfig": str(kubeconfig)}}
        self._environment["TRIMTAB_CLUSTERS"] = json.dumps(clusters)

    async def _announce(self, projects: range) -> None:
        added = len(projects)
        self._statuses.expect(
            (f"p{number}-{DOMAIN}" for number in projects), self._stream.revision + added
        )
        await self._stream.announce(*(ProjectChanged(name=f"p{number}") for number in projects))

    async def _one_by_one(self) -> None:
        alone = await self._raw.one_by_one()
        changes = [
            await self._change(Scope(DOMAIN, f"p{number}"), [name])
            for number, name in enumerate(NAMES)
        ]
        alone += await self._raw.one_by_one()
        limit, (p50, p99) = percentiles(alone), percentiles(changes)
        print(
            f"  change → applied ({FEW})   p50 {p50:6.1f} ms  p99 {p99:6.1f} ms   "
            f"{p50 / limit[0]:.1f} and {p99 / limit[1]:.1f} × the limit, goal ≤ 5 ×, ≤ 100 ms"
        )
        print(f"    limit: raw apply         p50 {limit[0]:6.1f} ms  p99 {limit[1]:6.1f} ms")

    async def _all_at_once(self) -> None:
        rates = []
        for _ in repeat(None, 3):
            before = await self._raw.all(self._raw.apply)
            seconds = await self._change(Scope(DOMAIN), NAMES)
            after = await self._raw.all(self._raw.apply)
            rates.append((FEW / seconds, 2 * FEW / (before + after)))
        rate, limit = sorted(rates, key=lambda each: each[0] / each[1])[1]
        share = f"{rate / limit:.0%} of the limit, goal ≥ 70 %"
        print(f"  a change of {FEW} namespaces{rate:>14.0f}/s    {share}")
        print(f"    limit: raw applies, 16 at a time{limit:>8.0f}/s")

    async def _check(self) -> None:
        """Measure a periodic check of all objects, of which none has changed."""
        async with httpx.AsyncClient() as http:
            while await self._is_idle(http):
                await asyncio.sleep(0.005)
        seconds = await self._until_idle()
        limit = await self._raw.all(self._raw.read, OBJECTS)
        share = f"{seconds / limit:.1f} × {FEW * OBJECTS:,} raw reads, {limit:.2f} s"
        print(f"  check of {FEW * OBJECTS:,} equal objects{seconds:>12.2f} s    {share}")

    async def _idle(self, proxy: faults.FaultProxy) -> None:
        await asyncio.sleep(5)  # the last namespaces are still worked on
        proxy.requests.clear()
        await asyncio.sleep(IDLE_SECONDS)
        print(f"  requests in {IDLE_SECONDS} idle seconds{len(proxy.requests):>14}")


async def timed(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


def percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    """Return p50 and p99 in milliseconds."""
    cuts = quantiles(seconds, n=100)
    return cuts[49] * 1e3, cuts[98] * 1e3


async def measure(directory: Path, url: str, kubeconfig: Path) -> None:
    async with namespaces.connected(url) as client:
        await Bench(client, directory, url, kubeconfig).measure(client, directory)


def run() -> None:
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as path:
        directory = Path(path)
        (directory / "templates").mkdir()
        maps = (CONFIG_MAP.replace("NUMBER", str(number)) for number in range(OBJECTS - 2))
        (directory / "templates" / "namespace.yaml").write_text(TEMPLATE + "".join(maps))
        with (
            NatsServer(directory / "nats") as server,
            ControlPlane(directory / "control-plane") as control_plane,
        ):
            uvloop.run(measure(directory, server.url, control_plane.kubeconfig))


if __name__ == "__main__":
    run()
