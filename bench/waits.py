"""How long a short read waits while one caller does as much as it can, with 100,000 records.

admin is one process on a database with 2,000 projects, without the other services. A caller makes
one kind of call again and again; another one reads ``/healthz`` and a record in turn. The limit is
the longest wait in the same time without the first caller, measured just before. A wait is of the
machine too; the longest round of the event loop is CPU time of admin alone (`bench.ticking`). CPU
time is that of admin for one call. Run as ``python -m bench.waits [SQLite] [PostgreSQL]``.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import uvloop

from bench import executions, ticking
from bench.http import Connection
from bench.settings import database
from tests import installation
from tests.servers import free_port
from trimtab.api.settings import MAX_DOCUMENTS
from trimtab.workflows.graphs.graph import MAX_NODES

TOKEN = "t0ken"
GOAL_MILLIS = 100
LEAST_SECONDS, LEAST_CALLS = 3.0, 3
SHORT = ("/healthz", "/api/v2/records/workflow_priority?domain=production")
AT_ONCE = 16
BACKENDS = ("SQLite", "PostgreSQL")
TARGET = f"project={installation.project_name(1)}&domain=staging"
HEAVY: Mapping[str, str] = {
    "page of 100 records": "/records?limit=100",
    "page of 10,000 records": "/records?limit=10000",
    "page of 100, of a kind": "/records?limit=100&kind=task_resource",
    "page of 100, of a level": "/records?limit=100&level=workflow",
    "page of 100, of a domain": "/records?limit=100&domain=staging",
    "page of 100, of a project": f"/records?limit=100&project={installation.project_name(1999)}",
    "page of 100, of a workflow": "/records?limit=100&workflow=workflow-2",
    "page without a match": "/records?limit=100&level=workflow&domain=staging&workflow=x",
    "export": "/export",
    "effective values of all kinds": f"/effective?{TARGET}",
    "explanation": f"/explain/task_resource?{TARGET}",
    "projects": "/projects",
    "kinds": "/kinds",
    "OpenAPI": "/openapi.json",
    "1,000 changes of history": "/history?limit=1000",
    "search of history without a match": "/history?domain=staging&workflow=x",
}
DRY_RUN = "/api/v2/records/workflow_priority?dry_run=true&force=true"
EXECUTION = {"project": installation.project_name(1), "domain": "staging"}
PROJECTS = 1_000
"""The projects of one apply, each of which gets namespaces."""


class Admin:
    """admin as a process, without NATS."""

    def __init__(self, directory: Path, database_url: str) -> None:
        directory.mkdir(exist_ok=True)
        (directory / "token").write_text(TOKEN)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TRIMTAB_NATS_URL": "nats://127.0.0.1:1",
            "TRIMTAB_DATABASE_URL": database_url,
            "TRIMTAB_TOKEN_FILE": str(directory / "token"),
            "TRIMTAB_PORT": str(port),
            "TRIMTAB_LOG_LEVEL": "ERROR",
        }

    @contextmanager
    def running(self) -> Iterator[psutil.Process]:
        command = [sys.executable, "-m", "bench.ticking"]
        process = subprocess.Popen(command, env=self._environment)
        try:
            yield psutil.Process(process.pid)
        finally:
            process.kill()
            process.wait()

    def connect(self) -> Connection:
        return Connection(self.url, TOKEN)

    async def is_loading(self) -> bool:
        """Return whether readiness names the settings; without NATS admin is never ready."""
        reader, writer = await asyncio.open_connection("127.0.0.1", int(self.url.split(":")[2]))
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        body = (await reader.read()).partition(b"\r\n\r\n")[2]
        writer.close()
        # A connection that was made before admin serves may be closed without a response.
        return not body or "settings" in json.loads(body).get("reasons", {})


class Waits(NamedTuple):
    """The longest waits of the short reads, and of rounds of admin's loop, in milliseconds."""

    longest: tuple[float, ...]
    """In the order of `SHORT`."""
    round: float

    def __str__(self) -> str:
        waits = "".join(f"{each:7.0f} ms" for each in self.longest)
        return f"{self.round:7.0f} ms  {waits}"


async def short_reads(admin: Admin, done: asyncio.Event, paths: tuple[str, ...] = SHORT) -> Waits:
    longest = [0.0] * len(paths)
    async with admin.connect() as connection:
        await connection.call("GET", ticking.PATH)
        while not done.is_set():
            for number, path in enumerate(paths):
                began = time.perf_counter()
                await connection.call("GET", path)
                longest[number] = max(longest[number], 1000 * (time.perf_counter() - began))
            await asyncio.sleep(0.005)
        ticks = await connection.json("GET", ticking.PATH)
    return Waits(tuple(longest), ticks["longest"])


Call = Callable[[Connection], Awaitable[object]]


def reading(path: str) -> Call:
    return lambda connection: connection.call("GET", f"/api/v2{path}")


async def waits_during(
    admin: Admin, call: Call, *, callers: int = 1, calls: int = LEAST_CALLS
) -> Waits:
    """Return the longest waits while so many connections make the same call again and again."""
    done = asyncio.Event()
    began = time.perf_counter()

    async def caller() -> None:
        async with admin.connect() as connection:
            made = 0
            while made < calls or (calls > 1 and time.perf_counter() - began < LEAST_SECONDS):
                await call(connection)
                made += 1

    async def all_callers() -> None:
        await asyncio.gather(*(caller() for _ in range(callers)))
        done.set()

    waits, _ = await asyncio.gather(short_reads(admin, done), all_callers())
    return waits


async def cpu_millis(admin: Admin, process: psutil.Process, call: Call) -> float:
    """Return the CPU time of a call, the mean of several."""
    calls, before = 0, cpu_seconds(process)
    async with admin.connect() as connection:
        while calls < 2 or (calls < 100 and cpu_seconds(process) - before < 1.0):
            await call(connection)
            calls += 1
    return 1000 * (cpu_seconds(process) - before) / calls


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def memory_mib(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


async def idle(admin: Admin) -> Waits:
    done = asyncio.Event()
    asyncio.get_running_loop().call_later(LEAST_SECONDS, done.set)
    return await short_reads(admin, done)


async def until_loaded(admin: Admin, process: psutil.Process) -> None:
    """Print how long the start takes, and how long ``/healthz`` waits during it."""
    while True:
        with suppress(OSError):
            if await admin.is_loading():
                break
            print("  the settings were loaded before admin listened")
            return
        await asyncio.sleep(0.02)
    listening, done = cpu_seconds(process), asyncio.Event()

    async def watch() -> None:
        while await admin.is_loading():
            await asyncio.sleep(0.2)
        done.set()

    waits, _ = await asyncio.gather(short_reads(admin, done, SHORT[:1]), watch())
    print(
        f"  {'until admin listens, then until it is ready':42} {listening:6.1f} s of CPU, "
        f"{cpu_seconds(process) - listening:.1f} s; longest round and wait {waits}"
    )


class Bench:
    """Prints the table of one database."""

    def __init__(self, admin: Admin, process: psutil.Process) -> None:
        self._admin = admin
        self._process = process

    async def run(self) -> None:
        admin = self._admin
        await until_loaded(admin, self._process)
        print(f"  {'call':34} {'CPU':>10}     {'round':>7}    /healthz  record    the limits")
        for name, path in HEAVY.items():
            await self._measure(name, reading(path))
        before = memory_mib(self._process)
        await self._measure("an export", reading("/export"), calls=1)
        print(f"  {'memory before and after it':34} {before:6.0f} MiB  {self._memory}")
        await self._measure(f"{AT_ONCE} exports at once", reading("/export"), callers=AT_ONCE)
        print(f"  {'memory after them':34} {'':10}  {self._memory}")
        await self._measure("dry run that changes everything", dry_run)
        await self._measure("create a project", create_project)
        await self._measure(f"apply of {PROJECTS:,} projects", apply_projects, calls=1)
        await self._measure(f"apply of {MAX_DOCUMENTS:,} records", applying_records(), calls=1)
        print(f"  {'memory after it':34} {'':10}  {self._memory}")
        async with admin.connect() as connection:
            path = await largest_execution(connection)
        await self._measure(f"an execution of {MAX_NODES:,} nodes", reading(path))
        print(f"  {'goal':34} {'':10}     {'':7}     < {GOAL_MILLIS} ms")

    @property
    def _memory(self) -> str:
        return f"{memory_mib(self._process):.0f} MiB"

    async def _measure(
        self, name: str, call: Call, *, callers: int = 1, calls: int = LEAST_CALLS
    ) -> None:
        limit = await idle(self._admin)
        before = cpu_seconds(self._process)
        waits = await waits_during(self._admin, call, callers=callers, calls=calls)
        cpu = 1000 * (cpu_seconds(self._process) - before)
        if calls > 1 and callers == 1:
            cpu = await cpu_millis(self._admin, self._process, call)
        print(f"  {name:34} {cpu:7.1f} ms {waits}   {limit}", flush=True)


async def dry_run(connection: Connection) -> None:
    await connection.call("PUT", DRY_RUN, {"priority": 9})


async def create_project(connection: Connection) -> None:
    await connection.call("POST", "/api/v2/projects", {"name": f"new-{time.time_ns()}"})


async def apply_projects(connection: Connection) -> None:
    documents = [
        {"kind": "project", "name": f"more-{number}", "document": {}} for number in range(PROJECTS)
    ]
    await connection.call("POST", "/api/v2/apply", {"documents": documents})


def applying_records() -> Call:
    """Return the call that replaces as many records as one apply may have by other documents."""
    documents = [changed(number) for number in range(100, 100 + MAX_DOCUMENTS)]
    return lambda connection: connection.call("POST", "/api/v2/apply", {"documents": documents})


def changed(number: int) -> dict[str, object]:
    kind, scope, document = installation.record(number)
    others = {
        "task_resource": {"defaults": {"cpu": "2"}},
        "workflow_priority": {"priority": 2},
        "execution_queue": {"tags": ["other"]},
    }
    return {
        "kind": kind,
        "domain": scope.domain,
        "project": scope.project,
        "workflow": scope.workflow,
        "document": others.get(kind, {**document, "max_parallelism": 9}),
    }


async def largest_execution(connection: Connection) -> str:
    """Create an execution of the largest workflow, and return its path."""
    workflow = executions.request(own=False).workflow
    body = {**EXECUTION, "workflow": workflow.model_dump(mode="json")}
    await connection.call("POST", "/api/v2/workflows", body)
    body = {**EXECUTION, "workflow": workflow.name}
    created = await connection.json("POST", "/api/v2/executions", body)
    return f"/executions/{created['id']}"


async def measure(admin: Admin) -> None:
    with admin.running() as process:
        await Bench(admin, process).run()


def run(backends: Sequence[str] = BACKENDS) -> None:
    for backend in backends:
        with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as path:
            directory = Path(path)
            (directory / "postgres").mkdir()
            with database(backend, directory) as url:
                uvloop.run(installation.fill(url, are_sent=True))
                load = os.getloadavg()[0]
                print(f"{backend}, on {os.cpu_count()} cores with a load of {load:.1f}")
                uvloop.run(measure(Admin(directory / "admin", url)))


if __name__ == "__main__":
    run(sys.argv[1:] or BACKENDS)
