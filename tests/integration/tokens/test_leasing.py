"""Tokens as programs use them: taken, kept, lost and given back, on a real resmgr."""

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
from tests.integration.tokens.running import Installation, protected
from trimtab.api.entities import PoolBody
from trimtab.errors import Invalid, NotFound
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.connection import connect
from trimtab.tokens.pools import LeaseLost, NeverFits, NotGranted, Pools
from trimtab.tokens.protocol import Inspected
from trimtab.tokens.resmgr import ResmgrClient

WHERE: dict[str, Any] = {"project": "shop", "domain": "staging"}
SOON_SECONDS = 10.0
"""Less than the pace of whoever hears no hint, and far more than a hint takes."""


async def until(installation: Installation, pool: str, is_so: Callable[[Inspected], bool]) -> None:
    async with asyncio.timeout(30), installation.client() as client:
        while not is_so(await client.pools.usage(pool)):
            await asyncio.sleep(0.05)


async def test_a_token_is_held_while_the_block_runs(
    installation: Installation, pools: Pools, pool: str
) -> None:
    async with installation.client() as client:
        async with pools.token(pool, **WHERE, weight=2, token="mine") as lease:
            [holder] = (await client.pools.usage(pool)).holders
            assert (holder.token, holder.weight, holder.fence) == ("mine", 2, lease.fence)
        assert (await client.pools.usage(pool)).held == 0


async def test_several_pools_are_held_together(
    installation: Installation, pools: Pools, pool: str
) -> None:
    async with installation.client() as client:
        await client.pools.put(PoolBody(name=f"{pool}-more", quota=5))
        async with pools.token({pool: 1, f"{pool}-more": 4}, **WHERE) as lease:
            assert lease.pools == (pool, f"{pool}-more")
            assert (await client.pools.usage(f"{pool}-more")).held == 4


async def test_who_waits_is_granted_when_a_token_comes_back(
    installation: Installation, pools: Pools, pool: str
) -> None:
    async def wait() -> int | None:
        async with pools.token(pool, **WHERE, weight=2) as lease:
            return lease.fence

    async with pools.token(pool, **WHERE) as first:
        waiting = asyncio.create_task(wait())
        await until(installation, pool, lambda usage: usage.waiting == 1)
    async with asyncio.timeout(SOON_SECONDS):
        assert (await waiting or 0) > (first.fence or 0)


async def test_who_no_longer_waits_has_no_place(
    installation: Installation, pools: Pools, pool: str
) -> None:
    async def wait() -> None:
        async with pools.token(pool, **WHERE):
            raise AssertionError("granted")

    async with pools.token(pool, **WHERE, weight=2):
        waiting = asyncio.create_task(wait())
        await until(installation, pool, lambda usage: usage.waiting == 1)
        waiting.cancel()
        await until(installation, pool, lambda usage: usage.waiting == 0)


async def test_waiting_ends_with_the_reason(pools: Pools, pool: str) -> None:
    async with pools.token(pool, **WHERE, weight=2):
        with pytest.raises(NotGranted, match=r"within 0 s: pool .* has a quota of 2: 2 held, 1"):
            async with pools.token(pool, **WHERE, wait_seconds=0):
                raise AssertionError("granted")


async def test_what_can_never_be_granted_is_refused_at_once(pools: Pools, pool: str) -> None:
    with pytest.raises(NeverFits, match="quota of 2, so 3 can never be granted"):
        async with pools.token(pool, **WHERE, weight=3):
            raise AssertionError("granted")


async def test_an_unknown_pool_is_refused_with_those_there_are(pools: Pools, pool: str) -> None:
    with pytest.raises(NotFound, match=f"pool 'nowhere' does not exist; there are: .*{pool}"):
        async with pools.token("nowhere", **WHERE):
            raise AssertionError("granted")


async def test_a_wrong_argument_is_named(pools: Pools, pool: str) -> None:
    with pytest.raises(Invalid, match="priority"):
        async with pools.token(pool, **WHERE, priority=5000):
            raise AssertionError("granted")


async def test_neither_a_blocked_loop_nor_a_pause_of_resmgr_loses_a_lease(
    installation: Installation, pools: Pools, pool: str
) -> None:
    async with pools.token(pool, **WHERE, lease_seconds=4) as lease:
        with installation.paused("resmgr"):
            time.sleep(1.5)  # blocks the loop
        time.sleep(4)
        lease.check()
        async with installation.client() as client:
            assert [h.fence for h in (await client.pools.usage(pool)).holders] == [lease.fence]


async def test_a_holder_is_told_that_its_token_was_taken_away(
    installation: Installation, pools: Pools, pool: str
) -> None:
    async def hold() -> None:
        async with pools.token(pool, **WHERE, token="mine") as lease:
            async with installation.client() as client:
                await client.pools.release(pool, "mine", reason="the node burnt down")
            async with asyncio.timeout(SOON_SECONDS):
                await lease.lost()
            assert not lease.held

    with pytest.raises(LeaseLost, match=r"token 'mine' of .* is lost"):
        await hold()


async def test_giving_back_what_was_lost_is_no_error_and_says_so(
    installation: Installation, pool: str
) -> None:
    settings = ServiceConfig(nats_url=installation.nats.url)
    async with connect(settings, "test") as nats, installation.client() as client:
        pools = Pools(ResmgrClient(nats))
        with suppress(LeaseLost):
            async with pools.token(pool, **WHERE, token="mine") as lease:
                await client.pools.release(pool, "mine", reason="the node burnt down")
                await lease.lost()
        released = await pools.release(lease)
    assert (released.released, bool(released.reason)) == (False, True)


@contextmanager
def holder(installation: Installation, pool: str, target: str) -> Iterator[subprocess.Popen[str]]:
    program = str(Path(__file__).with_name("holder.py"))
    command = [sys.executable, program, installation.nats.url, pool, target]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


async def test_a_holder_that_stood_still_past_its_lease_refuses_to_act_and_is_refused(
    installation: Installation, pools: Pools, pool: str
) -> None:
    with protected() as target, holder(installation, pool, target) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "acted 200\n"
        os.kill(process.pid, signal.SIGSTOP)
        async with pools.token(pool, **WHERE, weight=2) as successor:
            assert await asyncio.to_thread(put, target, successor.fence) == 200
            os.kill(process.pid, signal.SIGCONT)
            said, _ = await asyncio.to_thread(process.communicate, "go\n")
    refuses, acted, ended = said.splitlines()
    assert refuses.startswith("refuses: token")
    assert (acted, ended) == ("acted 409", "ended with LeaseLost")


async def test_what_a_killed_holder_had_is_free_after_its_lease(
    installation: Installation, pools: Pools, pool: str
) -> None:
    with protected() as target, holder(installation, pool, target) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "acted 200\n"
        process.kill()
        async with pools.token(pool, **WHERE, weight=2) as successor:
            assert await asyncio.to_thread(put, target, successor.fence) == 200
