"""Propellers, tasks and servers that end while a task runs: its outcome counts, once."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import (
    Executions,
    Propeller,
    RecordedLog,
    is_running,
    request,
    until,
)
from tests.servers import PATIENCE_SECONDS, NatsServer
from tests.settings_stream import SettingsStream
from trimtab.errors import Unavailable
from trimtab.messages import subjects
from trimtab.messages.events import ProjectChanged
from trimtab.messages.executions import Admitted, NodeFailed, NodeRunning, NodeStarting, Owned
from trimtab.settings.state import Settings
from trimtab_admin.messaging import streams
from trimtab_propeller.executors import linux
from trimtab_propeller.executors.process import CAPABILITIES
from trimtab_propeller.progress import MAX_INTERRUPTED
from trimtab_propeller.resolution import resolve

GATED = """
import signal
@task
def gated(directory: str):
    with open(directory + "/begun", "a") as begun:
        begun.write(os.environ["TRIMTAB_ATTEMPT"] + "\\n")
    if Path(directory, "returns").exists():
        signal.signal(signal.SIGTERM, lambda *_: Path(directory, "go").touch())
    Path(directory, "ready").touch()
    while not Path(directory, "go").exists():
        time.sleep(0.02)
    Path(directory, "returned").touch()
    return "went"
@workflow
def job(directory: str): return gated(directory=directory)
"""

Module = Callable[[str], Path]


class Gated:
    """An execution whose task records that it has begun, and ends after `open_gate`."""

    def __init__(self, executions: Executions, directory: Path, module: Path) -> None:
        self._executions = executions
        self._request = request(module, inputs={"directory": str(directory)})
        self._gate = directory
        free = directory / "free"
        free.mkdir()
        (free / "go").touch()
        self.other = request(module, inputs={"directory": str(free)})
        """An execution whose gate is open."""
        self.id = self._request.execution

    async def request(self) -> None:
        await self._executions.request(self._request)

    async def begin(self) -> None:
        """Request the execution and wait until its task is running."""
        await self.request()
        await until(lambda: bool(self.attempts) and (self._gate / "ready").exists())
        await self._executions.until(self.id, "node_running")

    def returns_at_sigterm(self) -> None:
        """Let the task return at SIGTERM."""
        (self._gate / "returns").touch()

    @property
    def has_returned(self) -> bool:
        return (self._gate / "returned").exists()

    def open_gate(self) -> None:
        (self._gate / "go").touch()

    @property
    def attempts(self) -> list[str]:
        """The number of each attempt whose task has begun."""
        begun = self._gate / "begun"
        return begun.read_text().split() if begun.exists() else []

    @property
    async def directory(self) -> Path:
        recorded = await self._executions.read(self.id)
        return next(Path(e.location) for e in recorded.events if isinstance(e, NodeRunning))

    async def group(self) -> int:
        """Return the process group of the first attempt, which is the PID of its shim too."""
        return int((await self.directory / "started").read_text().split()[0])

    async def taken_over(self) -> Owned:
        """Wait for a second claim and return it."""
        while True:
            claims = claims_of(await self._executions.read(self.id))
            if len(claims) > 1:
                return claims[-1]
            await asyncio.sleep(0.05)

    async def ended(self) -> RecordedLog:
        return await self._executions.ended(self.id)


def claims_of(recorded: RecordedLog) -> list[Owned]:
    return [event for event in recorded.events if isinstance(event, Owned)]


@pytest.fixture
async def gated(
    executions: Executions, settings_stream: SettingsStream, module: Module, tmp_path: Path
) -> Gated:
    await settings_stream.announce(ProjectChanged(name="flyteexamples"))
    return Gated(executions, tmp_path, module(GATED))


async def test_a_task_whose_propeller_was_killed_is_adopted(start: Start, gated: Gated) -> None:
    first = start()
    await gated.begin()
    first.kill()
    start()
    assert (await gated.taken_over()).epoch == 2
    gated.open_gate()
    recorded = await gated.ended()
    assert (recorded.state.output, gated.attempts) == ("went", ["0"])
    assert recorded.types.count("node_starting") == 1


async def test_an_attempt_that_ended_while_no_propeller_ran_is_recorded(
    start: Start, gated: Gated
) -> None:
    first = start()
    await gated.begin()
    first.kill()
    gated.open_gate()
    end = await gated.directory / "exit.json"
    await until(end.exists)
    start()
    assert ((await gated.ended()).state.output, gated.attempts) == ("went", ["0"])


async def test_a_suspended_owner_is_taken_over_and_appends_no_more(
    start: Start, gated: Gated, executions: Executions
) -> None:
    propellers = [start(), start()]
    await gated.begin()
    owner = await owner_of(gated, executions, propellers)
    owner.send(signal.SIGSTOP)
    await gated.taken_over()
    gated.open_gate()
    recorded = await gated.ended()
    owner.send(signal.SIGCONT)
    await until(lambda: bool(owner.logged("execution.superseded")))
    assert (recorded.state.output, gated.attempts) == ("went", ["0"])
    assert await executions.read(gated.id) == recorded


async def owner_of(gated: Gated, executions: Executions, propellers: list[Propeller]) -> Propeller:
    await until(lambda: all("owner" in each.readiness() for each in propellers))
    [claim] = claims_of(await executions.read(gated.id))
    by_owner = {propeller.readiness()["owner"]: propeller for propeller in propellers}
    return by_owner[claim.owner]


async def test_an_attempt_that_was_killed_is_interrupted_and_tried_again(
    start: Start, gated: Gated
) -> None:
    start()
    await gated.begin()
    os.killpg(await gated.group(), signal.SIGKILL)
    gated.open_gate()
    recorded = await gated.ended()
    [failure] = [event for event in recorded.events if isinstance(event, NodeFailed)]
    assert (failure.interrupted, failure.final) == (True, False)
    assert (recorded.state.output, gated.attempts) == ("went", ["0", "1"])


async def test_the_next_attempt_waits_until_the_task_of_a_killed_shim_has_ended(
    start: Start, gated: Gated
) -> None:
    start()
    await gated.begin()
    shim = await gated.group()
    [guard, task] = linux.descendants(shim)
    os.kill(shim, signal.SIGKILL)
    await until(lambda: len(gated.attempts) > 1)
    assert [pid for pid in (guard, task) if is_running(pid)] == []
    gated.open_gate()
    await gated.ended()
    assert gated.attempts == ["0", "1"]


async def test_a_task_outlives_its_server(
    start: Start, gated: Gated, nats_server: NatsServer
) -> None:
    start()
    await gated.begin()
    nats_server.kill()
    gated.open_gate()
    nats_server.start()
    assert ((await gated.ended()).state.output, gated.attempts) == ("went", ["0"])


async def test_a_stopped_propeller_leaves_its_tasks_to_the_next_one(
    start: Start, gated: Gated
) -> None:
    first = start()
    await gated.begin()
    assert first.stop() == 0
    start()
    await gated.taken_over()
    gated.open_gate()
    assert ((await gated.ended()).state.output, gated.attempts) == ("went", ["0"])


async def test_a_stopped_propeller_ends_its_tasks_with_stop_tasks(
    start: Start, gated: Gated
) -> None:
    first = start(TRIMTAB_STOP_TASKS="true")
    await gated.begin()
    shim = await gated.group()
    assert first.stop() == 0
    await until(lambda: not Path(f"/proc/{shim}").exists())
    start()
    gated.open_gate()
    assert ((await gated.ended()).state.output, gated.attempts) == ("went", ["0", "1"])


async def test_restarts_that_stop_tasks_count_neither_as_interruptions_nor_as_retries(
    start: Start, gated: Gated
) -> None:
    propeller = start(TRIMTAB_STOP_TASKS="true")
    await gated.begin()
    restarts = MAX_INTERRUPTED + 1
    for number in range(1, restarts + 1):
        assert propeller.stop() == 0
        propeller = start(TRIMTAB_STOP_TASKS="true")
        await until(lambda count=number + 1: len(gated.attempts) == count)  # type: ignore[misc]
    gated.open_gate()
    recorded = await gated.ended()
    stops = [event.stopped for event in recorded.events if isinstance(event, NodeFailed)]
    assert (recorded.state.output, stops) == ("went", [True] * restarts)


async def test_a_task_that_returns_when_its_propeller_is_stopped_is_not_run_again(
    start: Start, gated: Gated
) -> None:
    """The task takes a while to return, and the propeller waits for it."""
    first = start(TRIMTAB_STOP_TASKS="true")
    gated.returns_at_sigterm()
    await gated.begin()
    assert first.stop() == 0
    assert gated.has_returned
    start()
    assert ((await gated.ended()).state.output, gated.attempts) == ("went", ["0"])


@pytest.mark.parametrize("restored", [True, False])
async def test_a_task_outlives_a_server_that_has_lost_everything(
    start: Start,
    gated: Gated,
    executions: Executions,
    nats_server: NatsServer,
    client: Client,
    settings_stream: SettingsStream,
    restored: bool,
) -> None:
    """Admin declares the streams again and publishes settings, its copies of logs, and requests."""
    start()
    await executions.until(await executions.request(gated.other), "succeeded")
    await gated.begin()
    recorded = await executions.read(gated.id)
    nats_server.wipe()
    await declare_streams(client)
    await settings_stream.refill()
    if restored:
        await executions.restore(recorded)
    await gated.request()
    gated.open_gate()
    recorded = await gated.ended()
    assert (recorded.state.output, gated.attempts) == ("went", ["0"])


async def test_a_log_of_an_older_release_is_taken_over(
    start: Start, client: Client, executions: Executions, gated: Gated
) -> None:
    wanted, fields = gated.other, {"owner": "propeller-old", "epoch": 1, "at": datetime.now(UTC)}
    fields["execution"] = wanted.execution
    resolution = resolve(wanted, Settings(), CAPABILITIES)
    node = {"node": "n0", "attempt": 0}
    bodies = [
        Owned(index=0, request=wanted, **fields).body(),
        Admitted(index=1, resolution=resolution, **fields).body(),
        NodeStarting(index=2, **node, **fields).body(),
        NodeRunning(index=3, location="n0/0", **node, **fields)
        .body()
        .replace(b"location", b"place"),
        NodeFailed(index=4, error="", final=False, interrupted=True, **node, **fields)
        .body()
        .replace(b"interrupted", b"lost"),
    ]
    for body in bodies:
        await client.jetstream().publish(subjects.events(wanted.execution), body)
    start()
    recorded = await executions.ended(wanted.execution)
    assert (recorded.state.output, recorded.nodes["n0"].interrupted) == ("went", 1)


async def declare_streams(client: Client) -> None:
    """Declare the streams as soon as the server is available."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(Unavailable):
                await streams.bootstrap(client)
                return
