"""Pools: a token is held while an attempt runs, and only then."""

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from nats.aio.client import Client

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import Executions, Resmgr, request, until
from tests.settings_stream import SettingsStream
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import PoolChanged, ProjectChanged
from trimtab.messages.executions import NodeFailed, NodeWaiting, Refused
from trimtab.testing import record
from trimtab.tokens.protocol import COHORT

POOLED = """
@task(pool="warehouse", weight=2)
def pooled(): return "done"
@workflow
def job(): return pooled()
"""

Module = Callable[[str], Path]


@pytest.fixture
async def job(settings_stream: SettingsStream, module: Module) -> Path:
    await settings_stream.announce(
        ProjectChanged(name="flyteexamples"), PoolChanged(name="warehouse", quota=2)
    )
    return module(POOLED)


async def test_a_token_is_taken_and_given_back(
    start: Start, executions: Executions, client: Client, job: Path
) -> None:
    async with Resmgr(quota=2).answering(client) as resmgr:
        start()
        story = await executions.ended(await executions.ask(request(job)))
        assert story.state.output == "done"
        [asked] = resmgr.asked
        assert (asked.token, asked.weight) == (f"{story.state.execution}/n0/0", 2)
        assert (resmgr.released, resmgr.held) == ([asked.token], {})


async def test_a_node_waits_visibly_until_there_is_a_token(
    start: Start, executions: Executions, client: Client, job: Path
) -> None:
    async with Resmgr(quota=2).answering(client) as resmgr:
        resmgr.held["somebody else"] = 1
        start()
        execution = await executions.ask(request(job))
        await until(lambda: len(resmgr.asked) >= 3)
        story = await executions.whole(execution)
        assert story.types == ["owned", "admitted", "node_waiting"]
        assert isinstance(story.events[-1], NodeWaiting)
        assert (story.events[-1].pool, story.nodes["n0"].reason) == ("warehouse", "quota 2")
        assert story.nodes["n0"].position == 2
        del resmgr.held["somebody else"]
        assert (await executions.ended(execution)).types.count("node_waiting") == 1


async def test_a_node_waits_for_a_resmgr_that_is_away(
    start: Start, executions: Executions, client: Client, job: Path
) -> None:
    start()
    execution = await executions.ask(request(job))
    story = await executions.until(execution, "node_waiting")
    assert "resmgr does not answer" in story.nodes["n0"].reason
    async with Resmgr(quota=2).answering(client):
        assert (await executions.ended(execution)).state.output == "done"


async def test_what_never_fits_fails_at_once(
    start: Start, executions: Executions, client: Client, job: Path
) -> None:
    async with Resmgr(quota=1).answering(client):
        start()
        story = await executions.ended(await executions.ask(request(job)))
    assert story.types == ["owned", "admitted", "node_failed", "failed"]
    assert story.state.error == "weight 2 is over the quota 1"


STUBBORN = """
    import signal
    if os.environ["TRIMTAB_ATTEMPT"] == "0":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Path({pid!r}).write_text(str(os.getpid()))
        while True: time.sleep(0.02)
    return "done"
"""
"""The body of a task whose first attempt does not end by itself, and not when it is asked to."""


@pytest.fixture
def pid(tmp_path: Path) -> Path:
    """Where the first attempt of `STUBBORN` leaves its process."""
    return tmp_path / "pid"


@pytest.fixture
def stubborn(job: Path, module: Module, pid: Path) -> Path:
    return module(POOLED.replace(' return "done"', STUBBORN.format(pid=str(pid))))


def lives(pid: int) -> bool:
    """Or waits for nothing but to be buried, which not everybody's init does."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_an_attempt_that_loses_its_token_is_stopped_and_made_again_with_another(
    start: Start, executions: Executions, client: Client, stubborn: Path, pid: Path
) -> None:
    async with Resmgr(quota=2).answering(client) as resmgr:
        start(TRIMTAB_LEASE_SECONDS="1")
        execution = await executions.ask(request(stubborn))
        await until(pid.exists)
        resmgr.held = {"somebody else": 2}
        story = await executions.until(execution, "node_waiting")
        assert not lives(int(pid.read_text()))
        resmgr.held.clear()
        assert (await executions.ended(execution)).state.output == "done"
    failed = story.events[-2]
    assert isinstance(failed, NodeFailed)
    assert (failed.interrupted, failed.final) == (True, False)
    assert failed.error.startswith("the token of warehouse was lost: ")
    assert {asked.token for asked in resmgr.asked} == {f"{execution}/n0/{n}" for n in (0, 1)}


async def test_an_adopted_attempt_whose_token_others_have_is_stopped_too(
    start: Start, executions: Executions, client: Client, stubborn: Path, pid: Path
) -> None:
    async with Resmgr(quota=2).answering(client) as resmgr:
        first = start()
        execution = await executions.ask(request(stubborn))
        await until(pid.exists)
        first.kill()
        resmgr.held = {"somebody else": 2}
        start()
        await executions.until(execution, "node_waiting")
        assert not lives(int(pid.read_text()))
        resmgr.held.clear()
        assert (await executions.ended(execution)).state.output == "done"


async def test_an_adopted_attempt_keeps_the_token_that_its_first_owner_was_granted(
    start: Start, executions: Executions, client: Client, job: Path, module: Module, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    gate = f"\n    while not Path({str(go)!r}).exists(): time.sleep(0.02)\n"
    async with Resmgr(quota=2).answering(client) as resmgr:
        first = start()
        execution = await executions.ask(request(module(POOLED.replace(' return "done"', gate))))
        await executions.until(execution, "node_running")
        first.kill()
        start()
        await until(lambda: bool(resmgr.renewed))
        go.touch()
        await executions.ended(execution)
    assert [renewal.fence for renewal in resmgr.renewed] == list(resmgr.fences.values())
    assert (len(resmgr.asked), resmgr.held) == (1, {})


async def test_what_resmgr_has_forgotten_is_said_again(
    start: Start, executions: Executions, client: Client, job: Path, module: Module, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    gate = f"\n    while not Path({str(go)!r}).exists(): time.sleep(0.02)\n"
    async with Resmgr(quota=2).answering(client) as resmgr:
        start(TRIMTAB_LEASE_SECONDS="1")
        execution = await executions.ask(request(module(POOLED.replace(' return "done"', gate))))
        await executions.until(execution, "node_running")
        fence = resmgr.fences.popitem()[1]
        resmgr.held.clear()
        await until(lambda: bool(resmgr.reasserted))
        go.touch()
        await executions.ended(execution)
    said = resmgr.reasserted[0]
    assert (said.fence, said.weight, said.project) == (fence, 2, "flyteexamples")
    assert resmgr.held == {}


async def test_a_node_that_waits_is_woken_by_a_hint(
    start: Start, executions: Executions, client: Client, job: Path
) -> None:
    async with Resmgr(quota=2).answering(client) as resmgr:
        resmgr.retry_after_seconds = 3600
        resmgr.held["somebody else"] = 1
        start()
        execution = await executions.ask(request(job))
        await executions.until(execution, "node_waiting")
        del resmgr.held["somebody else"]
        await client.publish(subjects.granted(COHORT, resmgr.asked[0].token), b"{}")
        assert (await executions.ended(execution)).state.output == "done"


async def test_the_priority_of_the_workflow_is_that_of_its_tokens(
    start: Start, executions: Executions, client: Client, job: Path, settings_stream: SettingsStream
) -> None:
    scope = Scope("development", "flyteexamples")
    await settings_stream.announce(record({"priority": 7}, kind="workflow_priority", scope=scope))
    async with Resmgr(quota=2).answering(client) as resmgr:
        start()
        await executions.ended(
            await executions.ask(request(job, revision=settings_stream.revision))
        )
    assert [asked.priority for asked in resmgr.asked] == [7]


async def test_an_attempt_whose_token_was_lost_before_it_started_waits_for_another(
    start: Start, executions: Executions, client: Client, job: Path, module: Module
) -> None:
    fence = module(POOLED.replace('"done"', 'os.environ["TRIMTAB_FENCE"]'))
    resmgr = Resmgr(quota=2)
    resmgr.lease_seconds = [1e-6]
    async with resmgr.answering(client):
        propeller = start()
        story = await executions.ended(await executions.ask(request(fence)))
    assert [asked.token[-1] for asked in resmgr.asked] == ["0", "1"]
    assert len(propeller.logged("token.lost")) == 1
    assert story.types.count("node_running") == 1
    assert story.state.output == str(resmgr.fences.popitem()[1])


async def test_a_token_that_could_not_be_given_back_is_owed(
    start: Start, executions: Executions, client: Client, job: Path
) -> None:
    resmgr = Resmgr(quota=2)
    propeller = start()
    async with resmgr.answering(client):
        execution = await executions.ask(request(job))
        await executions.until(execution, "node_running")
    await executions.ended(execution)
    await until(lambda: bool(propeller.logged("token.release_deferred")))
    async with resmgr.answering(client):
        await until(lambda: resmgr.held == {})


async def test_a_pool_that_nobody_declared_is_refused_by_name(
    start: Start, executions: Executions, client: Client, job: Path, module: Module
) -> None:
    start()
    other = module(POOLED.replace("warehouse", "wharehouse"))
    story = await executions.ended(await executions.ask(request(other)))
    assert isinstance(story.events[-1], Refused)
    assert story.state.error == "pool 'wharehouse' does not exist; there are: warehouse"
