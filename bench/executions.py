"""Executions of the largest workflow: CPU time of their events, reads and messages in admin.

The limit of an event is what cannot be avoided: its JSON is parsed, and one transaction of the
driver inserts it and updates one row. CPU time is measured, because the work waits for nothing.
Run as ``python -m bench.executions``.
"""

import asyncio
import json
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from trimtab.levels import Scope
from trimtab.messages.events import RecordChanged
from trimtab.messages.executions import (
    Admitted,
    AnyEvent,
    NodeRunning,
    NodeStarting,
    NodeSucceeded,
    Owned,
    Request,
    parse_event,
)
from trimtab.messages.resolutions import Resolution
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.graph import MAX_NODES, Constant, FromNode, Node, Task, Workflow
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab.workflows.graphs.node_overrides import NodeOverrides
from trimtab_admin import migrations
from trimtab_admin.executions import sizes, states
from trimtab_admin.executions.projection import Projection, new_row
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import (
    Sessions,
    reading_sessions_of,
    sessions_of,
    transaction,
)
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import resolve

AT = datetime(2026, 1, 1, tzinfo=UTC)
SCOPE = Scope("development", "shop")
LENGTHS = (250, 750, 3 * MAX_NODES)
"""The lengths of the log at which the cost of an event is measured."""
SAMPLE = 200
"""The number of events of which the mean is taken."""
LARGEST_RATIO = 1.5
"""The most that an event of a long log may cost in units of one of the shortest log."""

T = TypeVar("T")


def settings() -> Settings:
    stored = Settings()
    documents = {
        "task_resource": {"defaults": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "4"}},
        "workflow_execution_config": {"envs": {f"V{n}": "x" * 20 for n in range(10)}},
    }
    for revision, (kind, document) in enumerate(documents.items(), start=1):
        stored.apply(RecordChanged.at(SCOPE, kind, document), revision)
    return stored


def request(*, own: bool, nodes: int = MAX_NODES) -> Request:
    """Return a request of a chain of nodes, each with a variable of its own if ``own``."""
    workflow = Workflow(
        name="chain",
        version="v1",
        tasks={"step": Task(name="step")},
        nodes=tuple(
            Node(
                id=f"n{n}",
                task="step",
                inputs={"x": FromNode(node=f"n{n - 1}") if n else Constant(value=1)},
                overrides=NodeOverrides(environment={"INDEX": f"{n}"} if own else None),
            )
            for n in range(nodes)
        ),
        module="def step(x): return x\n",
    )
    plan = LaunchPlan(name="chain", workflow="chain", version="v1")
    return Request(
        execution="e1", project="shop", domain="development", workflow=workflow, launch_plan=plan
    )


def log_of(created: Request, resolution: Resolution) -> list[AnyEvent]:
    claim = {"execution": "e1", "owner": "propeller-1", "epoch": 1, "at": AT}
    events: list[AnyEvent] = [
        Owned.model_validate({**claim, "index": 0, "request": created}),
        Admitted.model_validate({**claim, "index": 1, "resolution": resolution}),
    ]
    for node in created.workflow.nodes:
        for event, more in (
            (NodeStarting, {}),
            (NodeRunning, {"location": "/tmp"}),
            (NodeSucceeded, {"output": 1}),
        ):
            fields = {**claim, "index": len(events), "node": node.id, "attempt": 0, **more}
            events.append(event.model_validate(fields))
    return events


def cpu(work: Callable[[], T]) -> tuple[T, float]:
    """Return the result, and the milliseconds of CPU time that it took."""
    began = time.process_time()
    result = work()
    return result, 1000 * (time.process_time() - began)


async def cpu_of(work: Awaitable[T]) -> tuple[T, float]:
    began = time.process_time()
    result = await work
    return result, 1000 * (time.process_time() - began)


async def per_event(sessions: Sessions, log: list[AnyEvent]) -> dict[int, float]:
    """Store the whole log; return the milliseconds of an event at each length."""
    projection, times = Projection(sessions), {}
    bodies = [event.body() for event in log]
    at = 0
    for length in LENGTHS:
        first = max(2, length - SAMPLE)
        for body in bodies[at:first]:
            await projection.on_event(parse_event(body))
        began = time.process_time()
        for body in bodies[first:length]:
            await projection.on_event(parse_event(body))
        times[length] = 1000 * (time.process_time() - began) / (length - first)
        at = length
    return times


def limit(directory: Path, log: list[AnyEvent]) -> float:
    """Return the milliseconds of an event for the driver alone."""
    connection = sqlite3.connect(directory / "limit.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("CREATE TABLE event (number INTEGER PRIMARY KEY, body TEXT)")
    connection.execute("CREATE TABLE node (name TEXT PRIMARY KEY, body TEXT)")
    connection.execute("INSERT INTO node VALUES ('n', '')")
    bodies = [event.body().decode() for event in log[2 : 2 + 5 * SAMPLE]]
    began = time.process_time()
    for number, body in enumerate(bodies):
        json.loads(body)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO event VALUES (?, ?)", (number, body))
        connection.execute("UPDATE node SET body = ? WHERE name = 'n'", (body,))
        connection.execute("COMMIT")
    taken = 1000 * (time.process_time() - began) / len(bodies)
    connection.close()
    return taken


async def measure(directory: Path) -> None:
    url = f"sqlite+aiosqlite:///{directory / 'admin.db'}"
    sessions, reading = sessions_of(url), reading_sessions_of(url)
    created, current = request(own=False), settings()
    async with transaction(sessions) as session:
        await (await session.connection()).run_sync(migrations.upgrade)
        await session.execute(tables.executions.insert(), new_row(created, AT))
    log = log_of(created, resolve(created, current, Capabilities("process")))
    times, least = await per_event(sessions, log), limit(directory, log)
    print(f"limit: parse, insert and update by the driver {least:8.2f} ms")
    for length, taken in times.items():
        print(
            f"one event of a log of {length:>6,} events        {taken:8.2f} ms   "
            f"{taken / least:5.0f} × the limit, {taken / times[LENGTHS[0]]:.2f} × the first   "
            f"goal ≤ {LARGEST_RATIO} × the first"
        )

    async def read() -> states.State:
        async with transaction(reading) as session:
            return await states.read(session, "e1")

    _, taken = await cpu_of(read())
    print(f"read the state of {MAX_NODES:,} nodes                {taken:8.1f} ms")
    for each in (sessions, reading):
        await each.kw["bind"].dispose()


def messages() -> None:
    """Print the sizes and CPU times of the messages of the largest workflow."""
    current = settings()
    print(f"messages of a workflow of {MAX_NODES:,} nodes, of at most 1,048,576 bytes")
    for own in (False, True):
        created = request(own=own)
        _, checked = cpu(lambda: sizes.check(created, current))  # noqa: B023  # called at once
        resolution, resolved = cpu(
            lambda: resolve(created, current, Capabilities("process"))  # noqa: B023
        )
        event = log_of(created, resolution)[1]
        body, written = cpu(event.body)
        _, parsed = cpu(lambda: parse_event(body))  # noqa: B023
        name = "a variable of each" if own else "shared values"
        plain = len(resolution.model_dump_json())
        print(
            f"  {name:<19} request {len(created.model_dump_json()):>8,} bytes, "
            f"admitted {len(body):>8,} bytes (each value of each node: {plain:,})"
        )
        print(
            f"  {'':<19} check {checked:.0f} ms, resolve {resolved:.0f} ms, "
            f"write {written:.0f} ms, parse {parsed:.0f} ms of CPU time"
        )


def run() -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(measure(Path(directory)))
    messages()


if __name__ == "__main__":
    run()
