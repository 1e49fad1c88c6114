"""Resolutions that are too long for an event: they are blobs, which owners put and load."""

from collections.abc import Callable
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import Executions, RecordedLog, data_next_to, request
from tests.settings_stream import SettingsStream
from trimtab.blobs.jetstream import JetStreamBlobStore
from trimtab.blobs.resolutions import load
from trimtab.messages.events import ProjectChanged
from trimtab.messages.executions import Admitted, NodeStarting, NodeWaiting, Request
from trimtab.messages.resolutions import MAX_EVENT_BYTES, ResolutionBlob

Module = Callable[[str], Path]

SOURCE = """
@task
def wait(directory: str):
    while not Path(directory, "go").exists():
        time.sleep(0.02)
    return len(os.environ["LONG1"])
@workflow
def job(directory: str): return wait(directory=directory)
"""


@pytest.fixture(autouse=True)
async def settings(settings_stream: SettingsStream) -> None:
    await settings_stream.announce(ProjectChanged(name="flyteexamples"))


def large(module: Path, directory: Path) -> Request:
    """Return a request whose values do not fit into an event."""
    environment = {f"LONG{n}": 100_000 * "x" for n in range(MAX_EVENT_BYTES // 100_000 + 1)}
    wanted = request(module, inputs={"directory": str(directory)})
    return wanted.model_copy(update={"environment": environment})


def blob_of(recorded: RecordedLog) -> ResolutionBlob:
    [admitted] = [event for event in recorded.events if isinstance(event, Admitted)]
    assert admitted.resolution is None
    assert admitted.blob is not None
    return admitted.blob


async def test_a_large_resolution_is_a_blob_from_which_another_owner_continues(
    start: Start, executions: Executions, client: Client, module: Module, tmp_path: Path
) -> None:
    first = start()
    execution = await executions.request(large(module(SOURCE), tmp_path))
    recorded = await executions.until(execution, "node_running")
    resolution = await load(JetStreamBlobStore(client), blob_of(recorded))
    assert len(resolution.environment("n0")["LONG2"]) == 100_000
    assert sum(len(event.body()) for event in recorded.events[1:]) < 5_000
    first.kill()
    start()
    await executions.until(execution, "node_running", "failed")
    (tmp_path / "go").touch()
    recorded = await executions.ended(execution)
    assert (recorded.state.phase, recorded.state.output) == ("succeeded", 100_000)
    assert len([event for event in recorded.events if isinstance(event, NodeStarting)]) == 1


async def test_an_admission_waits_for_the_blob_store_with_the_reason(
    start: Start, executions: Executions, module: Module, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    blobs = data_next_to(tmp_path, "blobs")
    blobs.write_text("no directory")
    start(TRIMTAB_BLOBS=str(blobs))
    execution = await executions.request(large(module(SOURCE), tmp_path))
    waiting = (await executions.until(execution, "node_waiting", "failed")).events[-1]
    assert isinstance(waiting, NodeWaiting)
    assert (waiting.node, waiting.reason[:36]) == ("n0", "the resolution cannot be stored: the")
    blobs.unlink()
    recorded = await executions.ended(execution)
    assert recorded.state.phase == "succeeded", recorded.state.error
    before = recorded.events[recorded.types.index("admitted") - 1]
    assert isinstance(before, NodeWaiting)
    assert before.reason == ""
    assert (blobs / blob_of(recorded).digest).exists()
