"""Propellers without a common data directory: no attempt is started again where it is not seen."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import (
    Executions,
    Propeller,
    data_next_to,
    is_running,
    request,
    until,
)
from tests.settings_stream import SettingsStream
from trimtab.messages import subjects
from trimtab.messages.events import ProjectChanged
from trimtab.messages.executions import NodeStarting, Owned, Request
from trimtab.runtime import bus

GATED = """
@task
def gated(directory: str):
    with open(directory + "/begun", "a") as begun:
        begun.write(str(os.getpid()) + "\\n")
    while not Path(directory, "go").exists():
        time.sleep(0.02)
    return "went"
@workflow
def job(directory: str): return gated(directory=directory)
"""


@pytest.fixture
async def gated(
    settings_stream: SettingsStream, module: Callable[[str], Path], tmp_path: Path
) -> Request:
    """A request whose task ends once ``go`` exists."""
    await settings_stream.announce(ProjectChanged(name="flyteexamples"))
    return request(module(GATED), inputs={"directory": str(tmp_path)})


def begun(directory: Path) -> list[int]:
    """Return the processes of all attempts that have begun."""
    file = directory / "begun"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


async def begin(executions: Executions, wanted: Request) -> str:
    execution = await executions.request(wanted)
    await executions.until(execution, "node_running")
    return execution


async def test_a_propeller_of_another_location_leaves_a_started_attempt_alone(
    start: Start, executions: Executions, gated: Request, tmp_path: Path
) -> None:
    first = start()
    execution = await begin(executions, gated)
    first.kill()
    second = start(TRIMTAB_DATA_DIR=str(data_next_to(tmp_path, "other")))
    await until(lambda: bool(second.logged("execution.out_of_sight")))
    third = start()
    await until(lambda: bool(third.logged("execution.taken_over")))
    (tmp_path / "go").touch()
    recorded = await executions.ended(execution)
    assert (recorded.state.output, len(begun(tmp_path))) == ("went", 1)
    assert not second.logged("execution.taken_over")
    assert len(second.logged("execution.out_of_sight")) == 1


async def test_an_execution_without_a_started_attempt_is_taken_over_from_another_location(
    start: Start, executions: Executions, gated: Request, settings_stream: SettingsStream,
    tmp_path: Path,
) -> None:  # fmt: skip
    fields = {"execution": gated.execution, "owner": "propeller-gone", "epoch": 1}
    owned = Owned(
        index=0, at=datetime.now(UTC), request=gated, location="process:elsewhere", **fields
    )
    await append(executions, owned)
    (tmp_path / "go").touch()
    start()
    recorded = await executions.ended(gated.execution)
    assert recorded.state.output == "went"


async def append(executions: Executions, *events: Owned) -> None:
    for event in events:
        subject = subjects.events(event.execution)
        await bus.publish(executions.client, subjects.EXECUTION_EVENTS, subject, event)


async def supersede(executions: Executions, execution: str, location: str) -> None:
    """Claim an execution as another propeller does."""
    recorded = await executions.read(execution)
    claim = Owned(
        execution=execution,
        index=len(recorded.events),
        owner="propeller-other",
        epoch=2,
        at=datetime.now(UTC),
        location=location,
    )
    await append(executions, claim)


async def test_a_superseded_owner_stops_what_the_claimer_cannot_see(
    start: Start, executions: Executions, gated: Request, tmp_path: Path
) -> None:
    owner = start()
    execution = await begin(executions, gated)
    await until(lambda: bool(begun(tmp_path)))
    [pid] = begun(tmp_path)
    await supersede(executions, execution, "process:elsewhere")
    await until(lambda: not is_running(pid))
    await until(lambda: bool(owner.logged("execution.attempts_stopped")))
    assert (await executions.read(execution)).types[-1] == "owned"


@pytest.mark.parametrize("is_known", [True, False], ids=["same location", "older release"])
async def test_a_superseded_owner_leaves_its_attempts_to_a_claimer_that_sees_them(
    start: Start, executions: Executions, gated: Request, tmp_path: Path, is_known: bool
) -> None:
    owner = start()
    execution = await begin(executions, gated)
    recorded = await executions.read(execution)
    [started] = [event for event in recorded.events if isinstance(event, NodeStarting)]
    await supersede(executions, execution, started.location if is_known else "")
    await until(lambda: bool(owner.logged("execution.superseded")))
    # The claimer is silent, so this propeller takes the execution over, and adopts the attempt.
    await until(lambda: bool(owner.logged("execution.taken_over")))
    (tmp_path / "go").touch()
    recorded = await executions.ended(execution)
    assert (recorded.state.output, len(begun(tmp_path))) == ("went", 1)
    assert not owner.logged("execution.attempts_stopped")


async def test_propellers_that_share_a_data_directory_share_its_identity(
    start: Start, executions: Executions, gated: Request, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    propellers = [start(), start(), start()]
    await ready(propellers)
    await executions.ended(await executions.request(gated))
    identity = (propellers[0].data_dir / "location").read_text().strip()
    recorded = await executions.read(gated.execution)
    [started] = [event for event in recorded.events if isinstance(event, NodeStarting)]
    assert started.location == f"process:{identity}"
    assert recorded.state.location == started.location


async def ready(propellers: list[Propeller]) -> None:
    while [each.readiness()["status"] for each in propellers] != ["ready"] * len(propellers):
        await asyncio.sleep(0.05)
