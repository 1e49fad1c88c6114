"""Requests: a propeller claims as many as it may own, from one project-domain after the other."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import Executions, Propeller, request, until
from tests.servers import PATIENCE_SECONDS
from tests.settings_stream import SettingsStream
from trimtab.messages import subjects
from trimtab.messages.events import DEAD_REASON, DEAD_SUBJECT, ProjectChanged
from trimtab.messages.executions import ExecutionRequested, Failed, Request

GATED = """
@task
def gated(directory: str):
    while not Path(directory, "go").exists():
        time.sleep(0.02)
@workflow
def job(directory: str): return gated(directory=directory)
"""
SHOP, BANK = "flyteexamples", "bank"


@pytest.fixture
async def gated(
    settings_stream: SettingsStream, module: Callable[[str], Path], tmp_path: Path
) -> Request:
    """A request whose task ends once ``go`` exists."""
    await settings_stream.announce(ProjectChanged(name=SHOP), ProjectChanged(name=BANK))
    return request(module(GATED), inputs={"directory": str(tmp_path)})


def named(wanted: Request, execution: str, project: str = SHOP) -> Request:
    return wanted.model_copy(update={"execution": execution, "project": project})


async def waiting(client: Client) -> int:
    """Return how many requests the stream has."""
    return (await client.jetstream().stream_info(subjects.EXECUTIONS)).state.messages


async def claims(client: Client) -> dict[str, int]:
    """Return the number of events of each log."""
    info = await client.jetstream().stream_info(
        subjects.EXECUTION_EVENTS, subjects_filter=subjects.ALL_EVENTS
    )
    found = info.state.subjects or {}
    return {subjects.name_of(subject): count for subject, count in found.items()}


async def claimed(client: Client, count: int) -> dict[str, int]:
    """Wait until so many executions are claimed."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(found := await claims(client)) < count:
            await asyncio.sleep(0.05)
    return found


async def dead_letter(client: Client) -> dict[str, str]:
    """Wait for a dead letter and return its headers."""
    subject = subjects.dead(subjects.EXECUTIONS, subjects.PROPELLER)
    subscription = await client.jetstream().subscribe(subject, ordered_consumer=True)
    try:
        return dict((await subscription.next_msg(timeout=PATIENCE_SECONDS)).headers or {})
    finally:
        await subscription.unsubscribe()


async def test_the_only_request_of_a_project_is_one_of_the_first_two_to_be_claimed(
    start: Start, executions: Executions, client: Client, gated: Request, tmp_path: Path
) -> None:
    for number in range(200):
        await executions.request(named(gated, f"many{number}"))
    await executions.request(named(gated, "one", BANK))
    start(TRIMTAB_MAX_EXECUTIONS="2")
    assert "one" in await claimed(client, 2)
    (tmp_path / "go").touch()


async def test_a_propeller_owns_no_more_executions_than_it_may_and_the_rest_stays_in_the_stream(
    start: Start, executions: Executions, client: Client, gated: Request, tmp_path: Path
) -> None:
    propeller = start(TRIMTAB_MAX_EXECUTIONS="2")
    for number in range(5):
        await executions.request(named(gated, f"e{number}"))
    for execution in await claimed(client, 2):
        await executions.until(execution, "node_running")
    assert (len(await claims(client)), await waiting(client)) == (2, 3)
    readiness = propeller.readiness()
    assert (readiness["status"], readiness["executions"]) == ("ready", 2)
    (tmp_path / "go").touch()
    for number in range(5):
        assert (await executions.ended(f"e{number}")).state.phase == "succeeded"
    assert await waiting(client) == 0


async def test_a_takeover_respects_the_bound_and_is_made_when_there_is_room(
    start: Start, executions: Executions, client: Client, gated: Request, tmp_path: Path
) -> None:
    first = start()
    for number in range(3):
        await executions.request(named(gated, f"e{number}"))
        await executions.until(f"e{number}", "node_running")
    first.kill()
    second = start(TRIMTAB_MAX_EXECUTIONS="1")
    await until(lambda: len(second.logged("execution.taken_over")) == 1)
    await rounds(second, 3)
    assert len(second.logged("execution.taken_over")) == 1
    (tmp_path / "go").touch()
    for number in range(3):
        recorded = await executions.ended(f"e{number}")
        assert (recorded.state.phase, recorded.types.count("node_starting")) == ("succeeded", 1)


async def rounds(propeller: Propeller, heartbeats: int) -> None:
    """Wait for some heartbeats of a propeller, before each of which it looks for orphans."""
    owner = propeller.readiness()["owner"]
    received = 0
    client = Client()
    await client.connect(propeller.nats_url)
    try:
        subscription = await client.subscribe(subjects.HEARTBEATS)
        while received < heartbeats:
            message = await subscription.next_msg(timeout=PATIENCE_SECONDS)
            received += json.loads(message.data)["owner"] == owner
    finally:
        await client.close()


async def test_a_request_that_cannot_be_read_ends_its_execution_with_the_reason(
    start: Start, executions: Executions, client: Client, gated: Request, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    subject = subjects.requested(gated.domain, gated.project)
    broken = ExecutionRequested(request=named(gated, "broken")).model_dump(mode="json")
    del broken["request"]["workflow"]
    await client.jetstream().publish(subject, json.dumps(broken).encode())
    await executions.request(gated)
    start()
    failed = (await executions.ended("broken")).events[-1]
    assert isinstance(failed, Failed)
    assert failed.error == "the request cannot be read by this release: request.workflow: " + (
        "Field required"
    )
    headers = await dead_letter(client)
    assert (headers[DEAD_REASON], headers[DEAD_SUBJECT]) == (failed.error, subject)
    assert (await executions.ended(gated.execution)).state.phase == "succeeded"
    assert await waiting(client) == 0


FOREIGN = [b"", b"{}", b"[1]", b"\xff", b'{"request": {"execution": 5}}']


async def test_foreign_messages_are_dead_letters_and_hold_up_no_request(
    start: Start, executions: Executions, client: Client, gated: Request, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    for subject in ("trimtab.executions.requested.a", subjects.requested("development", SHOP)):
        for body in FOREIGN:
            await client.jetstream().publish(subject, body)
    await executions.request(gated)
    start()
    assert (await executions.ended(gated.execution)).state.phase == "succeeded"
    while await waiting(client):
        await asyncio.sleep(0.05)
    letters = await client.jetstream().stream_info(subjects.DEAD_LETTERS)
    assert letters.state.messages == 2 * len(FOREIGN)
    assert await claims(client) == {gated.execution: 6}


async def test_a_request_for_settings_that_never_come_holds_up_no_other(
    start: Start, executions: Executions, client: Client, gated: Request, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    never = named(gated, "never").model_copy(update={"revision": 10**15})
    await executions.request(never)
    await executions.request(gated)
    start()
    assert (await executions.ended(gated.execution)).state.phase == "succeeded"
    assert (await waiting(client), len(await claims(client))) == (1, 1)


async def test_a_request_in_a_stream_that_was_recreated_is_claimed(
    start: Start, executions: Executions, client: Client, gated: Request, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    never = named(gated, "never").model_copy(update={"revision": 10**15})
    for _ in range(3):
        await executions.request(gated)
    await executions.request(never)
    propeller = start()
    await until(lambda: bool(propeller.logged("request.settings_awaited")))
    jetstream = client.jetstream()
    declared = (await jetstream.stream_info(subjects.EXECUTIONS)).config
    await jetstream.delete_stream(subjects.EXECUTIONS)
    await jetstream.add_stream(declared)
    await executions.request(named(gated, "new"))
    assert (await executions.ended("new")).state.phase == "succeeded"


@pytest.mark.parametrize("is_readable", [True, False])
async def test_a_message_on_the_subject_of_another_project_ends_no_execution(
    start: Start,
    executions: Executions,
    client: Client,
    gated: Request,
    tmp_path: Path,
    is_readable: bool,
) -> None:
    (tmp_path / "go").touch()
    stray = ExecutionRequested(request=gated).model_dump(mode="json")
    if not is_readable:
        del stray["request"]["workflow"]
    subject = subjects.requested(gated.domain, BANK)
    await client.jetstream().publish(subject, json.dumps(stray).encode())
    start()
    assert (await dead_letter(client))[DEAD_SUBJECT] == subject
    await executions.request(gated)
    assert (await executions.ended(gated.execution)).state.phase == "succeeded"


async def test_a_large_request_is_claimed_and_one_that_no_log_can_hold_ends_its_execution(
    start: Start, executions: Executions, client: Client, gated: Request, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    room = client.max_payload - len(ExecutionRequested(request=gated).body())
    large = {"large": "x" * (room - 6_000)}, {"large": "x" * (room - 1_000)}
    for execution, labels in zip(("fits", "too large"), large, strict=True):
        wanted = named(gated, execution).model_copy(update={"annotations": labels})
        await executions.request(wanted)
    start()
    assert (await executions.until("fits", "owned")).state.request is not None
    recorded = await executions.ended("too large")
    assert "more than a message of NATS can hold" in recorded.state.error
