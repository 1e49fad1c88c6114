"""Executions from the request to the end, on a real server and in real processes."""

from collections.abc import Callable
from pathlib import Path

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import Executions, request
from tests.settings_stream import SettingsStream
from trimtab import runtime_override_config
from trimtab.events import ProjectChanged, RecordChanged
from trimtab.levels import Scope

PROJECT = ProjectChanged(name="flyteexamples")
LIMITS = RecordChanged.at(
    Scope("development", "flyteexamples"),
    "task_resource",
    {"defaults": {"cpu": "1", "memory": "150Mi"}, "limits": {"cpu": "2", "memory": "450Mi"}},
)
TWO_TASKS = """
@task
def extract(count: int): return list(range(count))
@task(environment={"LOG": "info"})
def train(data): return {"sum": sum(data), "log": os.environ["LOG"]}
@workflow
def job(count: int = 4):
    return train(data=extract(count=count)).with_runtime_override("trainer")
"""

Module = Callable[[str], Path]


async def test_an_execution_runs_to_its_end_and_hands_values_on(
    start: Start, executions: Executions, settings_stream: SettingsStream, module: Module
) -> None:
    await settings_stream.announce(PROJECT)
    start()
    story = await executions.ended(await executions.ask(request(module(TWO_TASKS))))
    assert story.state.output == {"sum": 6, "log": "info"}
    node = ["node_starting", "node_running", "node_succeeded"]
    assert story.types == ["owned", "admitted", *node, *node, "succeeded"]
