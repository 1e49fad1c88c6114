"""Logs with foreign messages and with events of a later release: the execution goes on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import Executions, request, until
from tests.settings_stream import SettingsStream
from trimtab.messages import subjects
from trimtab.messages.events import ProjectChanged
from trimtab.messages.executions import Request, UnknownEvent

Module = Callable[[str], Path]

GATED = """
@task
def gated(directory: str):
    Path(directory, "begun").touch()
    while not Path(directory, "go").exists():
        time.sleep(0.02)
    return "went"
@task
def last(text: str): return text
@workflow
def job(directory: str): return last(text=gated(directory=directory))
"""
CLAIM = {"owner": "propeller-gone", "epoch": 1, "at": "2026-01-02T03:04:05Z"}
FOREIGN = [b"", b"{}", b"\xff", b"[" * 5000]


def event(execution: str, index: int, kind: str, **fields: Any) -> bytes:
    content = {"execution": execution, "index": index, **CLAIM, "type": kind, **fields}
    return json.dumps(content).encode()


@pytest.fixture
async def wanted(module: Module, tmp_path: Path, settings_stream: SettingsStream) -> Request:
    await settings_stream.announce(ProjectChanged(name="flyteexamples"))
    return request(module(GATED), inputs={"directory": str(tmp_path)})


async def append(client: Client, execution: str, *bodies: bytes) -> None:
    for body in bodies:
        await client.jetstream().publish(subjects.events(execution), body)


async def test_a_log_is_taken_over_with_its_foreign_messages_and_its_unknown_events(
    start: Start, executions: Executions, client: Client, wanted: Request, tmp_path: Path
) -> None:
    execution = wanted.execution
    owned = event(execution, 0, "owned", request=wanted.model_dump(mode="json"))
    adopted = event(execution, 1, "adopted", epoch=2)
    again = event(execution, 0, "owned")
    await append(client, execution, FOREIGN[1], owned, adopted, again, *FOREIGN)
    (tmp_path / "go").touch()
    start()
    recorded = await executions.ended(execution)
    assert (recorded.state.phase, recorded.state.output) == ("succeeded", "went")
    assert recorded.types[:2] == ["owned", "adopted"]
    assert recorded.state.epoch == 3


async def test_an_execution_that_a_later_release_ended_is_not_taken_over(
    start: Start, executions: Executions, client: Client, wanted: Request, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    ended = f"e{wanted.execution}"
    owned = event(ended, 0, "owned", request=wanted.model_dump(mode="json"))
    await append(client, ended, owned, event(ended, 1, "cancelled", ends=True))
    # Of an owner that is as silent, so it is taken over when the other one could have been.
    other = f"o{wanted.execution}"
    body = wanted.model_copy(update={"execution": other}).model_dump(mode="json")
    await append(client, other, event(other, 0, "owned", request=body))
    start()
    await executions.ended(other)
    assert (await executions.read(ended)).types == ["owned", "cancelled"]


async def test_an_execution_goes_on_past_messages_that_others_put_into_its_log(
    start: Start, executions: Executions, client: Client, wanted: Request, tmp_path: Path
) -> None:
    execution = wanted.execution
    await append(client, execution, *FOREIGN)
    propeller = start()
    await executions.request(wanted)
    await until((tmp_path / "begun").exists)
    recorded = await executions.until(execution, "node_running")
    claim = recorded.events[0]
    paused = event(execution, recorded.state.length, "paused", owner=claim.owner, epoch=claim.epoch)
    await append(client, execution, *FOREIGN, paused, *FOREIGN)
    (tmp_path / "go").touch()
    recorded = await executions.ended(execution)
    assert (recorded.state.phase, recorded.state.output) == ("succeeded", "went")
    assert [each.index for each in recorded.events] == list(range(len(recorded.events)))
    assert [each.type for each in recorded.events if isinstance(each, UnknownEvent)] == ["paused"]
    assert recorded.types.count("owned") == 1
    [logged] = propeller.logged("message.foreign")
    assert logged["subject"] == subjects.events(execution)


async def test_an_execution_goes_on_although_an_event_of_its_log_is_published_again(
    start: Start, executions: Executions, client: Client, wanted: Request, tmp_path: Path
) -> None:
    propeller = start()
    await executions.request(wanted)
    await until((tmp_path / "begun").exists)
    await executions.until(wanted.execution, "node_running")
    await append(client, wanted.execution, event(wanted.execution, 1, "owned", epoch=7))
    await append(client, wanted.execution, FOREIGN[1])
    await until(lambda: bool(propeller.logged("message.foreign")))
    (tmp_path / "go").touch()
    recorded = await executions.ended(wanted.execution)
    assert (recorded.state.phase, recorded.types.count("owned")) == ("succeeded", 2)
    assert not propeller.logged("execution.superseded")


async def test_a_log_that_ends_with_an_event_that_was_published_again_is_taken_over(
    start: Start, executions: Executions, client: Client, wanted: Request, tmp_path: Path
) -> None:
    execution = wanted.execution
    owned = event(execution, 0, "owned", request=wanted.model_dump(mode="json"))
    await append(client, execution, owned, event(execution, 0, "owned", epoch=7))
    (tmp_path / "go").touch()
    start()
    assert (await executions.ended(execution)).state.phase == "succeeded"


async def test_messages_on_subjects_of_no_log_do_not_end_a_propeller(
    start: Start, executions: Executions, client: Client, wanted: Request, tmp_path: Path
) -> None:
    prefix = subjects.ALL_EVENTS.removesuffix(">")
    for name in ("=", "=00", "=ff", "a.b", "=41", "~", "x" * 3000):
        for body in (*FOREIGN, event(name, 0, "owned")):
            await client.jetstream().publish(prefix + name, body)
    for body in (*FOREIGN, b'{"owner": 5}', b'{"owner": "\\ud800"}'):
        await client.publish(subjects.HEARTBEATS, body)
    (tmp_path / "go").touch()
    propeller = start()
    assert (await executions.ended(await executions.request(wanted))).state.output == "went"
    assert propeller.readiness()["status"] == "ready"
