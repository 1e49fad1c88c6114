"""Outputs and resolutions that no message of NATS can hold fail with the reason, alone."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import Executions, FakeResmgr, request
from tests.servers import NatsServer
from tests.settings_stream import SettingsStream
from trimtab.messages.events import PoolChanged, ProjectChanged
from trimtab.messages.executions import NodeFailed, NodeStarting
from trimtab.testing import record

Module = Callable[[str], Path]

SOURCE = """
@task(pool="warehouse")
def pooled(directory: str):
    while not Path(directory, "go").exists():
        time.sleep(0.02)
@task(retries=1)
def large(): return "x" * 100_000
@workflow
def job(directory: str):
    pooled(directory=directory)
    large()
"""


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server whose messages are smaller than an output may be."""
    config = tmp_path / "nats.conf"
    config.write_text("max_payload: 65536\n")
    with NatsServer(tmp_path / "nats", config=config) as server:
        yield server


@pytest.fixture(autouse=True)
async def settings(settings_stream: SettingsStream) -> None:
    await settings_stream.announce(
        ProjectChanged(name="flyteexamples"), PoolChanged(name="warehouse", quota=1)
    )


async def test_an_output_that_no_message_can_hold_fails_its_attempt_and_not_its_siblings(
    start: Start, executions: Executions, client: Client, module: Module, tmp_path: Path
) -> None:
    wanted = request(module(SOURCE), inputs={"directory": str(tmp_path)})
    async with FakeResmgr(quota=1).serving(client) as resmgr:
        start()
        execution = await executions.request(wanted)
        while (await executions.read(execution)).types.count("node_failed") < 2:
            await asyncio.sleep(0.05)
        assert resmgr.held == {f"{execution}/n0/0": 1}
        (tmp_path / "go").touch()
        recorded = await executions.ended(execution)
        assert resmgr.held == {}
    failures = [event for event in recorded.events if isinstance(event, NodeFailed)]
    assert [(failure.node, failure.final) for failure in failures] == [("n1", False), ("n1", True)]
    assert failures[1].error.startswith("the output cannot be recorded: ")
    assert (recorded.state.phase, recorded.nodes["n0"].phase) == ("failed", "succeeded")


async def test_a_resolution_that_no_message_can_hold_fails_its_execution_with_the_reason(
    start: Start, executions: Executions, module: Module, settings_stream: SettingsStream
) -> None:
    source = """
@task
def one(): return 1
@workflow
def job():
    for _ in range(4): one()
"""
    wanted = request(module(source)).model_copy(update={"environment": {"LONG": "x" * 30_000}})
    config = {"envs": {"OTHER": "x" * 40_000}}
    await settings_stream.announce(record(config, kind="workflow_execution_config"))
    start()
    recorded = await executions.ended(await executions.request(wanted))
    assert not [event for event in recorded.events if isinstance(event, NodeStarting)]
    assert recorded.state.phase == "failed"
    assert "more than a message of NATS can hold" in recorded.state.error
