"""A pool that is deleted drains: nothing more is granted, and what is held is held."""

import pytest
from nats.aio.client import Client

from tests.integration.resmgr.running import Caller, Refused, eventually
from tests.servers import ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab.messages import subjects
from trimtab.messages.events import PoolChanged
from trimtab.tokens.protocol import COHORT

GPU = PoolChanged(name="gpu", quota=10)


async def delete(caller: Caller, stream: SettingsStream, pool: PoolChanged = GPU) -> None:
    """And wait until resmgr has heard of it."""
    await stream.announce(pool.model_copy(update={"deleted": True}))

    async def is_gone() -> bool:
        try:
            await caller.allocate("x", pool.name, cohort=pool.cohort, weight=pool.quota + 1)
        except Refused as refused:
            return refused.problem.status == 404
        return False

    await eventually(is_gone)


async def test_who_holds_something_keeps_it_until_it_is_given_back(
    caller: Caller, settings_stream: SettingsStream
) -> None:
    granted = await caller.allocate("a", weight=8)
    await delete(caller, settings_stream)
    assert (await caller.renew("a", fence=granted.fence)).status == "held"
    assert await caller.release("a", fence=granted.fence) is True


async def test_who_waits_is_told_that_it_is_gone(
    caller: Caller, settings_stream: SettingsStream
) -> None:
    await caller.allocate("a", weight=10)
    assert (await caller.allocate("b", wait_seconds=60)).status == "waiting"
    await delete(caller, settings_stream)
    with pytest.raises(Refused, match="pool 'gpu' does not exist"):
        await caller.allocate("b", wait_seconds=60)


async def test_who_waits_is_granted_nothing_that_comes_back(
    caller: Caller, settings_stream: SettingsStream, client: Client
) -> None:
    hints = await client.subscribe(subjects.granted(COHORT, "b"))
    await caller.allocate("a", weight=10)
    await caller.allocate("b", wait_seconds=60)
    await delete(caller, settings_stream)
    await sweeps(caller, settings_stream)
    await caller.release("a")
    await settings_stream.announce(GPU.model_copy(update={"active": False}))
    await eventually(lambda: is_inspected(caller))
    found = await caller.inspect()
    assert (found.held, found.waiting, hints.pending_msgs) == (0, 1, 0)


async def test_what_is_still_held_counts_when_the_pool_is_there_again(
    caller: Caller, settings_stream: SettingsStream
) -> None:
    await caller.allocate("a", weight=8)
    await delete(caller, settings_stream)
    await settings_stream.announce(GPU)
    refused = await caller.allocate("b", weight=3, wait_seconds=0)
    assert refused.reason == "pool 'gpu' has a quota of 10: 8 held, 3 asked for"


async def test_a_cohort_outlives_the_last_of_its_pools(
    caller: Caller, settings_stream: SettingsStream, valkey_server: ValkeyServer
) -> None:
    valkey_server.declare_new("night")
    pool = PoolChanged(name="slot", quota=1, cohort="night")
    await settings_stream.announce(pool)
    granted = await caller.allocate("a", "slot", cohort="night")
    await delete(caller, settings_stream, pool)
    body = f'{{"pool": "slot", "token": "a", "fence": {granted.fence}}}'.encode()
    assert b'"held"' in await caller.send("renew", body, cohort="night")
    assert b'"released":true' in await caller.send("release", body, cohort="night")


async def sweeps(caller: Caller, stream: SettingsStream) -> None:
    """Wait until a sweep has begun after now: one that waits hears of a change by no other way."""
    await stream.announce(PoolChanged(name="other", quota=1))
    await caller.allocate("y", "other")
    await caller.allocate("z", "other", wait_seconds=60)
    await stream.announce(PoolChanged(name="other", quota=2))

    async def has_two() -> bool:
        return (await caller.inspect("other")).held == 2

    await eventually(has_two)


async def is_inspected(caller: Caller) -> bool:
    try:
        await caller.inspect()
    except Refused:
        return False
    return True
