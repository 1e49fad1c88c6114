"""``max_parallelism`` is exact after a takeover too, and a wait for a token holds no slot."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from nats.aio.client import Client

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import Executions, FakeResmgr, request
from tests.settings_stream import SettingsStream
from trimtab.levels import Scope
from trimtab.messages.events import PoolChanged, ProjectChanged, RecordChanged
from trimtab.messages.executions import AnyEvent, NodeFailed, NodeStarting, NodeSucceeded
from trimtab.workflows.graphs.launch_plans import PlanCall

Module = Callable[[str], Path]

SHOP = Scope("development", "flyteexamples")
GATED = """
@task
def gated(directory: str):
    while not Path(directory, "go").exists():
        time.sleep(0.02)
@workflow
def job(directory: str):
    for _ in range(6):
        gated(directory=directory)
"""
MANY = """
from trimtab import task, workflow
@task
def double(x): return 2 * x
@workflow
def job():
    for number in range(200):
        double(x=number)
"""
"""It imports no more than it needs: all names of the SDK take most of a second in each attempt."""


def config(**fields: object) -> RecordChanged:
    return RecordChanged.at(SHOP, "workflow_execution_config", fields)


def running_sets(events: Iterable[AnyEvent]) -> list[set[str]]:
    """Return which nodes were running after each event."""
    running: set[str] = set()
    found = []
    for event in events:
        if isinstance(event, NodeStarting):
            running.add(event.node)
        elif isinstance(event, NodeSucceeded | NodeFailed):
            running.discard(event.node)
        found.append(set(running))
    return found


def running_counts(events: Iterable[AnyEvent]) -> list[int]:
    """Return how many nodes were running after each event."""
    return [len(running) for running in running_sets(events)]


async def appended(executions: Executions, execution: str, event: str, times: int) -> None:
    """Wait until the log has the event so many times."""
    while (await executions.read(execution)).types.count(event) < times:
        await asyncio.sleep(0.05)


async def test_never_more_nodes_are_running_than_the_settings_allow(
    start: Start, executions: Executions, settings_stream: SettingsStream, module: Module,
    tmp_path: Path,
) -> None:  # fmt: skip
    await settings_stream.announce(ProjectChanged(name="flyteexamples"), config(max_parallelism=2))
    start()
    (tmp_path / "go").touch()
    wanted = request(module(GATED), inputs={"directory": str(tmp_path)})
    recorded = await executions.ended(await executions.request(wanted))
    assert recorded.state.phase == "succeeded"
    assert max(running_counts(recorded.events)) == 2


async def test_200_nodes_run_within_the_limit_of_the_settings(
    start: Start, executions: Executions, settings_stream: SettingsStream, tmp_path: Path
) -> None:
    await settings_stream.announce(ProjectChanged(name="flyteexamples"), config(max_parallelism=3))
    path = tmp_path / "many.py"
    path.write_text(MANY)
    start()
    recorded = await executions.ended(await executions.request(request(path)))
    assert recorded.state.phase == "succeeded", recorded.state.error
    outputs = {node: state.output for node, state in recorded.nodes.items()}
    assert outputs == {f"n{number}": 2 * number for number in range(200)}
    assert max(running_counts(recorded.events)) == 3


async def test_a_called_launch_plan_has_its_own_limit_inside_that_of_the_execution(
    start: Start, executions: Executions, settings_stream: SettingsStream, module: Module,
    tmp_path: Path,
) -> None:  # fmt: skip
    called = {"n0", "n1", "n2", "n3"}
    call = PlanCall(project="lab", domain="production", workflow="train", launch_plan="weekly")
    one = RecordChanged.at(call.target, "workflow_execution_config", {"max_parallelism": 1})
    events = (ProjectChanged(name="flyteexamples"), ProjectChanged(name="lab"), one)
    await settings_stream.announce(*events, config(max_parallelism=4))
    start()
    wanted = request(module(GATED), inputs={"directory": str(tmp_path)})
    nodes = tuple(
        node.model_copy(update={"plan": "c"}) if node.id in called else node
        for node in wanted.workflow.nodes
    )
    workflow = wanted.workflow.model_copy(update={"nodes": nodes, "plans": {"c": call}})
    execution = await executions.request(wanted.model_copy(update={"workflow": workflow}))
    await appended(executions, execution, "node_running", 3)
    (tmp_path / "go").touch()
    recorded = await executions.ended(execution)
    assert recorded.state.phase == "succeeded"
    running = running_sets(recorded.events)
    assert max(len(each & called) for each in running) == 1
    assert max(map(len, running)) == 3


async def test_a_new_owner_counts_the_attempts_that_are_running_already(
    start: Start, executions: Executions, settings_stream: SettingsStream, module: Module,
    tmp_path: Path,
) -> None:  # fmt: skip
    await settings_stream.announce(ProjectChanged(name="flyteexamples"), config(max_parallelism=2))
    first = start()
    wanted = request(module(GATED), inputs={"directory": str(tmp_path)})
    execution = await executions.request(wanted)
    await appended(executions, execution, "node_running", 2)
    first.kill()
    start()
    await appended(executions, execution, "owned", 2)
    (tmp_path / "go").touch()
    recorded = await executions.ended(execution)
    assert recorded.state.phase == "succeeded"
    assert max(running_counts(recorded.events)) == 2


async def test_after_a_failure_no_node_takes_the_slot_that_is_free(
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
    recorded = await executions.ended(await executions.request(request(module(source))))
    assert recorded.types.count("node_starting") == 1
    assert recorded.state.phase == "failed"


async def test_a_node_that_waits_for_a_token_holds_no_slot(
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
    async with FakeResmgr(quota=1).serving(client) as resmgr:
        resmgr.held["another holder"] = 1
        start()
        execution = await executions.request(request(module(source)))
        await executions.until(execution, "node_waiting")
        await appended(executions, execution, "node_succeeded", 2)
        del resmgr.held["another holder"]
        recorded = await executions.ended(execution)
    assert max(running_counts(recorded.events)) == 1
    assert resmgr.held == {}


async def test_a_task_sees_the_variables_of_the_settings(
    start: Start, executions: Executions, settings_stream: SettingsStream, module: Module
) -> None:
    source = """
@task(environment={"LOG": "task"})
def variables(): return {name: os.environ.get(name) for name in ("LOG", "REGION")}
@workflow
def job(): return variables()
"""
    await settings_stream.announce(
        ProjectChanged(name="flyteexamples"), config(envs={"LOG": "settings", "REGION": "eu"})
    )
    start()
    recorded = await executions.ended(await executions.request(request(module(source))))
    assert recorded.state.output == {"LOG": "task", "REGION": "eu"}
