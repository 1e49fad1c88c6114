"""An execution ends when none of its attempts runs any more and no token is held for it."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import Executions, FakeResmgr, is_running, request, until
from tests.settings_stream import SettingsStream
from trimtab.messages import subjects
from trimtab.messages.events import PoolChanged, ProjectChanged
from trimtab.messages.executions import Failed

Module = Callable[[str], Path]

GATED = """
@task(pool="warehouse")
def pooled(directory: str):
    Path(directory, "pooled").write_text(str(os.getpid()))
    while not Path(directory, "go").exists():
        time.sleep(0.02)
@task
def free(directory: str):
    Path(directory, "free").write_text(str(os.getpid()))
    while not Path(directory, "go").exists():
        time.sleep(0.02)
@task
def broken(): raise ValueError("no rows")
"""
BOTH = """
@workflow
def job(directory: str):
    pooled(directory=directory)
    free(directory=directory)
"""


@pytest.fixture
async def settings(settings_stream: SettingsStream) -> None:
    await settings_stream.announce(
        ProjectChanged(name="flyteexamples"), PoolChanged(name="warehouse", quota=1)
    )


def pids(directory: Path) -> list[int]:
    files = [directory / name for name in ("pooled", "free")]
    return [int(file.read_text()) for file in files if file.exists() and file.read_text()]


@pytest.mark.usefixtures("settings")
async def test_an_execution_that_is_given_up_stops_its_attempts_and_releases_their_tokens(
    start: Start, executions: Executions, client: Client, module: Module, tmp_path: Path
) -> None:
    wanted = request(module(GATED + BOTH), inputs={"directory": str(tmp_path)})
    async with FakeResmgr(quota=1).serving(client) as resmgr:
        start()
        execution = await executions.request(wanted)
        await until(lambda: len(pids(tmp_path)) == 2)
        while (await executions.read(execution)).types.count("node_running") < 2:
            await asyncio.sleep(0.05)
        await client.jetstream().publish(subjects.events(execution), event_behind_gap(execution))
        await ended(client, execution)
        assert [is_running(pid) for pid in pids(tmp_path)] == [False, False]
        assert (resmgr.held, resmgr.released) == ({}, [f"{execution}/n0/0"])
        await until(lambda: bool(resmgr.renewals))


def event_behind_gap(execution: str) -> bytes:
    """Return an event that no owner can continue a log behind."""
    event = {
        "execution": execution,
        "index": 1_000,
        "owner": "propeller-gone",
        "epoch": 1,
        "at": "2026-01-02T03:04:05Z",
        "type": "paused",
    }
    return json.dumps(event).encode()


async def ended(client: Client, execution: str) -> Failed:
    """Wait until a log whose gap no reader passes ends with `Failed`."""
    subject, body = subjects.events(execution), b""
    while b'"failed"' not in body:
        last = await client.jetstream().get_last_msg(subjects.EXECUTION_EVENTS, subject)
        body = last.data or b""
        await asyncio.sleep(0.05)
    return Failed.model_validate_json(body)


@pytest.mark.usefixtures("settings")
async def test_a_waiter_is_withdrawn_when_a_node_has_failed(
    start: Start, executions: Executions, client: Client, module: Module, tmp_path: Path
) -> None:
    workflow = """
@workflow
def job(directory: str):
    pooled(directory=directory)
    broken()
"""
    wanted = request(module(GATED + workflow), inputs={"directory": str(tmp_path)})
    async with FakeResmgr(quota=1).serving(client) as resmgr:
        resmgr.retry_after_seconds = 36_000
        resmgr.held["another holder"] = 1
        start()
        recorded = await executions.ended(await executions.request(wanted))
        await until(lambda: resmgr.released == [f"{recorded.state.execution}/n0/0"])
    assert recorded.state.error.startswith("ValueError: no rows")
