"""The use of all pools of a cohort in one call, and why each grants nothing now."""

import asyncio
from itertools import pairwise

import pytest
import redis

from tests.integration.resmgr.direct import Cohort, end_leases, open_cohort
from tests.integration.resmgr.running import Caller, ErrorReply, eventually
from tests.servers import PATIENCE_SECONDS, ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab.messages.events import PoolChanged
from trimtab.tokens.protocol import MAX_POOLS, Blocked, PoolPage, Pools, PoolUse
from trimtab_resmgr import listing
from trimtab_resmgr.limits import PoolState
from trimtab_resmgr.store import CohortStore, Rules

WAITS = {"wait_seconds": 600.0}


def sources(state: PoolState) -> list[tuple[str, str, str]]:
    return [tuple(source) for source in state.blockers]


async def test_the_use_of_a_pool_counts_units_holders_waiters_and_what_they_request(
    cohort: Cohort,
) -> None:
    for token, weight in (("a", 7), ("b", 2)):
        await cohort.allocate(token, weight=weight)
    for token, weight in (("c", 4), ("d", 5), ("e", 6)):
        await cohort.allocate(token, weight=weight, **WAITS)
    state = await cohort.state()
    assert (state.held, state.holding, state.waiting, state.demand) == (9, 2, 3, 15)
    await cohort.release("d")
    await cohort.reprioritize("e", 5)
    assert (await cohort.state()).demand == 10
    await cohort.release("a")
    assert [(s.held, s.waiting, s.demand) for s in [await cohort.state()]] == [(8, 1, 4)]
    assert await cohort.recount() == ()


async def test_a_pool_without_waiters_has_no_blocker(cohort: Cohort) -> None:
    await cohort.allocate("a", weight=10)
    state = await cohort.state()
    assert (state.since_seconds, state.demand, sources(state)) == (None, 0, [])
    assert await cohort.state("unknown") == PoolState(0, 0, 0, is_known=False)


async def test_the_time_counts_from_when_a_waiter_became_the_first(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    await cohort.allocate("a", weight=10)
    for token in "bc":
        await cohort.allocate(token, weight=10, **WAITS)
    set_tags(valkey_server, s=1_000_000)  # in 1970
    assert await is_first_for_long(cohort)
    await cohort.allocate("c", weight=10, **WAITS)  # The second one changes nothing.
    assert await is_first_for_long(cohort)
    await cohort.release("b")
    assert not await is_first_for_long(cohort)
    [waiter] = (await cohort.inspect()).waiters
    assert waiter.token == "c"


async def test_a_waiter_that_a_replica_of_an_earlier_release_left_counts_from_its_arrival(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    await cohort.allocate("a", weight=10)
    for token, weight in (("b", 4), ("c", 5)):
        await cohort.allocate(token, weight=weight, **WAITS)
    set_tags(valkey_server, f=None, s=None, w=None)
    state = await cohort.state()
    assert (state.demand, state.since_seconds is not None) == (9, True)
    await cohort.allocate("d", weight=1, **WAITS)
    assert (await cohort.state()).demand == 10
    assert await cohort.recount() == ()


@pytest.mark.parametrize(
    ("limits", "request_", "expected"),
    [
        ({}, {"weight": 5}, [("quota", "gpu", "held")]),
        ({"project_cap": 8}, {"weight": 2}, [("project_cap", "gpu", "flytesnacks")]),
        (
            {"project_domain_cap": 8},
            {"weight": 2},
            [("project_domain_cap", "gpu", "flytesnacks/development")],
        ),
        (
            {"project_cap": 8},
            {"weight": 5},
            [("quota", "gpu", "held"), ("project_cap", "gpu", "flytesnacks")],
        ),
    ],
)
async def test_a_blocker_names_what_it_is(
    cohort: Cohort,
    limits: dict[str, int],
    request_: dict[str, int],
    expected: list[tuple[str, str, str]],
) -> None:
    cohort.declare(PoolChanged(name="gpu", quota=10, **limits))
    await cohort.allocate("held", weight=8)
    await cohort.allocate("waits", **request_, **WAITS)
    assert sources(await cohort.state()) == expected


async def test_the_holder_of_several_pools_is_named_by_its_token(cohort: Cohort) -> None:
    cohort.declare(PoolChanged(name="seats", quota=1))
    both = ({"pool": "gpu", "weight": 10}, {"pool": "seats", "weight": 1})
    await cohort.allocate("held", pool=None, pools=both)
    await cohort.allocate("waits", **WAITS)
    assert sources(await cohort.state()) == [("quota", "gpu", "held")]


async def test_units_are_reserved_for_a_waiter_of_another_pool(valkey_server: ValkeyServer) -> None:
    """The first waiter of ``seats`` needs units of ``gpu`` that an earlier one there waits for."""
    rules = Rules(reserve_after=0.0)
    pools = PoolChanged(name="gpu", quota=10), PoolChanged(name="seats", quota=1)
    async with open_cohort(valkey_server.port, rules, *pools) as cohort:
        await cohort.allocate("held", weight=8)
        await cohort.allocate("early", weight=5, project="market", **WAITS)
        both = ({"pool": "gpu", "weight": 1}, {"pool": "seats", "weight": 1})
        await cohort.allocate("late", pool=None, pools=both, **WAITS)
        assert sources(await cohort.state("seats")) == [("reservation", "gpu", "early")]
        behind = ({"pool": "gpu", "weight": 1}, {"pool": "seats", "weight": 1})
        await cohort.release("late", pool=None, pools=("gpu", "seats"))
        await cohort.allocate("after", pool=None, pools=behind, project="market", **WAITS)
        found = sources(await cohort.state("seats"))
    assert found == [("order", "gpu", "gpu")]


async def test_an_ended_lease_is_counted_until_it_is_swept(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    await cohort.allocate("a", weight=10)
    end_leases(valkey_server)
    assert (await cohort.state()).held == 10
    await cohort.sweep()
    assert (await cohort.state()).held == 0


async def test_all_pools_of_a_cohort_are_listed_with_their_use(
    caller: Caller, settings_stream: SettingsStream
) -> None:
    await settings_stream.announce(
        PoolChanged(name="cpu", quota=5000, active=False),
        PoolChanged(name="far", quota=1, cohort="night"),
    )
    await eventually(lambda: lists(caller, "cpu"))
    await caller.allocate("a", weight=8)
    await caller.allocate("b", weight=3, **WAITS)
    await caller.allocate("c", weight=4, **WAITS)
    found = await caller.pools()
    assert found["cpu"] == PoolUse(
        pool="cpu",
        cohort="default",
        declared=True,
        active=False,
        declared_quota=5000,
        quota=1000,
        held=0,
        holding=0,
        waiting=0,
        blocked=Blocked(reason="inactive", pool="cpu"),
    )
    gpu = found["gpu"]
    assert (gpu.held, gpu.holding, gpu.waiting, gpu.quota) == (8, 1, 2, 10)
    assert gpu.blocked is not None
    blocked = gpu.blocked.model_dump(exclude={"since_seconds"})
    assert blocked == {"reason": "quota", "pool": "gpu", "by": "a", "demand": 7}
    assert list(found) == ["cpu", "gpu"]
    assert list(await caller.pools("night")) == ["far"]


async def test_pages_have_every_pool_once(caller: Caller, settings_stream: SettingsStream) -> None:
    names = [f"pool-{number:03}" for number in range(230)]
    await settings_stream.announce(*(PoolChanged(name=name, quota=1) for name in names))
    await eventually(lambda: lists(caller, names[-1]))
    found, after = list[str](), ""
    for _ in range(8):
        request = Pools.model_validate({"limit": 33, "after": after or None})
        page = await caller.request(PoolPage, request)
        assert len(page.pools) <= 33
        found += [pool.pool for pool in page.pools]
        if page.next is None:
            break
        after = page.next
    assert found == ["gpu", *names]


async def test_all_pages_of_a_list_share_the_names_of_the_pools(
    caller: Caller, settings_stream: SettingsStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"pool-{number}" for number in range(9)]
    await settings_stream.announce(*(PoolChanged(name=name, quota=1) for name in names))
    await eventually(lambda: lists(caller, names[-1]))
    reads, known_pools = 0, CohortStore.known_pools

    async def count(store: CohortStore) -> set[str]:
        nonlocal reads
        reads += 1
        return await known_pools(store)

    monkeypatch.setattr(CohortStore, "known_pools", count)
    monkeypatch.setattr(listing, "NAMES_SECONDS", 10 * PATIENCE_SECONDS)
    page = await caller.request(PoolPage, Pools(limit=1))
    while page.next is not None:
        page = await caller.request(PoolPage, Pools(limit=1, after=page.next))
    assert (page.pools[0].pool, reads) == (names[-1], 1)
    await caller.pools()
    assert reads == 2  # The next list has what is new since then.


async def test_a_page_is_never_too_long_for_a_message(
    caller: Caller, settings_stream: SettingsStream
) -> None:
    await settings_stream.announce(PoolChanged(name="*", quota=1))
    names = [f"{number:03}" + "𝄞" * 197 for number in range(MAX_POOLS)]
    token = "é" * 500
    await eventually(lambda: is_granted(caller, token, names[0]))
    await asyncio.gather(*(caller.allocate(token, pool=name) for name in names))
    await asyncio.gather(*(caller.allocate("b", pool=name, **WAITS) for name in names))
    body = await caller.send("pools", b"{}")
    first = PoolPage.model_validate_json(body)
    assert len(body) <= 1_000_000
    assert first.next == first.pools[-1].pool
    rest = await caller.request(PoolPage, Pools(after=first.next))
    found = [pool.pool for pool in (*first.pools, *rest.pools)]
    assert all(one < other for one, other in pairwise(found))
    assert {*found} <= {*names, "*", "gpu"}


async def test_undeclared_and_deleted_pools_are_listed_while_they_are_used(
    caller: Caller, settings_stream: SettingsStream
) -> None:
    await caller.allocate("a", weight=10)
    await caller.allocate("b", **WAITS)
    await settings_stream.announce(PoolChanged(name="gpu", quota=10, deleted=True))
    await eventually(lambda: has_reason(caller, "gpu", "unknown"))
    gone = (await caller.pools())["gpu"]
    assert (gone.declared, gone.declared_quota, gone.quota, gone.held) == (False, None, None, 10)
    await settings_stream.announce(PoolChanged(name="*", quota=1))
    await eventually(lambda: is_granted(caller, "a", "some"))
    some = (await caller.pools())["some"]
    assert (some.declared, some.declared_quota, some.held, some.blocked) == (False, 1, 1, None)
    await caller.release("a", pool="some")
    assert "some" not in await caller.pools()


async def test_a_pool_that_is_held_in_another_cohort_is_moved_in_both(
    caller: Caller, settings_stream: SettingsStream, valkey_server: ValkeyServer
) -> None:
    valkey_server.declare_new("night")
    await caller.allocate("a", weight=4)
    await settings_stream.announce(PoolChanged(name="gpu", quota=10, cohort="night"))
    await eventually(lambda: lists(caller, "gpu", "night"))
    await caller.allocate("b", weight=5, cohort="night", **WAITS)
    there, here = (await caller.pools("night"))["gpu"], (await caller.pools())["gpu"]
    assert there.blocked is not None
    assert (there.blocked.reason, there.blocked.by, there.blocked.demand) == ("moved", "default", 5)
    assert (there.declared, there.held, here.declared, here.held) == (True, 0, False, 4)
    assert here.blocked == Blocked(reason="moved", pool="gpu", by="night")


async def test_a_quarantine_comes_before_every_other_reason(
    caller: Caller, settings_stream: SettingsStream, valkey_server: ValkeyServer
) -> None:
    await settings_stream.announce(PoolChanged(name="gpu", quota=10, active=False))
    await eventually(lambda: has_reason(caller, "gpu", "inactive"))
    valkey_server.send(b"HSET trimtab:{default}:state run another\r\n")
    await eventually(lambda: has_reason(caller, "gpu", "quarantine"))
    page = await caller.request(PoolPage, Pools())
    assert page.quarantine_seconds > 0


async def lists(caller: Caller, pool: str, cohort: str = "default") -> bool:
    try:
        return pool in await caller.pools(cohort)
    except ErrorReply:  # The cohort is not known yet.
        return False


async def has_reason(caller: Caller, pool: str, reason: str) -> bool:
    blocked = (await caller.pools())[pool].blocked
    return blocked is not None and blocked.reason == reason


async def is_granted(caller: Caller, token: str, pool: str) -> bool:
    try:
        return (await caller.allocate(token, pool=pool)).status == "granted"
    except ErrorReply:  # The pool is not known yet.
        return False


async def is_first_for_long(cohort: Cohort) -> bool:
    since = (await cohort.state()).since_seconds
    assert since is not None
    return since > 1_000_000


def set_tags(server: ValkeyServer, **values: int | None) -> None:
    """Set fields of the pool's queue, or delete those without a value."""
    key = "trimtab:{default}:tags:gpu"
    with redis.Redis.from_url(server.url) as client:
        for field, value in values.items():
            if value is None:
                assert client.hdel(key, field) == 1
            else:
                assert client.hset(key, field, value) == 0
