"""Two propellers with data directories of their own, one of which is suspended and resumes."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import (
    Executions,
    FakeResmgr,
    RecordedLog,
    data_next_to,
    is_running,
    request,
    until,
)
from tests.integration.propeller.test_locations import GATED, begin, begun
from tests.integration.propeller.test_recovery import declare_streams
from tests.servers import NatsServer
from tests.settings_stream import SettingsStream
from trimtab.messages.events import PoolChanged, ProjectChanged
from trimtab.messages.executions import Request

Make = Callable[[str], Request]


@pytest.fixture
async def make(
    settings_stream: SettingsStream, module: Callable[[str], Path], tmp_path: Path
) -> Make:
    """Make a request of a module whose task ends once ``go`` exists."""
    pool = PoolChanged(name="warehouse", quota=1)
    await settings_stream.announce(ProjectChanged(name="flyteexamples"), pool)
    return lambda source: request(module(source), inputs={"directory": str(tmp_path)})


async def test_the_attempt_of_a_suspended_owner_is_its_own_when_it_resumes(
    start: Start, executions: Executions, make: Make, tmp_path: Path
) -> None:
    owner = start()
    execution = await begin(executions, make(GATED))
    await until(lambda: bool(begun(tmp_path)))
    [task] = begun(tmp_path)
    owner.send(signal.SIGSTOP)
    other = start(TRIMTAB_DATA_DIR=str(data_next_to(tmp_path, "other")))
    await until(lambda: bool(other.logged("execution.out_of_sight")))
    (tmp_path / "go").touch()
    await until(lambda: not is_running(task))
    owner.send(signal.SIGCONT)
    recorded = await executions.ended(execution)
    assert (recorded.state.output, begun(tmp_path)) == ("went", [task])
    assert recorded.types.count("owned") == 1
    assert not other.logged("execution.taken_over")


async def test_an_owner_that_was_taken_over_while_its_node_waited_neither_starts_nor_releases_it(
    start: Start, executions: Executions, make: Make, client: Client, tmp_path: Path
) -> None:
    wanted = make(GATED.replace("@task", '@task(pool="warehouse")'))
    async with FakeResmgr(quota=1).serving(client) as resmgr:
        resmgr.held["another holder"] = 1
        owner = start()
        await executions.until(await executions.request(wanted), "node_waiting")
        owner.send(signal.SIGSTOP)
        other = start(TRIMTAB_DATA_DIR=str(data_next_to(tmp_path, "other")))
        await until(lambda: bool(other.logged("execution.taken_over")))
        del resmgr.held["another holder"]
        await until(lambda: bool(begun(tmp_path)))
        owner.send(signal.SIGCONT)
        await until(lambda: bool(owner.logged("execution.superseded")))
        assert owner.stop() == 0
        assert (len(begun(tmp_path)), resmgr.released) == (1, [])
        (tmp_path / "go").touch()
        recorded = await executions.ended(wanted.execution)
    assert (recorded.state.output, len(begun(tmp_path))) == ("went", 1)
    assert recorded.types.count("node_starting") == 1
    assert len(resmgr.released) == 1


async def test_an_owner_that_resumes_stops_an_attempt_that_the_restored_log_did_not_have(
    start: Start,
    executions: Executions,
    make: Make,
    nats_server: NatsServer,
    client: Client,
    settings_stream: SettingsStream,
    tmp_path: Path,
) -> None:
    """Admin restores what it has projected, and so another location may claim the execution."""
    owner = start()
    execution = await begin(executions, make(GATED))
    await until(lambda: bool(begun(tmp_path)))
    recorded = await executions.read(execution)
    owner.send(signal.SIGSTOP)
    nats_server.wipe()
    await declare_streams(client)
    await settings_stream.refill()
    await executions.restore(RecordedLog(recorded.events[: recorded.types.index("node_starting")]))
    start(TRIMTAB_DATA_DIR=str(data_next_to(tmp_path, "other")))
    await until(lambda: len(begun(tmp_path)) == 2)
    mine, of_other = begun(tmp_path)
    owner.send(signal.SIGCONT)
    await until(lambda: bool(owner.logged("execution.attempts_stopped")))
    await until(lambda: not is_running(mine))
    assert is_running(of_other)
    (tmp_path / "go").touch()
    recorded = await executions.ended(execution)
    assert (recorded.state.output, begun(tmp_path)) == ("went", [mine, of_other])
    assert recorded.types.count("node_starting") == 1
