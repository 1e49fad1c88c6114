"""CPU time of one attempt of the executor ``process``, and how many run in a second.

The attempts call a task that returns at once. The time is that of the executor, of its fork server
and of all processes of the attempts. The limit is the start of an interpreter that does nothing.
A bundle adds the time to write its files and to remove them, which depends on the file system: ext4
passes over each inode that was deleted in the last minute.
Run as ``python -m bench.attempts``.
"""

import asyncio
import os
import resource
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from trimtab.blobs.port import digest_of
from trimtab.workflows.code.archives import pack
from trimtab.workflows.graphs.targets import Function
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.executors.port import Returned
from trimtab_propeller.executors.process import ProcessExecutor

ATTEMPTS = 40
"""The number of attempts in one round."""
IN_FLIGHT = 4
ROUNDS = 5
GOAL = 2.0
GOAL_A_SECOND = 8
MODULE = """
from trimtab import task

@task
def increment(x): return x + 1
"""
OWN_INTERPRETER = {"PYTHONHASHSEED": "0"}
_TICKS = os.sysconf("SC_CLK_TCK")


FILES = 1000
BUNDLE = pack(
    {
        "shop/tasks.py": MODULE.encode(),
        **{
            f"shop/module_{number}.py": 40 * b"price = {}  # by name of article and country\n"
            for number in range(FILES - 1)
        },
    }
)


def attempt(number: int, environment: dict[str, str], bundle: str = "") -> Attempt:
    return Attempt(
        execution="bench",
        node="n0",
        number=number,
        project="shop",
        domain="development",
        workflow="nightly",
        task="increment",
        inputs={"x": number},
        module="" if bundle else MODULE,
        bundle=bundle,
        target=Function(module="shop.tasks" if bundle else "", name="increment"),
        environment=environment,
        by_platform_admin=True,
    )


async def fetch(_digest: str) -> bytes:
    return BUNDLE


class Measurement:
    """Runs rounds of attempts on one executor."""

    def __init__(self, data: Path) -> None:
        self._executor = ProcessExecutor(data, fetch_bundle=fetch)
        self._numbers = count()

    async def start(self) -> None:
        """Start the fork server, so that no round pays for it."""
        await self._run_one({})
        [self._fork_server] = children(os.getpid())

    async def round(self, environment: dict[str, str], bundle: str = "") -> tuple[float, float]:
        """Return the CPU time of an attempt in seconds, and the number of attempts in a second."""
        places = asyncio.Semaphore(IN_FLIGHT)

        async def run_one() -> None:
            async with places:
                await self._run_one(environment, bundle)

        before, began = self._cpu_seconds(), time.monotonic()
        await asyncio.gather(*(run_one() for _ in range(ATTEMPTS)))
        seconds = time.monotonic() - began
        return (self._cpu_seconds() - before) / ATTEMPTS, ATTEMPTS / seconds

    def close(self) -> None:
        self._executor.close()

    async def _run_one(self, environment: dict[str, str], bundle: str = "") -> None:
        wanted = attempt(next(self._numbers), environment, bundle)
        await self._executor.start(wanted)
        assert await self._executor.wait(wanted) == Returned(wanted.number + 1)

    def _cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self._fork_server}/stat").read_text().rpartition(")")[2].split()
        # Its own time, and that of the shims that it has reaped, with all below them.
        return time.process_time() + sum(map(int, fields[11:15])) / _TICKS


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def bare_start() -> float:
    """Return the CPU time of an interpreter that does nothing."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(ATTEMPTS // 4):
        subprocess.run([sys.executable, "-c", "pass"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent / (ATTEMPTS // 4)


async def measure() -> None:
    with TemporaryDirectory() as directory:
        measurement = Measurement(Path(directory))
        await measurement.start()
        forked, own, bundled, bare = [], [], [], []
        for _ in range(ROUNDS):
            forked.append(await measurement.round({}))
            own.append(await measurement.round(OWN_INTERPRETER))
            bundled.append(await measurement.round({}, digest_of(BUNDLE)))
            bare.append(bare_start())
        measurement.close()
    cpu, a_second = (median(column) for column in zip(*forked, strict=True))
    own_cpu, own_a_second = (median(column) for column in zip(*own, strict=True))
    bundled_cpu, bundled_a_second = (median(column) for column in zip(*bundled, strict=True))
    limit = median(bare)
    print(f"{'a task that is forked':<40}{1000 * cpu:>8.1f} ms of CPU time")
    print(f"{'a task with an interpreter of its own':<40}{1000 * own_cpu:>8.1f} ms of CPU time")
    print(f"{f'forked, a bundle of {FILES} files':<40}{1000 * bundled_cpu:>8.1f} ms of CPU time")
    print(f"{'limit: an interpreter that does nothing':<40}{1000 * limit:>8.1f} ms of CPU time")
    print(f"{'forked ÷ limit':<40}{cpu / limit:>8.2f}    goal ≤ {GOAL}")
    print(
        f"{f'forked, {IN_FLIGHT} in flight':<40}{a_second:>8.1f} a second, goal > {GOAL_A_SECOND}"
    )
    print(f"{f'own interpreter, {IN_FLIGHT} in flight':<40}{own_a_second:>8.1f} a second")
    print(f"{f'bundle, {IN_FLIGHT} in flight':<40}{bundled_a_second:>8.1f} a second")


def run() -> None:
    """Print the medians of several rounds, which take turns, so that load affects all of them."""
    asyncio.run(measure())


if __name__ == "__main__":
    run()
