"""A start with a configuration that cannot work, and what runs after one that can."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from tests.integration.propeller.harness import until
from tests.servers import PATIENCE_SECONDS, NatsServer
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
