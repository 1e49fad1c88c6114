"""Propeller handles an executor that cannot start, or cannot find, an attempt."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import Executions, Propeller, request, until
from tests.settings_stream import SettingsStream
from trimtab import runtime_override_config
from trimtab.messages.events import ProjectChanged
from trimtab.messages.executions import NodeFailed

SOURCE = """
@task
def short(): return "done"
@workflow
def job(): return short().with_runtime_override("short")
"""


@pytest.fixture
async def job(settings_stream: SettingsStream, module: Callable[[str], Path]) -> Path:
    await settings_stream.announce(ProjectChanged(name="flyteexamples"))
    return module(SOURCE)


@pytest.fixture
async def propeller(start: Start, job: Path) -> Propeller:
    """A propeller that is ready, and has made its directory therefore."""
    started = start()
    await until(lambda: started.readiness()["status"] == "ready")
    return started


async def test_an_attempt_that_cannot_be_started_is_interrupted_at_most_four_times(
    propeller: Propeller, executions: Executions, job: Path
) -> None:
    shutil.rmtree(propeller.data_dir / "executions")
    (propeller.data_dir / "executions").write_text("a file instead of a directory")
    recorded = await executions.ended(await executions.request(request(job)))
    failures = [event for event in recorded.events if isinstance(event, NodeFailed)]
    assert [failure.interrupted for failure in failures] == [True] * 4
    assert [failure.final for failure in failures] == [False] * 3 + [True]
    assert recorded.state.error.startswith("the attempt could not be started: ")


async def test_an_attempt_that_can_never_be_started_fails_its_node_at_once(
    propeller: Propeller, executions: Executions, job: Path
) -> None:
    long = runtime_override_config(environment={"LONG": "x" * 200_000}, retries=3)
    wanted = request(job, overrides={"short": long})
    recorded = await executions.ended(await executions.request(wanted))
    assert recorded.types == ["owned", "admitted", "node_starting", "node_failed", "failed"]
    assert "Argument list too long" in recorded.state.error


async def test_an_executor_that_is_unavailable_is_called_again(
    propeller: Propeller, executions: Executions, job: Path
) -> None:
    wanted = request(job)
    directory = propeller.data_dir / "executions" / wanted.execution
    directory.symlink_to(directory)  # a loop, which cannot be opened
    await executions.request(wanted)
    await until(lambda: len(propeller.logged("executor.unavailable")) > 1)
    directory.unlink()
    recorded = await executions.ended(wanted.execution)
    assert recorded.state.output == "done"
    assert recorded.types.count("node_starting") == 1
