"""Tasks get secrets by name; the values are in no event, log or file of propeller."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import Executions, Propeller, data_next_to, request
from tests.settings_stream import SettingsStream
from trimtab.messages.events import ProjectChanged
from trimtab.messages.executions import Admitted, NodeFailed
from trimtab.testing import record

VALUE = "hunter2-of-the-database"
SOURCE = """
@task(retries=3)
def connect(): return len(os.environ["_FSEC_DB_PASSWORD"])
@workflow
def job(): return connect()
"""


@pytest.fixture
def propeller(start: Start, tmp_path: Path) -> Propeller:
    file = data_next_to(tmp_path, "secrets") / "flyteexamples" / "development" / "db" / "password"
    file.parent.mkdir(parents=True)
    file.write_text(VALUE)
    return start(TRIMTAB_TASK_SECRETS_DIR=str(data_next_to(tmp_path, "secrets")))


async def announce(stream: SettingsStream, key: str) -> None:
    """Let all tasks of the domain have one secret of the group ``db``."""
    document = {"security_context": {"secrets": [{"group": "db", "key": key}]}}
    await stream.announce(
        ProjectChanged(name="flyteexamples"), record(document, kind="workflow_execution_config")
    )


async def test_an_execution_has_the_names_of_secrets_and_never_their_values(
    settings_stream: SettingsStream,
    propeller: Propeller,
    executions: Executions,
    module: Callable[[str], Path],
) -> None:
    await announce(settings_stream, "password")
    recorded = await executions.ended(await executions.request(request(module(SOURCE))))
    assert (recorded.state.phase, recorded.state.output) == ("succeeded", len(VALUE))
    [admitted] = [event for event in recorded.events if isinstance(event, Admitted)]
    named = {value.path: value for value in admitted.resolution.execution}
    secrets = named["security_context.secrets"]
    assert (secrets.value, secrets.note) == ([{"group": "db", "key": "password"}], "")
    written = "".join(event.model_dump_json() for event in recorded.events)
    assert VALUE not in written + propeller.log.read_text()


@pytest.mark.usefixtures("propeller")
async def test_a_missing_secret_fails_its_node_at_once_and_is_named(
    settings_stream: SettingsStream, executions: Executions, module: Callable[[str], Path]
) -> None:
    await announce(settings_stream, "user")
    recorded = await executions.ended(await executions.request(request(module(SOURCE))))
    [failure] = [event for event in recorded.events if isinstance(event, NodeFailed)]
    assert failure.final
    assert recorded.state.error == (
        "the attempt could not be started: secret 'db/user' exists neither for project "
        "'flyteexamples' in 'development' nor for all projects"
    )
