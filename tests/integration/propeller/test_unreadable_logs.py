"""Logs that this release cannot read: their executions end with a reason, and no other waits."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import Executions, request
from tests.settings_stream import SettingsStream
from trimtab.messages import subjects
from trimtab.messages.events import ProjectChanged
from trimtab.messages.executions import Failed
from trimtab.messages.resolutions import Resolution, ResolvedValue

Module = Callable[[str], Path]

SOURCE = """
@task
def one(): return 1
@workflow
def job(): return one()
"""
CLAIM = {"owner": "propeller-gone", "epoch": 1, "at": "2026-01-02T03:04:05Z"}


def event(execution: str, index: int, kind: str, **fields: Any) -> bytes:
    return json.dumps(
        {"execution": execution, "index": index, **CLAIM, "type": kind, **fields}
    ).encode()


@pytest.mark.parametrize(
    ("unreadable", "reason"),
    [
        (lambda e: event(e, 1, "node_running", node="n0"), "event 1 of the log of {} cannot be"),
        (lambda e: event(e, 2, "paused"), "the log of {} has gaps"),
        (
            lambda e: event(e, 1, "admitted", blob={"digest": 64 * "a", "size": 300_000}),
            f"the resolution, in blob {64 * 'a'}, cannot be read: it is not stored",
        ),
    ],
    ids=["missing field", "gap", "lost resolution"],
)
async def test_an_execution_whose_log_cannot_be_read_is_ended_with_the_reason(
    start: Start,
    executions: Executions,
    settings_stream: SettingsStream,
    client: Client,
    module: Module,
    unreadable: Callable[[str], bytes],
    reason: str,
) -> None:
    await settings_stream.announce(ProjectChanged(name="flyteexamples"))
    old, new = request(module(SOURCE)), request(module(SOURCE))
    log, jetstream = subjects.events(old.execution), client.jetstream()
    owned = event(old.execution, 0, "owned", request=old.model_dump(mode="json"))
    await jetstream.publish(log, owned)
    await jetstream.publish(log, unreadable(old.execution))
    start()
    assert (await executions.ended(await executions.request(new))).state.phase == "succeeded"
    body = b""
    while b'"failed"' not in body:
        body = (await jetstream.get_last_msg(subjects.EXECUTION_EVENTS, log)).data or b""
        await asyncio.sleep(0.05)
    failed = Failed.model_validate_json(body)
    assert failed.error.startswith(reason.format(old.execution))
    assert failed.node == ""


async def test_the_end_of_an_execution_whose_log_has_a_gap_is_read_by_others(
    start: Start,
    executions: Executions,
    settings_stream: SettingsStream,
    client: Client,
    module: Module,
) -> None:
    await settings_stream.announce(ProjectChanged(name="flyteexamples"))
    old = request(module(SOURCE))
    log = subjects.events(old.execution)
    retries = ResolvedValue(path="retries", value=0, source="engine")
    resolution = Resolution(revision=0, executor="process", nodes={"n0": (retries,)})
    for body in (
        event(old.execution, 0, "owned", request=old.model_dump(mode="json")),
        event(old.execution, 1, "admitted", resolution=resolution.model_dump(mode="json")),
        event(old.execution, 3, "node_starting", node="n0", attempt=0),
    ):
        await client.jetstream().publish(log, body)
    start()
    recorded = await executions.until(old.execution, "failed")
    assert [each.index for each in recorded.events] == [0, 1, 3, 2, 4]
    assert recorded.types[-2:] == ["node_failed", "failed"]
    assert recorded.state.phase == "failed"
