"""A deleted pool drains: nothing more is granted, and held tokens stay held."""

import pytest
from nats.aio.client import Client

from tests.integration.resmgr.running import Caller, ErrorReply, eventually
from tests.servers import ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab.messages import subjects
from trimtab.messages.events import PoolChanged
from trimtab.tokens.protocol import COHORT

GPU = PoolChanged(name="gpu", quota=10)


async def delete(caller: Caller, stream: SettingsStream, pool: PoolChanged = GPU) -> None:
    """Delete a pool, and wait until resmgr has consumed the event."""
    await stream.announce(pool.model_copy(update={"deleted": True}))

    async def is_gone() -> bool:
        try:
            await caller.allocate("x", pool.name, cohort=pool.cohort, weight=pool.quota + 1)
        except ErrorReply as refused:
            return refused.problem.status == 404
        return False

    await eventually(is_gone)


async def test_a_holder_keeps_its_token_until_it_releases_it(
    caller: Caller, settings_stream: SettingsStream
) -> None:
    granted = await caller.allocate("a", weight=8)
    await delete(caller, settings_stream)
    assert (await caller.renew("a", fence=granted.fence)).status == "held"
    assert await caller.release("a", fence=granted.fence) is True


async def test_a_waiter_gets_the_error_of_an_unknown_pool(
    caller: Caller, settings_stream: SettingsStream
) -> None:
    await caller.allocate("a", weight=10)
    assert (await caller.allocate("b", wait_seconds=60)).status == "waiting"
    await delete(caller, settings_stream)
    with pytest.raises(ErrorReply, match="pool 'gpu' does not exist"):
        await caller.allocate("b", wait_seconds=60)


async def test_a_waiter_is_not_granted_released_units(
    caller: Caller, settings_stream: SettingsStream, client: Client
) -> None:
    hints = await client.subscribe(subjects.granted(COHORT, "b"))
    await caller.allocate("a", weight=10)
    await caller.allocate("b", wait_seconds=60)
    await delete(caller, settings_stream)
    await wait_for_sweep(caller, settings_stream)
    await caller.release("a")
    await settings_stream.announce(GPU.model_copy(update={"active": False}))
    await eventually(lambda: is_inspected(caller))
    found = await caller.inspect()
    assert (found.held, found.waiting, hints.pending_msgs) == (0, 1, 0)


async def test_held_tokens_count_when_the_pool_is_declared_again(
    caller: Caller, settings_stream: SettingsStream
) -> None:
    await caller.allocate("a", weight=8)
    await delete(caller, settings_stream)
    await settings_stream.announce(GPU)
    refused = await caller.allocate("b", weight=3, wait_seconds=0)
    assert refused.reason == "pool 'gpu' has a quota of 10: 8 held, 3 requested"


async def test_a_cohort_outlives_its_last_pool(
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


async def wait_for_sweep(caller: Caller, stream: SettingsStream) -> None:
    """Wait until another sweep has begun: only a sweep grants waiters after a change of a quota."""
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
    except ErrorReply:
        return False
    return True
