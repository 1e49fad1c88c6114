"""An attempt of a task that uses a pool holds a token while it runs, and only then."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import Executions, FakeResmgr, is_running, request, until
from tests.servers import PATIENCE_SECONDS
from tests.settings_stream import SettingsStream
from trimtab.errors import Unavailable
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import PoolChanged, ProjectChanged
from trimtab.messages.executions import NodeFailed, NodeWaiting, Refused
from trimtab.testing import record
from trimtab.tokens.lease import Lease
from trimtab.tokens.pools import Pools
from trimtab.tokens.protocol import COHORT, Allocate
from trimtab_propeller.tokens import Cohorts

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


async def test_a_token_is_requested_and_released(
    start: Start, executions: Executions, client: Client, job: Path
) -> None:
    async with FakeResmgr(quota=2).serving(client) as resmgr:
        start()
        recorded = await executions.ended(await executions.request(request(job)))
        assert recorded.state.output == "done"
        [allocate] = resmgr.requests
        assert (allocate.token, allocate.weight) == (f"{recorded.state.execution}/n0/0", 2)
        assert (resmgr.released, resmgr.held) == ([allocate.token], {})


async def test_the_log_shows_that_a_node_waits_for_its_token(
    start: Start, executions: Executions, client: Client, job: Path
) -> None:
    async with FakeResmgr(quota=2).serving(client) as resmgr:
        resmgr.held["another holder"] = 1
        start()
        execution = await executions.request(request(job))
        await until(lambda: len(resmgr.requests) >= 3)
        recorded = await executions.read(execution)
        assert recorded.types == ["owned", "admitted", "node_waiting"]
        assert isinstance(recorded.events[-1], NodeWaiting)
        assert (recorded.events[-1].pool, recorded.nodes["n0"].reason) == ("warehouse", "quota 2")
        assert recorded.nodes["n0"].position == 2
        del resmgr.held["another holder"]
        assert (await executions.ended(execution)).types.count("node_waiting") == 1


async def test_a_node_waits_for_a_resmgr_that_is_away(
    start: Start, executions: Executions, client: Client, job: Path
) -> None:
    start()
    execution = await executions.request(request(job))
    recorded = await executions.until(execution, "node_waiting")
    assert "resmgr does not answer" in recorded.nodes["n0"].reason
    async with FakeResmgr(quota=2).serving(client):
        assert (await executions.ended(execution)).state.output == "done"


async def test_a_request_that_never_fits_fails_its_node_at_once(
    start: Start, executions: Executions, client: Client, job: Path
) -> None:
    async with FakeResmgr(quota=1).serving(client):
        start()
        recorded = await executions.ended(await executions.request(request(job)))
    assert recorded.types == ["owned", "admitted", "node_failed", "failed"]
    assert recorded.state.error == "weight 2 is over the quota 1"


STUBBORN = """
    import signal
    if os.environ["TRIMTAB_ATTEMPT"] == "0":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Path({pid!r}).write_text(str(os.getpid()))
        while True: time.sleep(0.02)
    return "done"
"""
"""The body of a task whose first attempt does not end by itself, and ignores SIGTERM."""


@pytest.fixture
def pid(tmp_path: Path) -> Path:
    """The file to which the first attempt of `STUBBORN` writes its process id."""
    return tmp_path / "pid"


@pytest.fixture
def stubborn(job: Path, module: Module, pid: Path) -> Path:
    return module(POOLED.replace(' return "done"', STUBBORN.format(pid=str(pid))))


async def test_an_attempt_that_loses_its_token_is_stopped_and_tried_again_with_another(
    start: Start, executions: Executions, client: Client, stubborn: Path, pid: Path
) -> None:
    async with FakeResmgr(quota=2).serving(client) as resmgr:
        start(TRIMTAB_LEASE_SECONDS="1")
        execution = await executions.request(request(stubborn))
        await until(pid.exists)
        resmgr.held = {"another holder": 2}
        recorded = await executions.until(execution, "node_waiting")
        assert not is_running(int(pid.read_text()))
        resmgr.held.clear()
        assert (await executions.ended(execution)).state.output == "done"
    failed = recorded.events[-2]
    assert isinstance(failed, NodeFailed)
    assert (failed.interrupted, failed.final) == (True, False)
    assert failed.error.startswith("the token of warehouse was lost: ")
    assert {each.token for each in resmgr.requests} == {f"{execution}/n0/{n}" for n in (0, 1)}


async def test_an_adopted_attempt_whose_token_was_granted_to_another_holder_is_stopped(
    start: Start, executions: Executions, client: Client, stubborn: Path, pid: Path
) -> None:
    async with FakeResmgr(quota=2).serving(client) as resmgr:
        first = start()
        execution = await executions.request(request(stubborn))
        await until(pid.exists)
        first.kill()
        resmgr.held = {"another holder": 2}
        start()
        await executions.until(execution, "node_waiting")
        assert not is_running(int(pid.read_text()))
        resmgr.held.clear()
        assert (await executions.ended(execution)).state.output == "done"


async def test_an_adopted_attempt_keeps_the_token_that_its_first_owner_was_granted(
    start: Start, executions: Executions, client: Client, job: Path, module: Module, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    gate = f"\n    while not Path({str(go)!r}).exists(): time.sleep(0.02)\n"
    async with FakeResmgr(quota=2).serving(client) as resmgr:
        first = start()
        execution = await executions.request(
            request(module(POOLED.replace(' return "done"', gate)))
        )
        await executions.until(execution, "node_running")
        first.kill()
        start()
        await until(lambda: bool(resmgr.renewals))
        go.touch()
        await executions.ended(execution)
    assert [renewal.fence for renewal in resmgr.renewals] == list(resmgr.fences.values())
    assert (len(resmgr.requests), resmgr.held) == (1, {})


async def test_a_token_that_resmgr_has_lost_is_asserted_again(
    start: Start, executions: Executions, client: Client, job: Path, module: Module, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    gate = f"\n    while not Path({str(go)!r}).exists(): time.sleep(0.02)\n"
    async with FakeResmgr(quota=2).serving(client) as resmgr:
        start(TRIMTAB_LEASE_SECONDS="1")
        execution = await executions.request(
            request(module(POOLED.replace(' return "done"', gate)))
        )
        await executions.until(execution, "node_running")
        fence = resmgr.fences.popitem()[1]
        resmgr.held.clear()
        await until(lambda: bool(resmgr.assertions))
        go.touch()
        await executions.ended(execution)
    assertion = resmgr.assertions[0]
    assert (assertion.fence, assertion.weight, assertion.project) == (fence, 2, "flyteexamples")
    assert resmgr.held == {}


async def test_a_node_that_waits_is_woken_by_a_hint(
    start: Start, executions: Executions, client: Client, job: Path
) -> None:
    async with FakeResmgr(quota=2).serving(client) as resmgr:
        resmgr.retry_after_seconds = 3600
        resmgr.held["another holder"] = 1
        start()
        execution = await executions.request(request(job))
        await executions.until(execution, "node_waiting")
        del resmgr.held["another holder"]
        await client.publish(subjects.granted(COHORT, resmgr.requests[0].token), b"{}")
        assert (await executions.ended(execution)).state.output == "done"


async def test_requests_for_tokens_have_the_priority_of_the_workflow(
    start: Start, executions: Executions, client: Client, job: Path, settings_stream: SettingsStream
) -> None:
    scope = Scope("development", "flyteexamples")
    await settings_stream.announce(record({"priority": 7}, kind="workflow_priority", scope=scope))
    async with FakeResmgr(quota=2).serving(client) as resmgr:
        start()
        await executions.ended(
            await executions.request(request(job, revision=settings_stream.revision))
        )
    assert [each.priority for each in resmgr.requests] == [7]


async def test_an_attempt_whose_token_was_lost_before_it_started_waits_for_another(
    start: Start, executions: Executions, client: Client, job: Path, module: Module
) -> None:
    fence = module(POOLED.replace('"done"', 'os.environ["TRIMTAB_FENCE"]'))
    resmgr = FakeResmgr(quota=2)
    resmgr.lease_seconds = [1e-6]
    async with resmgr.serving(client):
        propeller = start()
        recorded = await executions.ended(await executions.request(request(fence)))
    assert [each.token[-1] for each in resmgr.requests] == ["0", "1"]
    assert len(propeller.logged("token.lost")) == 1
    assert recorded.types.count("node_running") == 1
    assert recorded.state.output == str(resmgr.fences.popitem()[1])


async def test_a_token_that_could_not_be_released_is_released_later(
    start: Start, executions: Executions, client: Client, job: Path
) -> None:
    resmgr = FakeResmgr(quota=2)
    propeller = start()
    async with resmgr.serving(client):
        execution = await executions.request(request(job))
        await executions.until(execution, "node_running")
    await executions.ended(execution)
    await until(lambda: bool(propeller.logged("token.release_deferred")))
    async with resmgr.serving(client):
        await until(lambda: resmgr.held == {})


async def test_an_undeclared_pool_is_refused_by_name(
    start: Start, executions: Executions, client: Client, job: Path, module: Module
) -> None:
    start()
    other = module(POOLED.replace("warehouse", "wharehouse"))
    recorded = await executions.ended(await executions.request(request(other)))
    assert isinstance(recorded.events[-1], Refused)
    assert recorded.state.error == "pool 'wharehouse' does not exist; there are: warehouse"


async def test_a_release_that_meets_a_defect_is_repeated(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Exception] = [RuntimeError("a defect"), Unavailable("resmgr is away")]
    released: list[str] = []

    async def release(_pools: Pools, lease: Lease) -> None:
        if failures:
            raise failures.pop()
        released.append(lease.token)

    monkeypatch.setattr(Pools, "release", release)
    cohorts = Cohorts(client)
    request = Allocate(pool="gpus", token="t1", project="shop", domain="staging")
    await cohorts.tokens(COHORT).withdraw(request)
    releasing = asyncio.create_task(cohorts.release_deferred())
    await until(lambda: bool(released) or releasing.done())
    releasing.cancel()
    assert released == ["t1"]


async def test_an_execution_that_waits_for_its_token_for_longer_than_its_queueing_budget_fails(
    start: Start, executions: Executions, client: Client, job: Path, settings_stream: SettingsStream
) -> None:
    scope, budget = Scope("development", "flyteexamples"), f"{PATIENCE_SECONDS / 120:g}s"
    document = {"queueing_budget": budget}
    await settings_stream.announce(record(document, kind="quality_of_service", scope=scope))
    async with FakeResmgr(quota=2).serving(client) as resmgr:
        resmgr.held["another holder"] = 1
        start()
        wanted = request(job, revision=settings_stream.revision)
        wanted = wanted.model_copy(update={"created_at": datetime.now(UTC)})
        recorded = await executions.ended(await executions.request(wanted))
        # One that has waited for so long elsewhere fails even where there is room.
        resmgr.held.clear()
        late = request(job, revision=settings_stream.revision)
        late = late.model_copy(update={"created_at": datetime(2026, 1, 1, tzinfo=UTC)})
        overdue = await executions.ended(await executions.request(late))
        assert resmgr.held == {}
    assert {*recorded.types} - {"node_waiting"} == {"owned", "admitted", "failed"}
    assert overdue.types == ["owned", "admitted", "failed"]
    assert recorded.state.error == overdue.state.error
    assert recorded.state.error.startswith(
        f"no attempt started within the queueing budget of {budget} of "
    )
