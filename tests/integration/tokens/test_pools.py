"""Tokens that programs take, renew, lose and release, with a real resmgr."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.integration.tokens.holder import put
from tests.integration.tokens.running import Installation, fenced_target
from tests.processes import ended
from tests.servers import PATIENCE_SECONDS
from trimtab.api.entities import PoolBody
from trimtab.errors import Invalid, NotFound
from trimtab.messages import subjects
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.connection import connect
from trimtab.tokens.lease import Lease
from trimtab.tokens.pools import LeaseLost, NeverFits, NotGranted, Pools
from trimtab.tokens.protocol import COHORT, Inspected
from trimtab.tokens.resmgr import ResmgrClient

SCOPE: dict[str, Any] = {"project": "shop", "domain": "staging"}


async def until(
    installation: Installation, pool: str, condition: Callable[[Inspected], bool]
) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS), installation.client() as client:
        while not condition(await client.pools.usage(pool)):
            await asyncio.sleep(0.05)


async def test_a_token_is_held_while_the_block_runs(
    installation: Installation, pools: Pools, pool: str
) -> None:
    async with installation.client() as client:
        async with pools.token(pool, **SCOPE, weight=2, token="mine") as lease:
            [holder] = (await client.pools.usage(pool)).holders
            assert (holder.token, holder.weight, holder.fence) == ("mine", 2, lease.fence)
        assert (await client.pools.usage(pool)).held == 0


async def test_several_pools_are_held_together(
    installation: Installation, pools: Pools, pool: str
) -> None:
    await installation.define_pool(PoolBody(name=f"{pool}-more", quota=5))
    async with (
        installation.client() as client,
        pools.token({pool: 1, f"{pool}-more": 4}, **SCOPE) as lease,
    ):
        assert lease.pools == (pool, f"{pool}-more")
        assert (await client.pools.usage(f"{pool}-more")).held == 4


async def test_a_waiter_is_granted_when_a_token_is_released(
    installation: Installation, pools: Pools, pool: str
) -> None:
    async def wait() -> int | None:
        async with pools.token(pool, **SCOPE, weight=2) as lease:
            return lease.fence

    async with pools.token(pool, **SCOPE) as first:
        waiting = asyncio.create_task(wait())
        await until(installation, pool, lambda usage: usage.waiting == 1)
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert (await waiting or 0) > (first.fence or 0)


async def test_a_cancelled_wait_releases_its_position(
    installation: Installation, pools: Pools, pool: str
) -> None:
    async def wait() -> None:
        async with pools.token(pool, **SCOPE):
            raise AssertionError("granted")

    async with pools.token(pool, **SCOPE, weight=2):
        waiting = asyncio.create_task(wait())
        await until(installation, pool, lambda usage: usage.waiting == 1)
        waiting.cancel()
        await until(installation, pool, lambda usage: usage.waiting == 0)


async def test_a_wait_that_ends_without_a_grant_raises_the_reason(pools: Pools, pool: str) -> None:
    async with pools.token(pool, **SCOPE, weight=2):
        with pytest.raises(NotGranted, match=r"within 0 s: pool .* has a quota of 2: 2 held, 1"):
            async with pools.token(pool, **SCOPE, wait_seconds=0):
                raise AssertionError("granted")


async def test_a_request_that_never_fits_raises_at_once(pools: Pools, pool: str) -> None:
    with pytest.raises(NeverFits, match="quota of 2, so 3 can never be granted"):
        async with pools.token(pool, **SCOPE, weight=3):
            raise AssertionError("granted")


async def test_an_unknown_pool_raises_an_error_that_names_the_known_ones(
    pools: Pools, pool: str
) -> None:
    with pytest.raises(NotFound, match=f"pool 'nowhere' does not exist; there are: .*{pool}"):
        async with pools.token("nowhere", **SCOPE):
            raise AssertionError("granted")


async def test_a_wrong_argument_is_named(pools: Pools, pool: str) -> None:
    with pytest.raises(Invalid, match="priority"):
        async with pools.token(pool, **SCOPE, priority=5000):
            raise AssertionError("granted")


async def test_neither_a_blocked_loop_nor_a_suspended_resmgr_loses_a_lease(
    installation: Installation, pools: Pools, pool: str, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = PATIENCE_SECONDS
    async with pools.token(pool, **SCOPE, lease_seconds=seconds, token="mine") as lease:
        with installation.paused("resmgr"):
            await hint_of_loss(installation, lease)
            block_until(lambda: "token.not_renewed" in caplog.messages)
            left = lease.seconds_left
        block_until(lambda: lease.seconds_left > left)
        lease.check()
        async with installation.client() as client:
            assert [h.fence for h in (await client.pools.usage(pool)).holders] == [lease.fence]


async def hint_of_loss(installation: Installation, lease: Lease) -> None:
    """Let the holder renew its lease now."""
    async with connect(ServiceConfig(nats_url=installation.nats.url), "test") as nats:
        await nats.publish(subjects.lost(COHORT, lease.token))
        await nats.flush()


def block_until(holds: Callable[[], bool]) -> None:
    """Block the event loop until a condition holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def test_a_forced_release_reaches_the_holder_at_once(
    installation: Installation, pools: Pools, pool: str
) -> None:
    async def hold() -> None:
        # With this long lease, only a hint can be the cause of an early renewal.
        async with pools.token(pool, **SCOPE, token="mine", lease_seconds=3600) as lease:
            # The holder subscribes to the hint after the grant. NATS has this once it responds.
            await asyncio.wrap_future(pools._run_at_home(pools._resmgr._client.flush()))
            async with installation.client() as client:
                await client.pools.release(pool, "mine", reason="the node burnt down")
            async with asyncio.timeout(PATIENCE_SECONDS):
                await lease.lost()
            assert not lease.held

    with pytest.raises(LeaseLost, match=r"token 'mine' of .* is lost"):
        await hold()


async def test_releasing_a_lost_token_is_no_error_and_has_a_reason(
    installation: Installation, pool: str
) -> None:
    settings = ServiceConfig(nats_url=installation.nats.url)
    async with connect(settings, "test") as nats, installation.client() as client:
        pools = Pools(ResmgrClient(nats))
        with suppress(LeaseLost):
            async with pools.token(pool, **SCOPE, token="mine") as lease:
                await client.pools.release(pool, "mine", reason="the node burnt down")
                await lease.lost()
        released = await pools.release(lease)
    assert (released.released, bool(released.reason)) == (False, True)


@contextmanager
def holder(installation: Installation, pool: str, target: str) -> Iterator[subprocess.Popen[str]]:
    program = str(Path(__file__).with_name("holder.py"))
    command = [sys.executable, program, installation.nats.url, pool, target]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with ended(subprocess.Popen(command, text=True, **pipes)) as process:  # type: ignore[call-overload]
        yield process


async def test_a_holder_suspended_past_its_lease_fails_its_check_and_is_refused_by_the_target(
    installation: Installation, pools: Pools, pool: str
) -> None:
    with fenced_target() as target, holder(installation, pool, target) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "acted 200\n"
        os.kill(process.pid, signal.SIGSTOP)
        async with pools.token(pool, **SCOPE, weight=2) as successor:
            assert await asyncio.to_thread(put, target, successor.fence) == 200
            os.kill(process.pid, signal.SIGCONT)
            output, _ = await asyncio.to_thread(process.communicate, "go\n")
    refuses, acted, ended = output.splitlines()
    assert refuses.startswith("refuses: token")
    assert (acted, ended) == ("acted 409", "ended with LeaseLost")


async def test_units_of_a_killed_holder_are_free_after_its_lease(
    installation: Installation, pools: Pools, pool: str
) -> None:
    with fenced_target() as target, holder(installation, pool, target) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "acted 200\n"
        process.kill()
        async with pools.token(pool, **SCOPE, weight=2) as successor:
            assert await asyncio.to_thread(put, target, successor.fence) == 200
