"""Killed, stopped or cut off while a task runs: nothing runs twice, nothing is forgotten."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import Executions, Propeller, Story, request, until
from tests.servers import NatsServer
from tests.settings_stream import SettingsStream
from trimtab.errors import Unavailable
from trimtab.messages.events import ProjectChanged
from trimtab.messages.executions import NodeFailed, NodeRunning, Owned
from trimtab_admin.messaging import streams

GATED = """
@task
def gated(place: str):
    with open(place + "/begun", "a") as begun:
        begun.write(os.environ["TRIMTAB_ATTEMPT"] + "\\n")
    while not Path(place, "go").exists():
        time.sleep(0.02)
    return "went"
@workflow
def job(place: str): return gated(place=place)
"""

Module = Callable[[str], Path]


class Gated:
    """An execution whose task says that it began, and ends when it is let go."""

    def __init__(self, executions: Executions, place: Path, module: Path) -> None:
        self._executions = executions
        self._request = request(module, inputs={"place": str(place)})
        self._place = place
        free = place / "free"
        free.mkdir()
        (free / "go").touch()
        self.other = request(module, inputs={"place": str(free)})
        """An execution that does not wait."""
        self.id = self._request.execution

    async def ask(self) -> None:
        await self._executions.ask(self._request)

    async def begin(self) -> None:
        await self.ask()
        await until(lambda: bool(self.attempts))
        await self._executions.until(self.id, "node_running")

    def let_go(self) -> None:
        (self._place / "go").touch()

    @property
    def attempts(self) -> list[str]:
        """The number of each attempt that began to run."""
        begun = self._place / "begun"
        return begun.read_text().split() if begun.exists() else []

    @property
    async def directory(self) -> Path:
        story = await self._executions.whole(self.id)
        return next(Path(e.location) for e in story.events if isinstance(e, NodeRunning))

    async def owned_again(self) -> Owned:
        while True:
            claims = owned(await self._executions.whole(self.id))
            if len(claims) > 1:
                return claims[-1]
            await asyncio.sleep(0.05)

    async def ended(self) -> Story:
        return await self._executions.ended(self.id)


def owned(story: Story) -> list[Owned]:
    return [event for event in story.events if isinstance(event, Owned)]


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
    assert (await gated.owned_again()).epoch == 2
    gated.let_go()
    story = await gated.ended()
    assert (story.state.output, gated.attempts) == ("went", ["0"])
    assert story.types.count("node_starting") == 1


async def test_what_ended_while_no_propeller_ran_is_recorded(start: Start, gated: Gated) -> None:
    first = start()
    await gated.begin()
    first.kill()
    gated.let_go()
    end = await gated.directory / "exit.json"
    await until(end.exists)
    start()
    assert ((await gated.ended()).state.output, gated.attempts) == ("went", ["0"])


async def test_a_stopped_owner_is_taken_over_and_acts_no_more(
    start: Start, gated: Gated, executions: Executions
) -> None:
    propellers = [start(), start()]
    await gated.begin()
    owner = await owner_of(gated, executions, propellers)
    owner.send(signal.SIGSTOP)
    await gated.owned_again()
    gated.let_go()
    story = await gated.ended()
    owner.send(signal.SIGCONT)
    await until(lambda: bool(owner.logged("execution.superseded")))
    assert (story.state.output, gated.attempts) == ("went", ["0"])
    assert await executions.whole(gated.id) == story


async def owner_of(gated: Gated, executions: Executions, propellers: list[Propeller]) -> Propeller:
    [claim] = owned(await executions.whole(gated.id))
    by_owner = {propeller.readiness()["owner"]: propeller for propeller in propellers}
    return by_owner[claim.owner]


async def test_an_attempt_that_was_killed_is_lost_and_made_again(
    start: Start, gated: Gated
) -> None:
    start()
    await gated.begin()
    os.killpg(int((await gated.directory / "started").read_text()), signal.SIGKILL)
    gated.let_go()
    story = await gated.ended()
    [failure] = [event for event in story.events if isinstance(event, NodeFailed)]
    assert (failure.interrupted, failure.final) == (True, False)
    assert (story.state.output, gated.attempts) == ("went", ["0", "1"])


async def test_a_task_that_outlives_its_shim_is_waited_for(start: Start, gated: Gated) -> None:
    start()
    await gated.begin()
    os.kill(int((await gated.directory / "started").read_text()), signal.SIGKILL)
    with pytest.raises(TimeoutError):
        await until(lambda: len(gated.attempts) > 1, seconds=1)
    gated.let_go()
    await gated.ended()
    assert gated.attempts == ["0", "1"]


async def test_a_task_outlives_its_server(
    start: Start, gated: Gated, nats_server: NatsServer
) -> None:
    start()
    await gated.begin()
    nats_server.kill()
    gated.let_go()
    nats_server.start()
    assert ((await gated.ended()).state.output, gated.attempts) == ("went", ["0"])


async def test_a_stop_in_order_leaves_tasks_to_the_next_propeller(
    start: Start, gated: Gated
) -> None:
    first = start()
    await gated.begin()
    assert first.stop() == 0
    start()
    await gated.owned_again()
    gated.let_go()
    assert ((await gated.ended()).state.output, gated.attempts) == ("went", ["0"])


async def test_a_stop_in_order_ends_tasks_where_that_is_set(start: Start, gated: Gated) -> None:
    first = start(TRIMTAB_STOP_TASKS="true")
    await gated.begin()
    task = json.loads((await gated.directory / "started").read_text())
    assert first.stop() == 0
    await until(lambda: not Path(f"/proc/{task}").exists())
    start()
    gated.let_go()
    assert ((await gated.ended()).state.output, gated.attempts) == ("went", ["0", "1"])


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
    """As admin does after it: streams, settings, what it has of the logs, the requests again."""
    start()
    await executions.until(await executions.ask(gated.other), "succeeded")
    await gated.begin()
    story = await executions.whole(gated.id)
    nats_server.wipe()
    await declared(client)
    await settings_stream.refill()
    if restored:
        await executions.restore(story)
    await gated.ask()
    gated.let_go()
    story = await gated.ended()
    assert (story.state.output, gated.attempts) == ("went", ["0"])


async def declared(client: Client) -> None:
    async with asyncio.timeout(60):
        while True:
            with suppress(Unavailable):
                await streams.bootstrap(client)
                return
