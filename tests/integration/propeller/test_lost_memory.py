"""Everything that propellers remember is lost again and again under load: each task runs once."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import nats.js.errors
from nats.aio.client import Client

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import Executions, request
from tests.integration.propeller.test_requests import claims, waiting
from tests.servers import PATIENCE_SECONDS
from tests.settings_stream import SettingsStream
from trimtab.messages import subjects
from trimtab.messages.events import ProjectChanged
from trimtab.messages.executions import Request

PROJECTS = ("flyteexamples", "bank", "shop")
ROUNDS = 4
ALONE = """
@task
def alone(directory: str):
    name = os.path.join(directory, os.environ["TRIMTAB_EXECUTION"])
    os.close(os.open(name + ".runs", os.O_CREAT | os.O_EXCL))
    with open(name + ".begun", "a") as begun:
        begun.write("x")
    time.sleep(0.3)
    os.unlink(name + ".runs")
    return "done"
@workflow
def job(directory: str): return alone(directory=directory)
"""
"""The task fails where another attempt of its execution runs at the same time."""


def requests_of(wanted: Request, number: int, later: int) -> Iterator[Request]:
    """Yield two requests of each project; the first one of each needs the revision ``later``."""
    for project in PROJECTS:
        for name, revision in (("early", later), ("other", 0)):
            named = {"execution": f"{name}-{project}-{number}", "project": project}
            yield wanted.model_copy(update={**named, "revision": revision})


async def delete_consumers(client: Client) -> None:
    jetstream = client.jetstream()
    for stream in (subjects.SETTINGS, subjects.EXECUTIONS, subjects.EXECUTION_EVENTS):
        for consumer in await jetstream.consumers_info(stream):
            with suppress(nats.js.errors.NotFoundError):  # its propeller has deleted it
                await jetstream.delete_consumer(stream, consumer.name)


async def until_claimed(client: Client, number: int) -> None:
    """Wait until an execution of this round is claimed."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any(execution.endswith(f"-{number}") for execution in await claims(client)):
            await asyncio.sleep(0.05)


async def test_executions_go_on_through_kills_of_their_propellers_and_deleted_consumers(
    start: Start,
    executions: Executions,
    client: Client,
    settings_stream: SettingsStream,
    module: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    await settings_stream.announce(*(ProjectChanged(name=name) for name in PROJECTS))
    later = settings_stream.revision + 1
    wanted = request(module(ALONE), inputs={"directory": str(tmp_path)})
    propellers = [start(TRIMTAB_MAX_EXECUTIONS="3") for _ in range(2)]
    requested = []
    for number in range(ROUNDS):
        for each in requests_of(wanted, number, later):
            requested.append(await executions.request(each))
        await until_claimed(client, number)
        propellers[number % 2].kill()
        propellers[number % 2] = start(TRIMTAB_MAX_EXECUTIONS="3")
        await delete_consumers(client)
    await settings_stream.announce(ProjectChanged(name="later"))
    for execution in requested:
        recorded = await executions.ended(execution)
        assert recorded.state.phase == "succeeded", recorded.state.error
        assert (tmp_path / f"{execution}.begun").read_text() == "x"
    assert await waiting(client) == 0
