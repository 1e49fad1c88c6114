"""The embedded system: time to start, memory, and time from a change to its manifest.

Run as ``python -m bench.story``.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

import psutil

from trimtab.api.entities import ProjectBody
from trimtab.client import Client
from trimtab.embedded.directory import Directory
from trimtab.levels import Scope

CHANGES = 300
PROJECT, DOMAIN = "bench", "development"


@contextmanager
def running(path: Path) -> Iterator[tuple[Directory, subprocess.Popen[str], float]]:
    """Run ``trimtab up`` in a directory of its own; yield it and the seconds until it was ready."""
    began = time.perf_counter()
    up = subprocess.Popen(
        [str(Path(sys.executable).with_name("trimtab")), "up", "--data", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert up.stdout is not None
    try:
        while "is up" not in up.stdout.readline():
            assert up.poll() is None, "the embedded system did not start"
        yield Directory(path), up, time.perf_counter() - began
    finally:
        up.terminate()
        up.wait(30)


def memory_mib(process: psutil.Process) -> float:
    """Return the memory of a process and its descendants; shared memory is counted once."""
    processes = [process, *process.children(recursive=True)]
    return sum(one.memory_full_info().pss for one in processes) / 2**20


async def wait_for_change(file: Path, before: int) -> float:
    """Wait until a file is replaced, and return its modification time."""
    while not file.exists() or file.stat().st_mtime_ns == before:
        await asyncio.sleep(0.0005)
    return file.stat().st_mtime_ns / 1e9


async def changes(client: Client, manifest: Path) -> tuple[list[float], list[float]]:
    """Return the milliseconds from each PUT to its manifest, and to its response."""
    to_manifest, to_response = [], []
    scope = Scope(DOMAIN, PROJECT)
    for number in range(CHANGES):
        before = manifest.stat().st_mtime_ns if manifest.exists() else 0
        document = {"attributes": {"projectQuotaCpu": str(1000 + number)}}
        began, clock = time.time(), time.perf_counter()
        await client.records.put("cluster_resource", scope, document, force=True)
        to_response.append(1000 * (time.perf_counter() - clock))
        to_manifest.append(1000 * (await wait_for_change(manifest, before) - began))
        # One change is complete before the next one is made.
        await asyncio.sleep(0.01)
    return to_manifest, to_response


def writes(directory: Path) -> list[float]:
    """Return the milliseconds of atomically replacing a manifest: the lower bound."""
    taken = []
    for number in range(CHANGES):
        began = time.perf_counter()
        temporary = directory / "manifest.tmp"
        with temporary.open("w") as file:
            file.write(f"limits.cpu: {number}\n" * 10)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(directory / "manifest.yaml")
        taken.append(1000 * (time.perf_counter() - began))
    return taken


def middle_and_tail(values: list[float]) -> str:
    cuts = quantiles(values, n=100)
    return f"p50 {cuts[49]:6.1f} ms   p99 {cuts[98]:6.1f} ms"


async def measure(directory: Directory) -> tuple[list[float], list[float]]:
    address, token = directory.url(), directory.api_token()
    assert address is not None
    async with Client(address, token) as client:
        await client.projects.create(ProjectBody(name=PROJECT))
        namespace = directory.cluster("embedded") / f"{PROJECT}-{DOMAIN}"
        return await changes(client, namespace / "ResourceQuota-project-quota.yaml")


def run() -> None:
    with tempfile.TemporaryDirectory() as path, running(Path(path) / "data") as system:
        directory, up, seconds = system
        to_manifest, to_response = asyncio.run(measure(directory))
        print(f"trimtab up until ready          {seconds:6.1f} s                     goal ≤ 5 s")
        weight = memory_mib(psutil.Process(up.pid))
        print(f"memory of all processes         {weight:6.0f} MiB                   goal ≤ 500 MB")
        print(
            f"change → manifest ({CHANGES})         {middle_and_tail(to_manifest)}   "
            "goal p99 ≤ 250 ms"
        )
        print(f"  of it PUT until its response  {middle_and_tail(to_response)}")
        print(f"  floor: one atomic write       {middle_and_tail(writes(Path(path)))}")


if __name__ == "__main__":
    run()
