"""Attempts that take too long: they fail, and are retried, whichever propeller follows them."""

from collections.abc import Callable
from pathlib import Path

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import Executions, request
from tests.servers import PATIENCE_SECONDS
from tests.settings_stream import SettingsStream
from trimtab.messages.events import ProjectChanged
from trimtab.messages.executions import NodeFailed

SECONDS = round(PATIENCE_SECONDS / 30)
SLOW = f"""
@task(timeout={SECONDS}, retries=1)
def slow() -> str:
    attempt = os.environ["TRIMTAB_ATTEMPT"]
    if attempt == "0":
        time.sleep(3600)
    return attempt
@workflow
def job() -> str: return slow()
"""


async def test_a_timeout_counts_as_a_retry_although_its_propeller_was_killed(
    start: Start,
    executions: Executions,
    settings_stream: SettingsStream,
    module: Callable[[str], Path],
) -> None:
    await settings_stream.announce(ProjectChanged(name="flyteexamples"))
    first = start()
    execution = await executions.request(request(module(SLOW)))
    await executions.until(execution, "node_running")
    first.kill()
    start()
    recorded = await executions.ended(execution)
    assert recorded.state.output == "1", recorded.state.error
    [failed] = [event for event in recorded.events if isinstance(event, NodeFailed)]
    assert failed.error == f"timed out after {SECONDS} s"
    assert (failed.final, failed.interrupted) == (False, False)
