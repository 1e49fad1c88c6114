"""A start with a configuration that cannot work, and what runs after one that can."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from tests.integration.propeller.harness import Executions, request, until
from tests.servers import PATIENCE_SECONDS, NatsServer
from tests.settings_stream import SettingsStream
from trimtab.messages.events import ProjectChanged
from trimtab_propeller import execution_log
from trimtab_propeller.app import Propeller
from trimtab_propeller.availability import ExecutorAvailability
from trimtab_propeller.config import PropellerConfig
from trimtab_propeller.ownership import Ownership
from trimtab_propeller.tokens import Cohorts


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("TRIMTAB_DATA_DIR", "file/data", "propeller cannot write to"),
        ("TRIMTAB_EXECUTOR", "docker", "configuration executor: 'docker' is not valid"),
        ("TRIMTAB_HEARTBEAT_SECONDS", "0", "configuration heartbeat_seconds: '0' is not valid"),
    ],
)
def test_a_start_that_cannot_work_ends_with_one_message(
    tmp_path: Path, variable: str, value: str, message: str
) -> None:
    (tmp_path / "file").touch()
    ended = subprocess.run(
        [sys.executable, "-m", "trimtab_propeller"],
        cwd=tmp_path,
        env={**os.environ, variable: value},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert ended.returncode == 1
    assert (ended.stderr.startswith(message), ended.stderr.count("\n")) == (True, 1)


RUNAWAY = """
@task(retries=100)
def fails(): raise ValueError("no")
@task
def waits():
    while True: time.sleep(0.02)
@workflow
def job():
    waits()
    return fails()
"""


@pytest.mark.parametrize(("bound", "most"), [("MAX_EVENTS", 30), ("MAX_BYTES", 20_000)])
async def test_an_execution_whose_log_is_too_long_is_ended_with_the_reason(
    nats_server: NatsServer,
    settings_stream: SettingsStream,
    executions: Executions,
    module: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bound: str,
    most: int,
) -> None:
    await settings_stream.announce(ProjectChanged(name="flyteexamples"))
    monkeypatch.setattr(execution_log, bound, most)
    config = PropellerConfig(nats_url=nats_server.url, data_dir=tmp_path / "data")
    serving = asyncio.create_task(Propeller(config).serve())
    try:
        execution = await executions.request(request(module(RUNAWAY)))
        async with asyncio.timeout(PATIENCE_SECONDS):
            recorded = await executions.ended(execution)
    finally:
        serving.cancel()
        await asyncio.wait((serving,))
    assert recorded.state.phase == "failed"
    assert recorded.state.error.startswith("the log of the execution has ")
    # The attempts that run are ended first.
    assert [node.is_started for node in recorded.nodes.values()] == [False, False]
    assert len(recorded.events) <= 60


LOOPS = [
    (Cohorts, "release_deferred"),
    (ExecutorAvailability, "check_regularly"),
    (Ownership, "_look_for_orphans"),
    (Ownership, "send_heartbeats"),
    (Propeller, "_monitor_streams"),
]


@pytest.mark.parametrize(("part", "loop"), LOOPS, ids=[name for _, name in LOOPS])
async def test_a_defect_in_a_loop_interrupts_this_loop_only(
    nats_server: NatsServer,
    client: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: type,
    loop: str,
) -> None:
    del client  # It has declared the streams.
    calls, work = 0, getattr(part, loop)

    async def fail_once(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("a defect")
        await work(*arguments)

    monkeypatch.setattr(part, loop, fail_once)
    config = PropellerConfig(nats_url=nats_server.url, data_dir=tmp_path)
    serving = asyncio.create_task(Propeller(config).serve())
    try:
        await until(lambda: calls > 1 or serving.done())
        assert not serving.done()
    finally:
        serving.cancel()
        await asyncio.wait((serving,))
