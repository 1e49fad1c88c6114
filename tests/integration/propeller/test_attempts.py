"""Propeller handles an executor that cannot start, or cannot find, an attempt."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import (
    Executions,
    Propeller,
    data_next_to,
    request,
    until,
)
from tests.servers import PATIENCE_SECONDS
from tests.settings_stream import SettingsStream
from trimtab import runtime_override_config
from trimtab.messages.events import ProjectChanged
from trimtab.messages.executions import NodeFailed, Refused
from trimtab_propeller import availability
from trimtab_propeller.executors.port import HostUnavailable
from trimtab_propeller.executors.process import ProcessExecutor

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
    wanted = request(job)
    (propeller.data_dir / "executions" / wanted.execution).write_text("a file, no directory")
    recorded = await executions.ended(await executions.request(wanted))
    failures = [event for event in recorded.events if isinstance(event, NodeFailed)]
    assert [failure.interrupted for failure in failures] == [True] * 4
    assert [failure.final for failure in failures] == [False] * 3 + [True]
    assert recorded.state.error.startswith("the attempt could not be started: ")


def break_host(propeller: Propeller) -> None:
    """Let no attempt be started any more."""
    shutil.rmtree(propeller.data_dir / "executions")
    (propeller.data_dir / "executions").write_text("a file instead of a directory")


def repair_host(propeller: Propeller) -> None:
    (propeller.data_dir / "executions").unlink()


async def until_host_is_noticed(propeller: Propeller) -> None:
    await until(lambda: "executor" in propeller.readiness().get("reasons", {}))


async def test_a_host_that_can_start_no_attempt_leaves_requests_to_others(
    propeller: Propeller, start: Start, executions: Executions, job: Path, tmp_path: Path
) -> None:
    break_host(propeller)
    await until_host_is_noticed(propeller)
    first, second = request(job), request(job)
    await executions.request(first)
    start(TRIMTAB_DATA_DIR=str(data_next_to(tmp_path, "other")))
    recorded = await executions.ended(first.execution)
    assert (recorded.state.phase, recorded.types.count("node_starting")) == ("succeeded", 1)
    assert recorded.events[0].owner != propeller.readiness()["owner"]
    repair_host(propeller)
    await until(lambda: propeller.readiness()["status"] == "ready")
    assert (await executions.ended(await executions.request(second))).state.output == "done"


async def test_an_attempt_waits_for_a_host_that_can_start_none(
    propeller: Propeller, executions: Executions, job: Path
) -> None:
    break_host(propeller)
    wanted = await executions.request(request(job))
    await until_host_is_noticed(propeller)
    repair_host(propeller)
    recorded = await executions.ended(wanted)
    assert recorded.state.output == "done"
    failures = [event for event in recorded.events if isinstance(event, NodeFailed)]
    assert all(failure.stopped and not failure.final for failure in failures)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of failures that delays were computed from; no delay has a length."""
    counted: list[int] = []

    def count(failures: int, **_: float) -> float:
        counted.append(failures)
        return 0.0

    monkeypatch.setattr(availability, "backoff_seconds", count)
    return counted


async def test_attempts_that_fail_together_count_once_in_the_delay(
    tmp_path: Path, counted: list[int]
) -> None:
    executor = ProcessExecutor(tmp_path)
    checked = availability.ExecutorAvailability(executor)
    checking = asyncio.create_task(checked.check_regularly())
    await checked.wait()
    for _ in range(5):
        assert await checked.is_host_failing(HostUnavailable("no room"))
    assert (counted, checked.problem) == ([1], "no room")
    checking.cancel()
    executor.close()


async def test_a_host_with_room_for_a_few_attempts_is_checked_ever_more_rarely(
    tmp_path: Path, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(availability, "_LONGEST_SECONDS", 10 * PATIENCE_SECONDS)
    monkeypatch.setattr(availability, "_CHECK_SECONDS", 0.01)
    executor = ProcessExecutor(tmp_path)
    checked = availability.ExecutorAvailability(executor)
    checking = asyncio.create_task(checked.check_regularly())

    async def fail_after_a_start() -> None:
        await checked.wait()
        checked.record_start()
        assert await checked.is_host_failing(HostUnavailable("no room"))

    for _ in range(3):
        await fail_after_a_start()
    assert counted == [1, 2, 3]
    monkeypatch.setattr(availability, "_LONGEST_SECONDS", 0.0)
    await fail_after_a_start()
    assert counted == [1, 2, 3, 1]
    checking.cancel()
    executor.close()


async def test_a_variable_that_no_process_can_have_is_refused_at_admission(
    propeller: Propeller, executions: Executions, job: Path
) -> None:
    long = runtime_override_config(environment={"LONG": "x" * 200_000}, retries=3)
    wanted = request(job, overrides={"short": long})
    recorded = await executions.ended(await executions.request(wanted))
    assert recorded.types == ["owned", "refused"]
    refused = recorded.events[-1]
    assert isinstance(refused, Refused)
    assert (refused.node, refused.path) == ("n0", "environment.LONG")
    assert "at most 131071 bytes" in refused.message
    assert len(refused.body()) < 1000


async def test_an_output_that_the_log_cannot_hold_fails_the_attempt_and_not_the_execution(
    propeller: Propeller, executions: Executions, module: Callable[[str], Path], tmp_path: Path
) -> None:
    """The task hands over what the entrypoint would not."""
    tried = tmp_path / "tried"
    source = module(f"""
@task(retries=1)
def large():
    if os.path.exists({str(tried)!r}):
        return "small"
    Path({str(tried)!r}).touch()
    os.write(3, b'o"' + 2**18 * b"x" + b'"' + bytes(1))
    os._exit(0)
@workflow
def job(): return large()
""")
    recorded = await executions.ended(await executions.request(request(source)))
    [failure] = [event for event in recorded.events if isinstance(event, NodeFailed)]
    assert not failure.interrupted
    assert recorded.state.output == "small"


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
