"""The code of executions: a bundle in the blob store, which propeller fetches before an attempt."""

from pathlib import Path

from nats.aio.client import Client

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import Executions, request
from tests.settings_stream import SettingsStream
from trimtab import load_module
from trimtab.blobs.jetstream import JetStreamBlobStore
from trimtab.messages import subjects
from trimtab.messages.events import ProjectChanged
from trimtab.messages.executions import NodeFailed, NodeWaiting
from trimtab.workflows.code.bundles import Bundle
from trimtab_admin.messaging import streams

TASKS = """
from trimtab import task
from prices import RATE
@task
def rate(net: int): return RATE * net
"""
JOB = """
from tasks import rate
from trimtab import workflow
@workflow
def job(net: int = 21): return rate(net=net)
"""


def write_code(directory: Path) -> Bundle:
    directory.mkdir()
    for name, text in {"tasks": TASKS, "prices": "RATE = 2", "job": JOB}.items():
        (directory / f"{name}.py").write_text(text)
    bundle = load_module(directory).bundle
    assert bundle is not None
    return bundle


async def test_an_execution_waits_for_the_blob_store_and_fails_where_it_has_no_code(
    start: Start,
    executions: Executions,
    client: Client,
    settings_stream: SettingsStream,
    tmp_path: Path,
) -> None:
    await settings_stream.announce(ProjectChanged(name="flyteexamples"))
    code = tmp_path / "code"
    bundle = write_code(code)
    await client.jetstream().delete_stream(subjects.BLOBS_STREAM)
    start()
    execution = await executions.request(request(code))
    waiting = (await executions.until(execution, "node_waiting")).events[-1]
    assert isinstance(waiting, NodeWaiting)
    assert "the code cannot be fetched: " in waiting.reason

    await streams.bootstrap(client)
    failed = await executions.ended(execution)
    reason = f"blob {bundle.digest!r} does not exist; register what names it again"
    [node] = [event for event in failed.events if isinstance(event, NodeFailed)]
    assert (node.final, reason in node.error, reason in failed.state.error) == (True, True, True)
    assert "node_starting" not in failed.types

    await JetStreamBlobStore(client).put(bundle.content)
    recorded = await executions.ended(await executions.request(request(code)))
    assert recorded.state.output == 42, recorded.state.error
