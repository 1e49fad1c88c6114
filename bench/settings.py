"""Settings over HTTP on SQLite and on PostgreSQL, with ten thousand stored records.

The four services, NATS, Valkey, the database and the clients share the machine's cores. Both
databases keep a committed change when any process crashes. Each limit is measured within a minute
of its figure. Run as ``python -m bench.settings``.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import nats
import uvloop

from bench import commit_server, fold
from bench.databases import create_tables
from bench.http import Call, Connection, Timings, run_callers
from tests import databases
from tests.servers import PostgresServer
from tests.system import System

PROJECTS, WORKFLOWS = 100, 100
"""A record for each workflow of each project."""
RECORDS = PROJECTS * WORKFLOWS
APPLIED = 250
"""Documents in one request to apply."""
WRITERS, WRITES = (4, 16), 2000
READERS, READS = 16, 4000
ROUNDS = 3
"""Measurements that are compared alternate, so that load on the machine affects both."""
VIEWED = 300
DRY_RUNS = 20
DOMAIN = "development"
KIND = "task_resource"


class Figure(NamedTuple):
    """A measurement in the printed table, with its goal and its limit."""

    name: str
    measured: str
    goal: str = ""
    limit: str = ""
    limit_is: str = ""


def record_path(workflow: str, project: str) -> str:
    """Return the path and query of a record."""
    scope = {"domain": DOMAIN, "project": project, "workflow": workflow}
    return f"/api/v2/records/{KIND}?{urlencode({**scope, 'force': 'true'})}"


def effective_path(number: int) -> str:
    """Return the path and query of the effective value of one of 70 targets."""
    project, workflow = f"p{number % 10}", f"w{number % 7}"
    scope = {"domain": DOMAIN, "project": project, "workflow": workflow}
    return f"/api/v2/effective/{KIND}?{urlencode(scope)}"


def documents() -> Iterator[dict[str, object]]:
    """Yield the projects and records of `bench.fold` as documents to apply."""
    for name in (f"p{number}" for number in range(PROJECTS)):
        yield {"kind": "project", "name": name, "document": {}}
        yield {"kind": KIND, "domain": DOMAIN, "project": name, "document": fold.PROJECT}
        for number in range(WORKFLOWS):
            scope = {"domain": DOMAIN, "project": name, "workflow": f"w{number}"}
            yield {"kind": KIND, **scope, "document": fold.WORKFLOW}
    yield {"kind": KIND, "domain": DOMAIN, "document": fold.DOMAIN}


async def seed(admin: Connection) -> None:
    everything = list(documents())
    for start in range(0, len(everything), APPLIED):
        part = everything[start : start + APPLIED]
        await admin.call("POST", "/api/v2/apply", {"documents": part})


class Bench:
    """Measures one running system."""

    def __init__(self, system: System, database_url: str) -> None:
        self._system = system
        self._database_url = database_url
        self._memory = count(1)
        """Numbers for documents, each of which must change its record."""

    async def run(self) -> AsyncIterator[Figure]:
        system = self._system
        await system.until_ready()
        async with Connection(system.url, system.token) as admin:
            await seed(admin)
            await self._until_equal_views(admin)
            # These services would use the cores for each change while admin is measured.
            system.kill("clusterres", "resmgr", "propeller")
            async for figure in self._writes():
                yield figure
            yield await self._reads()
            yield await self._dry_run(admin)
            system.start("propeller")
            await system.until_ready("propeller")
            yield await self._time_to_view(admin)
            yield await self._resync(admin)

    async def _writes(self) -> AsyncIterator[Figure]:
        await create_tables(self._database_url)
        async with commit_server.running(self._database_url) as limit_url:
            for writers in WRITERS:
                yield await self._writes_by(writers, limit_url)

    async def _writes_by(self, writers: int, limit_url: str) -> Figure:
        async def put(connection: Connection, number: int) -> None:
            document = {"limits": {"cpu": "2", "memory": f"{next(self._memory)}Mi"}}
            path = record_path(f"w{number % WORKFLOWS}", f"p{number % 7}")
            await connection.call("PUT", path, document)

        async def append(connection: Connection, _number: int) -> None:
            await connection.call("PUT", "/append", {})

        await self._call(writers, WRITES // ROUNDS, put)
        pairs = []
        for _ in range(ROUNDS):
            least = await run_callers(limit_url, "", writers, WRITES // ROUNDS, append)
            pairs.append((least, await self._call(writers, WRITES // ROUNDS, put)))
        limit, taken = (combine(column) for column in zip(*pairs, strict=True))
        share = f"{taken.rate / limit.rate:.0%} of the limit"
        return Figure(
            f"writes, {writers} at a time",
            f"{figures(taken)}  {share}",
            "≥ 50 % of the limit, p99 at most twice its own",
            figures(limit),
            "an empty handler and one commit by the driver",
        )

    async def _reads(self) -> Figure:
        async def read(connection: Connection, number: int) -> None:
            await connection.call("GET", effective_path(number))

        async def read_health(connection: Connection, _number: int) -> None:
            await connection.call("GET", "/healthz")

        await self._call(READERS, READS, read)
        pairs = [
            (await self._call(READERS, READS, read_health), await self._call(READERS, READS, read))
            for _ in range(ROUNDS)
        ]
        empty, taken = (combine(column) for column in zip(*pairs, strict=True))
        share = f"{taken.rate / empty.rate:.0%} of an empty route"
        return Figure(
            f"effective reads, {READERS} at a time",
            f"{figures(taken)}  {share}",
            "≥ 45 % of the limit",
            figures(empty),
            "an empty route, /healthz",
        )

    async def _dry_run(self, admin: Connection) -> Figure:
        path = f"/api/v2/records/{KIND}?dry_run=true&force=true"
        taken = []
        for number in range(DRY_RUNS):
            document = {"limits": {"ephemeral_storage": f"{1 + number}Gi"}}
            began = time.perf_counter()
            answer = await admin.json("PUT", path, document)
            taken.append(1000 * (time.perf_counter() - began))
            assert answer["dry_run"] is True
        settings = fold.stored()
        limit = 1000 * RECORDS / max(fold.per_second(fold.merge, settings) for _ in range(ROUNDS))
        return Figure(
            f"dry run over {RECORDS:,} records",
            f"p50 {sorted(taken)[len(taken) // 2]:.0f} ms  most {max(taken):.0f} ms",
            "< 300 ms",
            f"{limit:.0f} ms",
            "a plain merge of the documents",
        )

    async def _time_to_view(self, admin: Connection) -> Figure:
        taken: list[float] = []
        async with Connection(self._system.address("propeller")) as propeller:
            for number in range(VIEWED):
                began = time.perf_counter()
                document = {"limits": {"cpu": "2", "memory": f"{1 + number}Gi"}}
                version = (await admin.json("PUT", record_path("w0", "p0"), document))["version"]
                while (await propeller.json("GET", "/readyz"))["view"]["revision"] < version:
                    pass
                taken.append(1000 * (time.perf_counter() - began))
        return Figure(
            "PUT → propeller's view",
            spread(Timings(1.0, taken)),
            "p99 < 100 ms",
            spread(await self._publish(VIEWED)),
            "one append to JetStream",
        )

    async def _resync(self, admin: Connection) -> Figure:
        self._system.start("clusterres", "resmgr")
        await self._system.until_ready()
        await self._until_equal_views(admin)
        began = time.perf_counter()
        answer = await admin.json("POST", "/api/v2/resync", {})
        await self._until_equal_views(admin)
        seconds = time.perf_counter() - began
        limit = await self._publish(answer["settings"])
        return Figure(
            f"resync of {answer['settings']:,} until all views are equal",
            f"{seconds:.1f} s",
            "< 30 s",
            f"{limit.seconds:.1f} s",
            "as many appends to JetStream",
        )

    async def _until_equal_views(self, admin: Connection) -> None:
        """Wait until all views have the same content at the revision of the database."""
        while True:
            current = (await admin.json("GET", "/api/v2/status"))["revision"]
            views = self._system.views()
            if all(view == views[0] and view.get("revision") == current for view in views):
                return
            await asyncio.sleep(0.02)

    async def _call(self, count: int, calls: int, call: Call) -> Timings:
        return await run_callers(self._system.url, self._system.token, count, calls, call)

    async def _publish(self, count: int) -> Timings:
        """Publish messages to an extra stream, each after the acknowledgement of the last one."""
        server = self._system.nats
        client = await nats.connect(server.url, user=server.user, password=server.password)
        jetstream = client.jetstream()
        await jetstream.add_stream(name="BENCH", subjects=["bench"])
        taken = []
        first = time.perf_counter()
        for _ in range(count):
            began = time.perf_counter()
            await jetstream.publish("bench", b"x" * 200)
            taken.append(1000 * (time.perf_counter() - began))
        seconds = time.perf_counter() - first
        await jetstream.delete_stream("BENCH")
        await client.close()
        return Timings(seconds, taken)


def combine(rounds: Sequence[Timings]) -> Timings:
    each = [one for taken in rounds for one in taken.milliseconds]
    return Timings(sum(taken.seconds for taken in rounds), each)


def figures(taken: Timings) -> str:
    return f"{taken.rate:,.0f}/s  {spread(taken)}"


def spread(taken: Timings) -> str:
    return f"p50 {taken.percentile(50):.1f} ms  p99 {taken.percentile(99):.1f} ms"


async def print_figures(figures: AsyncIterator[Figure]) -> None:
    async for figure in figures:
        goal = f"  goal {figure.goal}" if figure.goal else ""
        print(f"  {figure.name:<52}{figure.measured}{goal}")
        print(f"    {'limit: ' + figure.limit_is:<50}{figure.limit}", flush=True)


@contextmanager
def database(backend: str, directory: Path) -> Iterator[str]:
    """Yield the URL of an empty database."""
    if backend == "SQLite":
        yield f"sqlite+aiosqlite:///{directory / 'admin.db'}"
        return
    with (
        PostgresServer(directory / "postgres", durable=True) as server,
        databases.fresh(server.url) as url,
    ):
        yield url


def run() -> None:
    for backend in ("SQLite", "PostgreSQL"):
        with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as path:
            directory = Path(path)
            (directory / "postgres").mkdir()
            with (
                database(backend, directory) as url,
                System(directory / "system", url) as system,
            ):
                print(
                    f"{backend}, on {os.cpu_count()} cores with a load of {os.getloadavg()[0]:.1f}"
                )
                uvloop.run(print_figures(Bench(system, url).run()))


if __name__ == "__main__":
    run()
