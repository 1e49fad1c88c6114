"""``max_parallelism``: exact, whoever acts, and nothing that waits for a token counts."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from nats.aio.client import Client

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import Executions, Resmgr, request
from tests.settings_stream import SettingsStream
from trimtab.levels import Scope
from trimtab.messages.events import PoolChanged, ProjectChanged, RecordChanged
from trimtab.messages.executions import AnyEvent, NodeFailed, NodeStarting, NodeSucceeded

Module = Callable[[str], Path]

SHOP = Scope("development", "flyteexamples")
GATED = """
@task
def gated(place: str):
    while not Path(place, "go").exists():
        time.sleep(0.02)
@workflow
def job(place: str):
    for _ in range(6):
        gated(place=place)
"""


def config(**fields: object) -> RecordChanged:
    return RecordChanged.at(SHOP, "workflow_execution_config", fields)


def at_work(events: Iterable[AnyEvent]) -> list[int]:
    """How many nodes were at work after each event."""
    working: set[str] = set()
    counts = []
    for event in events:
        if isinstance(event, NodeStarting):
            working.add(event.node)
        elif isinstance(event, NodeSucceeded | NodeFailed):
            working.discard(event.node)
        counts.append(len(working))
    return counts


async def happened(executions: Executions, execution: str, what: str, times: int) -> None:
    while (await executions.whole(execution)).types.count(what) < times:
        await asyncio.sleep(0.05)


async def test_never_more_nodes_are_at_work_than_the_settings_allow(
    start: Start, executions: Executions, settings_stream: SettingsStream, module: Module,
    tmp_path: Path,
) -> None:  # fmt: skip
    await settings_stream.announce(ProjectChanged(name="flyteexamples"), config(max_parallelism=2))
    start()
    (tmp_path / "go").touch()
    wanted = request(module(GATED), inputs={"place": str(tmp_path)})
    story = await executions.ended(await executions.ask(wanted))
    assert story.state.phase == "succeeded"
    assert max(at_work(story.events)) == 2


async def test_a_new_owner_counts_what_it_finds_at_work(
    start: Start, executions: Executions, settings_stream: SettingsStream, module: Module,
    tmp_path: Path,
) -> None:  # fmt: skip
    await settings_stream.announce(ProjectChanged(name="flyteexamples"), config(max_parallelism=2))
    first = start()
    wanted = request(module(GATED), inputs={"place": str(tmp_path)})
    execution = await executions.ask(wanted)
    await happened(executions, execution, "node_running", 2)
    first.kill()
    start()
    await happened(executions, execution, "owned", 2)
    (tmp_path / "go").touch()
    story = await executions.ended(execution)
    assert story.state.phase == "succeeded"
    assert max(at_work(story.events)) == 2


async def test_after_a_failure_no_node_takes_the_place_that_is_free(
    start: Start, executions: Executions, settings_stream: SettingsStream, module: Module
) -> None:
    source = """
@task
def broken(): raise ValueError("no rows")
@workflow
def job():
    for _ in range(3):
        broken()
"""
    await settings_stream.announce(ProjectChanged(name="flyteexamples"), config(max_parallelism=1))
    start()
    story = await executions.ended(await executions.ask(request(module(source))))
    assert story.types.count("node_starting") == 1
    assert story.state.phase == "failed"


async def test_a_node_that_waits_for_a_token_holds_no_place(
    start: Start, executions: Executions, settings_stream: SettingsStream, client: Client,
    module: Module,
) -> None:  # fmt: skip
    source = """
@task(pool="warehouse")
def pooled(): return "pooled"
@task
def free(): return "free"
@workflow
def job():
    pooled()
    free()
    free()
"""
    await settings_stream.announce(
        ProjectChanged(name="flyteexamples"),
        PoolChanged(name="warehouse", quota=1),
        config(max_parallelism=1),
    )
    async with Resmgr(quota=1).answering(client) as resmgr:
        resmgr.held["somebody else"] = 1
        start()
        execution = await executions.ask(request(module(source)))
        await executions.until(execution, "node_waiting")
        await happened(executions, execution, "node_succeeded", 2)
        del resmgr.held["somebody else"]
        story = await executions.ended(execution)
    assert max(at_work(story.events)) == 1
    assert resmgr.held == {}


async def test_variables_of_the_settings_reach_the_task(
    start: Start, executions: Executions, settings_stream: SettingsStream, module: Module
) -> None:
    source = """
@task(environment={"LOG": "task"})
def seen(): return {name: os.environ.get(name) for name in ("LOG", "REGION")}
@workflow
def job(): return seen()
"""
    await settings_stream.announce(
        ProjectChanged(name="flyteexamples"), config(envs={"LOG": "settings", "REGION": "eu"})
    )
    start()
    story = await executions.ended(await executions.ask(request(module(source))))
    assert story.state.output == {"LOG": "task", "REGION": "eu"}
