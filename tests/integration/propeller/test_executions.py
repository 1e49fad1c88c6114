"""Executions from the request to the end, on a real NATS server and in real processes."""

from collections.abc import Callable
from pathlib import Path

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import Executions, RecordedLog, request, until
from tests.settings_stream import SettingsStream
from trimtab import runtime_override_config
from trimtab.levels import Scope
from trimtab.messages.events import ProjectChanged, RecordChanged
from trimtab.messages.executions import NodeFailed, Refused

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


async def test_an_execution_runs_to_its_end_and_passes_outputs_as_inputs(
    start: Start, executions: Executions, settings_stream: SettingsStream, module: Module
) -> None:
    await settings_stream.announce(PROJECT)
    start()
    recorded = await executions.ended(await executions.request(request(module(TWO_TASKS))))
    assert recorded.state.output == {"sum": 6, "log": "info"}
    node = ["node_starting", "node_running", "node_succeeded"]
    assert recorded.types == ["owned", "admitted", *node, *node, "succeeded"]


async def test_every_leaf_has_its_source_and_the_configuration_of_pods_is_stored(
    start: Start, executions: Executions, settings_stream: SettingsStream, module: Module
) -> None:
    revision = await settings_stream.announce(PROJECT, LIMITS)
    start(TRIMTAB_PODS__SCHEDULER_NAME="volcano")
    overrides = {"trainer": runtime_override_config(cpu="1500m", environment={"LOG": "debug"})}
    wanted = request(module(TWO_TASKS), overrides=overrides)
    recorded = await executions.ended(await executions.request(wanted))
    resolution = recorded.state.resolution
    assert resolution is not None
    leaves = {leaf.path: leaf for leaf in resolution.nodes["n1"]}
    assert leaves["resources.requests.cpu"].source == "execution override"
    assert leaves["resources.requests.memory"].source == "task_resource.defaults.memory"
    assert leaves["resources.requests.memory"].scope == "project-domain flyteexamples/development"
    assert leaves["resources.requests.memory"].revision == revision
    assert recorded.state.output == {"sum": 6, "log": "debug"}
    assert resolution.pods == {"scheduler_name": "volcano"}


async def test_a_request_over_the_limit_is_refused_with_the_scope_of_the_limit(
    start: Start, executions: Executions, settings_stream: SettingsStream, module: Module
) -> None:
    await settings_stream.announce(PROJECT, LIMITS)
    start()
    wanted = request(module(TWO_TASKS), overrides={"trainer": runtime_override_config(cpu=3)})
    recorded = await executions.ended(await executions.request(wanted))
    [_, refused] = recorded.events
    assert isinstance(refused, Refused)
    assert (refused.node, refused.path) == ("n1", "resources.requests.cpu")
    assert (refused.value, refused.limit) == ("3", "2")
    assert refused.scope == "project-domain flyteexamples/development"


async def test_an_execution_waits_for_the_settings_that_it_must_see(
    start: Start, executions: Executions, settings_stream: SettingsStream, module: Module
) -> None:
    revision = await settings_stream.announce(PROJECT)
    propeller = start()
    execution = await executions.request(request(module(TWO_TASKS), revision=revision + 1))
    await until(lambda: propeller.readiness()["status"] == "ready")
    assert await executions.read(execution) == RecordedLog()
    await settings_stream.announce(LIMITS)
    recorded = await executions.ended(execution)
    assert recorded.state.resolution is not None
    assert recorded.state.resolution.revision == revision + 1
    assert recorded.state.resolution.value("n0", "resources.limits.cpu") == "1"


async def test_a_request_that_is_delivered_three_times_runs_once(
    start: Start, executions: Executions, settings_stream: SettingsStream, module: Module
) -> None:
    await settings_stream.announce(PROJECT)
    first, second = start(), start()
    execution = await executions.request(request(module(TWO_TASKS)), times=3)
    recorded = await executions.ended(execution)
    again = "execution.already_claimed"
    # Both may have read a request before one of them deletes it.
    await until(lambda: len(first.logged(again)) + len(second.logged(again)) >= 2)
    assert await executions.read(execution) == recorded
    assert recorded.types.count("node_starting") == 2


async def test_a_failed_task_is_tried_again_as_often_as_its_resolved_retries(
    start: Start, executions: Executions, settings_stream: SettingsStream, module: Module
) -> None:
    source = """
@task(retries=2)
def flaky(): raise ValueError("attempt " + os.environ["TRIMTAB_ATTEMPT"])
@workflow
def job(): return flaky()
"""
    await settings_stream.announce(PROJECT)
    start()
    recorded = await executions.ended(await executions.request(request(module(source))))
    failures = [event for event in recorded.events if isinstance(event, NodeFailed)]
    assert [failure.final for failure in failures] == [False, False, True]
    assert recorded.state.phase == "failed"
    assert recorded.state.error == "ValueError: attempt 2 (module.py, line 6)"


async def test_a_task_sees_its_resolved_environment_and_nothing_of_the_service(
    start: Start, executions: Executions, settings_stream: SettingsStream, module: Module
) -> None:
    source = """
@task(environment={"LOG": "info"}, resources=Resources(cpu="500m"))
def environment(): return dict(os.environ)
@workflow
def job(): return environment()
"""
    await settings_stream.announce(PROJECT)
    start()
    recorded = await executions.ended(await executions.request(request(module(source))))
    environment = recorded.state.output
    assert isinstance(environment, dict)
    assert (environment["LOG"], environment["TRIMTAB_REQUESTS_CPU"]) == ("info", "500m")
    assert (
        not {"TRIMTAB_NATS_URL", "TRIMTAB_NATS_PASSWORD", "TRIMTAB_DATA_DIR"} & environment.keys()
    )
