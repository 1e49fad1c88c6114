"""How long a short read waits while one caller reads as much as it can, with 100,000 records.

admin is one process on a database with 2,000 projects, without the other services. A caller makes
one kind of call again and again; another one reads ``/healthz`` and a record in turn. The limit is
the longest wait in the same time without the first caller. CPU time is that of admin for one call.
Run as ``python -m bench.waits``.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import uvloop

from bench.http import Connection
from bench.settings import database
from tests import installation
from tests.servers import free_port

TOKEN = "t0ken"
GOAL_MILLIS = 100
LEAST_SECONDS, LEAST_CALLS = 3.0, 3
SHORT = ("/healthz", "/api/v2/records/workflow_priority?domain=production")
AT_ONCE = 16
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


class Admin:
    """admin as a process, without NATS."""

    def __init__(self, directory: Path, database_url: str) -> None:
        directory.mkdir(exist_ok=True)
        (directory / "token").write_text(TOKEN)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._environment = {
            **os.environ,
            "TRIMTAB_NATS_URL": "nats://127.0.0.1:1",
            "TRIMTAB_DATABASE_URL": database_url,
            "TRIMTAB_TOKEN_FILE": str(directory / "token"),
            "TRIMTAB_PORT": str(port),
            "TRIMTAB_LOG_LEVEL": "ERROR",
        }

    @contextmanager
    def running(self) -> Iterator[psutil.Process]:
        command = [sys.executable, "-m", "trimtab_admin"]
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
        return "settings" in json.loads(body).get("reasons", {})


class Waits(NamedTuple):
    """The longest waits of the short reads, in milliseconds, in the order of `SHORT`."""

    longest: tuple[float, ...]

    def __str__(self) -> str:
        return "  ".join(f"{each:6.0f} ms" for each in self.longest)


async def short_reads(admin: Admin, done: asyncio.Event, paths: tuple[str, ...] = SHORT) -> Waits:
    longest = [0.0] * len(paths)
    async with admin.connect() as connection:
        while not done.is_set():
            for number, path in enumerate(paths):
                began = time.perf_counter()
                await connection.call("GET", path)
                longest[number] = max(longest[number], 1000 * (time.perf_counter() - began))
            await asyncio.sleep(0.005)
    return Waits(tuple(longest))


async def waits_during(admin: Admin, method: str, path: str, body: object, callers: int) -> Waits:
    """Return the longest waits while so many connections make the same call again and again."""
    done = asyncio.Event()
    began = time.perf_counter()

    async def caller() -> None:
        async with admin.connect() as connection:
            calls = 0
            while calls < LEAST_CALLS or time.perf_counter() - began < LEAST_SECONDS:
                await connection.call(method, path, body)
                calls += 1

    async def all_callers() -> None:
        await asyncio.gather(*(caller() for _ in range(callers)))
        done.set()

    waits, _ = await asyncio.gather(short_reads(admin, done), all_callers())
    return waits


async def cpu_millis(admin: Admin, process: psutil.Process, path: str) -> float:
    """Return the CPU time of a call, the mean of several."""
    calls, before = 0, cpu_seconds(process)
    async with admin.connect() as connection:
        while calls < 2 or (calls < 100 and cpu_seconds(process) - before < 1.0):
            await connection.call("GET", path)
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
        f"{cpu_seconds(process) - listening:.1f} s; longest wait {waits}"
    )


async def measure(admin: Admin) -> None:
    with admin.running() as process:
        await until_loaded(admin, process)
        print(f"  {'call':42} {'CPU':>9}    longest wait of /healthz, of a record")
        print(f"  {'none (the limit)':42} {'':9}    {await idle(admin)}")
        for name, below in HEAVY.items():
            path = f"/api/v2{below}"
            waits = await waits_during(admin, "GET", path, None, 1)
            cpu = await cpu_millis(admin, process, path)
            print(f"  {name:42} {cpu:6.1f} ms    {waits}", flush=True)
        before = memory_mib(process)
        waits = await waits_during(admin, "GET", "/api/v2/export", None, AT_ONCE)
        print(f"  {f'{AT_ONCE} exports at once':42} {'':9}    {waits}")
        print(f"  {'memory before and after them':42} {before:6.0f} MiB  {memory_mib(process):.0f}")
        waits = await waits_during(admin, "PUT", DRY_RUN, {"priority": 9}, 1)
        print(f"  {'dry run that changes everything':42} {'':9}    {waits}")
        print(f"  {'goal':42} {'':9}    < {GOAL_MILLIS} ms")


def run() -> None:
    for backend in ("SQLite", "PostgreSQL"):
        with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as path:
            directory = Path(path)
            (directory / "postgres").mkdir()
            with database(backend, directory) as url:
                uvloop.run(installation.fill(url, are_sent=True))
                load = os.getloadavg()[0]
                print(f"{backend}, on {os.cpu_count()} cores with a load of {load:.1f}")
                uvloop.run(measure(Admin(directory / "admin", url)))


if __name__ == "__main__":
    run()
