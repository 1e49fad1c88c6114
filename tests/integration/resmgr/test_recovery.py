"""Tokens and waiters when Redis is killed, flushed, replaced or promoted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.integration.resmgr.direct import Cohort, end_leases, open_cohort
from tests.integration.resmgr.running import eventually
from tests.servers import PATIENCE_SECONDS, ValkeyServer
from trimtab.errors import Unavailable
from trimtab.messages.events import PoolChanged
from trimtab_resmgr.store import Rules

LEASE = PATIENCE_SECONDS / 120
"""Short enough to wait for, long enough to renew in."""
WAIT = {"wait_seconds": 600.0}


@pytest.fixture
def rules() -> Rules:
    return Rules(max_lease=LEASE, grace=0.1)


async def until_granted(cohort: Cohort, token: str) -> float:
    """Return the seconds until a token is granted."""
    began = asyncio.get_running_loop().time()

    async def granted() -> bool:
        return (await cohort.allocate(token, **WAIT)).status == "granted"

    await eventually(granted)
    return asyncio.get_running_loop().time() - began


def store_at_once(server: ValkeyServer) -> None:
    """Let the server write its append-only file before it replies."""
    assert server.send(b"CONFIG SET appendfsync always\r\n") == b"+OK\r\n"


async def answers(cohort: Cohort) -> bool:
    try:
        await cohort.inspect()
    except Unavailable:
        return False
    return True


async def test_an_empty_server_that_is_not_declared_new_is_in_quarantine(
    tmp_path: Path, rules: Rules
) -> None:
    server = ValkeyServer(tmp_path)
    server.start()
    try:
        async with open_cohort(server.port, rules, PoolChanged(name="gpu", quota=10)) as cohort:
            waiting = await cohort.allocate("a", **WAIT)
            assert [each.limit for each in waiting.blockers] == ["quarantine"]
            assert (await cohort.inspect()).quarantine_seconds > 0
            assert await until_granted(cohort, "a") > LEASE / 2
    finally:
        server.kill()


async def test_after_a_flush_holders_reassert_and_their_units_are_not_granted(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    fence = (await cohort.allocate("a", weight=8)).fence
    valkey_server.flush()
    assert (await cohort.allocate("b", weight=3, **WAIT)).status == "waiting"
    assert (await cohort.renew("a", fence=fence)).status == "reassert"
    assert (await cohort.reassert("a", fence, weight=8)).status == "held"
    assert await cohort.recount() == ()
    async with asyncio.TaskGroup() as tasks:
        renewing = tasks.create_task(keep_renewing(cohort, "a"))
        await eventually(lambda: is_open(cohort))
        assert (await cohort.allocate("b", weight=3, **WAIT)).status == "waiting"
        renewing.cancel()
    await cohort.release("a")
    assert (await cohort.allocate("b", weight=3, **WAIT)).status == "granted"


async def keep_renewing(cohort: Cohort, token: str) -> None:
    while True:
        assert (await cohort.renew(token)).status == "held"
        await asyncio.sleep(LEASE / 10)


async def is_open(cohort: Cohort) -> bool:
    """Return whether the quarantine is over."""
    return not (await cohort.inspect()).quarantine_seconds


async def test_a_cohort_that_a_flush_may_have_emptied_is_in_quarantine(
    cohort: Cohort, valkey_server: ValkeyServer, rules: Rules
) -> None:
    pool = PoolChanged(name="slots", quota=1)
    await cohort.allocate("a")
    for name, expected in (("new", "granted"), ("lost", "waiting")):
        if name == "lost":
            valkey_server.flush()
            await cohort.sweep()
        async with open_cohort(valkey_server.port, rules, pool, name=name) as other:
            assert (await other.allocate("b", pool="slots", **WAIT)).status == expected


async def test_after_a_flush_units_of_dead_holders_are_free_after_the_quarantine(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    await cohort.allocate("dead", weight=10)
    valkey_server.flush()
    assert await until_granted(cohort, "alive") > LEASE / 2


async def test_fences_keep_growing_after_a_flush(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    before = (await cohort.allocate("a")).fence
    assert before is not None
    valkey_server.flush()
    await until_granted(cohort, "b")
    after = (await cohort.allocate("b")).fence
    assert after is not None
    assert after > before


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_after_a_restart_leases_are_kept_and_nothing_is_granted_in_the_quarantine(
    cohort: Cohort, valkey_server: ValkeyServer, how: str
) -> None:
    store_at_once(valkey_server)
    fence = (await cohort.allocate("a", weight=8)).fence
    getattr(valkey_server, how)()
    valkey_server.start()
    await eventually(lambda: answers(cohort))
    end_leases(valkey_server)
    # In quarantine the units of an ended lease are not granted either.
    assert (await cohort.allocate("b", **WAIT)).status == "waiting"
    assert (await cohort.renew("a", fence=fence)).status == "held"
    assert await until_granted(cohort, "b") > LEASE / 4


async def test_a_replaced_server_is_in_quarantine(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    fence = (await cohort.allocate("a", weight=10)).fence
    valkey_server.wipe()
    await eventually(lambda: answers(cohort))
    assert (await cohort.reassert("a", fence, weight=10)).status == "held"
    assert (await cohort.allocate("b", **WAIT)).status == "waiting"


async def test_a_promoted_replica_is_in_quarantine(tmp_path: Path, rules: Rules) -> None:
    with ValkeyServer(tmp_path / "first") as first, ValkeyServer(tmp_path / "second") as second:
        second.send(f"REPLICAOF 127.0.0.1 {first.port}\r\n".encode())
        pool = PoolChanged(name="gpu", quota=10)
        async with open_cohort(first.port, rules, pool) as before:
            fence = (await before.allocate("a")).fence
        await eventually(lambda: replicated(second))
        second.send(b"REPLICAOF NO ONE\r\n")
        async with open_cohort(second.port, rules, pool) as after:
            assert (await after.allocate("b", **WAIT)).status == "waiting"
            assert (await after.renew("a", fence=fence)).status == "held"


async def replicated(server: ValkeyServer) -> bool:
    return server.send(b"HEXISTS trimtab:{default}:tokens:gpu a\r\n") == b":1\r\n"


async def test_without_a_quarantine_an_unknown_token_cannot_be_reasserted(cohort: Cohort) -> None:
    fence = (await cohort.allocate("a")).fence
    await cohort.release("a")
    assert (await cohort.reassert("a", fence)).status == "lost"
    assert (await cohort.inspect()).held == 0


@asynccontextmanager
async def after_flush(cohort: Cohort, server: ValkeyServer) -> AsyncIterator[None]:
    server.flush()
    yield
    assert await cohort.recount() == ()


async def test_of_two_reasserted_grants_of_a_token_the_later_one_counts(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    early = (await cohort.allocate("a")).fence
    await cohort.release("a")
    late = (await cohort.allocate("a", weight=2)).fence
    async with after_flush(cohort, valkey_server):
        assert (await cohort.reassert("a", early)).status == "held"
        assert (await cohort.reassert("a", late, weight=2)).status == "held"
        assert (await cohort.reassert("a", early)).status == "lost"
        assert (await cohort.inspect()).held == 2


async def test_an_earlier_grant_cannot_be_reasserted_over_a_pre_granted_token(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    early = (await cohort.allocate("a", weight=10)).fence
    await cohort.release("a")
    await cohort.allocate("b", weight=10)
    await cohort.allocate("a", weight=10, **WAIT)
    await cohort.release("b")
    valkey_server.send(b"HSET trimtab:{default}:state run another\r\n")
    answer = await cohort.reassert("a", early, weight=10)
    [holder] = (await cohort.inspect()).holders
    assert (answer.status, answer.fence) == ("lost", holder.fence)
    assert not holder.claimed
    assert (await cohort.allocate("a", weight=10, **WAIT)).fence == holder.fence


async def test_a_fence_far_ahead_of_the_clock_is_rejected(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    await cohort.allocate("a")
    async with after_flush(cohort, valkey_server):
        assert (await cohort.reassert("a", 2**53 - 1)).status == "lost"


async def test_waiters_keep_their_order_over_a_restart(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    store_at_once(valkey_server)
    await cohort.allocate("holder", weight=10)
    for token in "ab":
        await cohort.allocate(token, weight=10, **WAIT)
    valkey_server.kill()
    valkey_server.start()
    await eventually(lambda: answers(cohort))
    assert [w.token for w in (await cohort.inspect()).waiters] == ["a", "b"]
    await cohort.release("holder")
    assert await until_first_grant(cohort, "ab") == "a"


async def until_first_grant(cohort: Cohort, tokens: str) -> str:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            for token in reversed(tokens):
                answer = await cohort.allocate(token, weight=10, **WAIT)
                if answer.status == "granted":
                    return token
            await asyncio.sleep(0.02)
