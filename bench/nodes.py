"""The largest execution: its 5,000 nodes run on the executor ``process``.

NATS, admin and propeller are real. Each node has a variable of its own, and calls a task that
returns at once. The limit is an attempt of the executor alone, in the same run: no graph is driven
for it, and nothing is stored. Run as ``python -m bench.nodes [NODES]``.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import httpx
import psutil

from bench.attempts import IN_FLIGHT, MODULE, Measurement
from tests.integration.admin.running import FORCE, SCOPE, register, running, settings_for
from tests.integration.propeller.harness import Propeller
from tests.servers import NatsServer
from trimtab.messages import subjects
from trimtab.runtime import bus
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.connection import connect
from trimtab.workflows.graphs.graph import MAX_NODES, Constant, Node, Task, Workflow
from trimtab.workflows.graphs.node_overrides import NodeOverrides

GOAL = 2.0
ROUNDS = 3
"""Rounds of attempts before the execution, and as many after it."""
_POLL_SECONDS = 1.0


class System(NamedTuple):
    """The processes whose CPU time is measured. This one is admin."""

    propeller: psutil.Process
    nats: psutil.Process

    def cpu_seconds(self) -> Mapping[str, float]:
        """Return the CPU time by what it was spent on."""
        [fork_server] = self.propeller.children()
        times = fork_server.cpu_times()
        # It reaps the shims of attempts, with all below them.
        attempts = times.user + times.system + times.children_user + times.children_system
        return {
            "propeller": _own_seconds(self.propeller),
            "attempts": attempts,
            "admin": time.process_time(),
            "nats-server": _own_seconds(self.nats),
        }


class Figures(NamedTuple):
    """The cost of all nodes of an execution together."""

    admitted_seconds: float
    seconds: float
    cpu_seconds: Mapping[str, float]
    log_events: int
    log_bytes: int


def _own_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def workflow(nodes: int) -> Workflow:
    """Return a workflow of nodes that need nothing of each other."""
    return Workflow(
        name="wide",
        version="1",
        tasks={"increment": Task(name="increment")},
        nodes=tuple(
            Node(
                id=f"n{number}",
                task="increment",
                inputs={"x": Constant(value=number)},
                overrides=NodeOverrides(environment={"INDEX": f"{number}"}),
            )
            for number in range(nodes)
        ),
        module=MODULE,
    )


@asynccontextmanager
async def system(path: Path, nats: NatsServer) -> AsyncIterator[tuple[httpx.AsyncClient, System]]:
    """Run admin and a propeller."""
    others = set(psutil.Process().children())
    async with running(settings_for(path, nats.url)) as admin:
        with Propeller(nats.url, path):
            [propeller] = set(psutil.Process().children()) - others
            while not propeller.children():
                await asyncio.sleep(0.1)
            [server] = [each for each in others if each.name() == "nats-server"]
            yield admin, System(propeller, server)


async def ended(admin: httpx.AsyncClient, path: str) -> float:
    """Wait for the end of an execution; return the time at which it was seen to be admitted."""
    admitted = 0.0
    while True:
        # The first node stands for all: to read 5,000 again and again would be measured too.
        body = (await admin.get(path, params={"node": "n0"})).json()
        if not admitted and body["resolution"]:
            admitted = time.monotonic()
        if body["phase"] not in ("requested", "running"):
            assert body["phase"] == "succeeded", body["error"]
            return admitted
        await asyncio.sleep(_POLL_SECONDS if admitted else 0.05)


async def execute(admin: httpx.AsyncClient, measured: System, nats_url: str) -> Figures:
    """Run the registered workflow once."""
    before, began = measured.cpu_seconds(), time.monotonic()
    created = await admin.post("/executions", json={**SCOPE, "workflow": "wide"})
    assert created.status_code == 201, created.text
    execution = created.json()["id"]
    admitted = await ended(admin, f"/executions/{execution}")
    seconds, after = time.monotonic() - began, measured.cpu_seconds()
    async with connect(ServiceConfig(nats_url=nats_url), "bench") as client:
        subject = subjects.events(execution)
        messages = await bus.read_all(client, subjects.EXECUTION_EVENTS, subject)
    return Figures(
        admitted - began,
        seconds,
        {name: after[name] - before[name] for name in after},
        len(messages),
        sum(len(message.body) for message in messages),
    )


async def run_nodes(nodes: int) -> Figures:
    with (
        TemporaryDirectory() as directory,
        NatsServer(Path(directory) / "nats") as nats,
    ):
        async with system(Path(directory), nats) as (admin, measured):
            await admin.post("/projects", json={"name": SCOPE["project"]})
            limit = {"max_parallelism": IN_FLIGHT}
            params = {**SCOPE, **FORCE}
            await admin.put("/records/workflow_execution_config", params=params, json=limit)
            await register(admin, workflow(nodes))
            return await execute(admin, measured, nats.url)


async def attempts_alone() -> list[float]:
    """Return the CPU seconds of an attempt of the executor, in several rounds."""
    with TemporaryDirectory() as directory:
        measurement = Measurement(Path(directory))
        await measurement.start()
        found = [(await measurement.round({"INDEX": "0"}))[0] for _ in range(ROUNDS)]
        measurement.close()
    return found


async def measure(nodes: int) -> None:
    before = await attempts_alone()
    found = await run_nodes(nodes)
    limit = median([*before, *await attempts_alone()])
    cpu = found.cpu_seconds
    of_attempts = (cpu["propeller"] + cpu["attempts"]) / nodes
    print(
        f"{nodes:,} nodes, {IN_FLIGHT} at a time{'':<18}{found.seconds:>8.1f} s of time, "
        f"{nodes / found.seconds:.1f} nodes a second; admitted after {found.admitted_seconds:.1f} s"
    )
    for name, seconds in cpu.items():
        print(f"{f'  {name}, a node':<40}{1000 * seconds / nodes:>8.2f} ms of CPU time")
    print(f"{'limit: an attempt of the executor alone':<40}{1000 * limit:>8.2f} ms of CPU time")
    print(f"{'propeller and attempts ÷ limit':<40}{of_attempts / limit:>8.2f}    goal ≤ {GOAL:.0f}")
    print(
        f"{'log of a node':<40}{found.log_bytes / nodes:>8,.0f} bytes in "
        f"{found.log_events / nodes:.2f} events, with the first ones of the execution"
    )


def run(nodes: int = MAX_NODES) -> None:
    asyncio.run(measure(nodes))


if __name__ == "__main__":
    run(*map(int, sys.argv[1:]))
