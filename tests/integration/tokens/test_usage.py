"""Pools as admins inspect and change them, through the API and the command line."""

import asyncio
import json
from contextlib import AsyncExitStack, suppress
from typing import Any

import httpx
import pytest
import yaml
from nats import connect

from tests.integration.tokens.running import TOKEN, Installation
from tests.servers import PATIENCE_SECONDS
from trimtab.api.entities import PoolBody
from trimtab.errors import Conflict, Invalid, NotFound
from trimtab.tokens.pools import LeaseLost, NeverFits, NotGranted, Pools, connected
from trimtab.tokens.protocol import Allocate, Batch, Batched
from trimtab.tokens.resmgr import ResmgrClient

SHOP: dict[str, Any] = {"project": "shop", "domain": "staging"}


async def start_waiters(pools: Pools, pool: str, *names: str) -> list[asyncio.Task[None]]:
    """Start waiters, which request their tokens in this order."""

    async def wait(name: str) -> None:
        async with pools.token(pool, **SHOP, token=name):
            pass

    return [asyncio.create_task(wait(name), name=name) for name in names]


async def wait_for_queue(installation: Installation, pool: str, number: int) -> list[str]:
    """Return the tokens in the queue, once there are so many."""
    async with asyncio.timeout(PATIENCE_SECONDS), installation.client() as client:
        while True:
            waiters = (await client.pools.usage(pool)).waiters
            if len(waiters) == number:
                return [waiter.token for waiter in waiters]
            await asyncio.sleep(0.05)


async def test_describe_shows_holders_and_waiters_with_reasons(
    installation: Installation, pools: Pools, pool: str
) -> None:
    async with pools.token(pool, **SHOP, weight=2, token="e1/n0/0"):
        [waiter] = await start_waiters(pools, pool, "e2/n0/0")
        await wait_for_queue(installation, pool, 1)
        shown = await asyncio.to_thread(installation.trimtab, "describe", "pool", pool)
    await waiter
    assert shown.exit_code == 0, shown.output
    lines = [line.split() for line in shown.output.splitlines()]
    assert f"Pool {pool}: 2 of 2 held, 1 waiting" in shown.output
    assert ["shop:", "2", "(staging", "2)"] in lines
    assert ["e1/n0/0", "shop", "staging", "2"] in [line[:4] for line in lines]
    assert ["1", "e2/n0/0", "shop", "staging", "1", "0"] in [line[:6] for line in lines]
    assert f"pool '{pool}' has a quota of 2: 2 held, 1 requested" in shown.output


async def test_a_dry_run_finds_a_token_and_leaves_it_where_it_is(
    installation: Installation, pools: Pools, pool: str
) -> None:
    async def run(*words: str) -> str:
        done = await asyncio.to_thread(installation.trimtab, *words, "--dry-run")
        assert done.exit_code == 0, done.output
        return str(done.output)

    reason = ("--reason", "a test")
    async with pools.token(pool, **SHOP, weight=2, token="e1/n0/0"):
        [waiter] = await start_waiters(pools, pool, "e2/n0/0")
        await wait_for_queue(installation, pool, 1)
        for token, noun in (("e1/n0/0", "token"), ("e2/n0/0", "waiter")):
            found = await run("release", "token", pool, token, *reason)
            assert found == f"Would release {noun} {token} of pool {pool}\n"
        found = await run("update", "token", pool, "e2/n0/0", "--priority", "7")
        assert found == f"Would update token e2/n0/0 of pool {pool}: priority 7\n"
        async with installation.client() as client:
            usage = await client.pools.usage(pool)
        assert [holder.token for holder in usage.holders] == ["e1/n0/0"]
        assert [(each.token, each.priority) for each in usage.waiters] == [("e2/n0/0", 0)]
    await waiter


async def test_a_forced_release_records_its_reason(
    installation: Installation, pools: Pools, pool: str
) -> None:
    async def hold() -> None:
        async with pools.token(pool, **SHOP, token="e1/n0/0") as lease:
            release = ("release", "token", pool, "e1/n0/0", "--reason", "its node burnt down")
            done = await asyncio.to_thread(installation.trimtab, *release)
            assert done.output == f"Released token e1/n0/0 of pool {pool}\n"
            await lease.lost()

    with pytest.raises(LeaseLost):
        await hold()
    shown = await asyncio.to_thread(installation.trimtab, "describe", "pool", pool, "--audit")
    assert "recounted: all sums are right" in shown.output
    assert f"released token e1/n0/0 of {pool} by force: its node burnt down" in shown.output
    trail = await asyncio.to_thread(installation.trimtab, "audit", "--status", "200")
    [entry] = [line for line in trail.output.splitlines() if f"/pools/{pool}/" in line]
    assert entry.endswith("released token e1/n0/0: its node burnt down")
    log = (installation.directory / "admin.log").read_text()
    assert any("token.forced" in line and pool in line for line in log.splitlines())


async def test_a_forced_release_without_a_reason_is_refused(
    installation: Installation, pool: str
) -> None:
    async with installation.client() as client:
        with pytest.raises(Invalid, match="the reason for releasing the token"):
            await client.pools.release(pool, "e1/n0/0", reason="")


async def test_a_forced_release_by_one_of_several_pools_releases_all(
    installation: Installation, pools: Pools, pool: str
) -> None:
    await installation.define_pool(PoolBody(name=f"{pool}-more", quota=5))
    async with installation.client() as client:
        with suppress(LeaseLost):
            async with pools.token({pool: 1, f"{pool}-more": 4}, **SHOP, token="a") as lease:
                release = ("release", "token", pool, "a", "--reason", "no longer needed")
                await asyncio.to_thread(installation.trimtab, *release)
                await lease.lost()
        assert (await client.pools.usage(f"{pool}-more")).held == 0


async def test_a_forced_release_of_an_unknown_token_fails(
    installation: Installation, pool: str
) -> None:
    done = await asyncio.to_thread(
        installation.trimtab, "release", "token", pool, "unknown", "--reason", "to try"
    )
    assert (done.exit_code, done.stderr) == (3, "Error: token 'unknown' does not exist\n")


async def test_a_waiter_with_a_raised_priority_comes_first(
    installation: Installation, pools: Pools, pool: str
) -> None:
    async with pools.token(pool, **SHOP, weight=2):
        first = await start_waiters(pools, pool, "first")
        await wait_for_queue(installation, pool, 1)
        second = await start_waiters(pools, pool, "second")
        assert await wait_for_queue(installation, pool, 2) == ["first", "second"]
        update = ("update", "token", pool, "second", "--priority", "5")
        done = await asyncio.to_thread(installation.trimtab, *update)
        assert done.output.endswith("priority 5, position 1\n"), done.output
        assert await wait_for_queue(installation, pool, 2) == ["second", "first"]
    await asyncio.gather(*first, *second)


async def test_a_lowered_quota_releases_nothing_and_grants_nothing_until_enough_is_released(
    installation: Installation, pools: Pools, pool: str
) -> None:
    async with installation.client() as client, AsyncExitStack() as held:
        leases = [await held.enter_async_context(pools.token(pool, **SHOP)) for _ in range(2)]
        done = await asyncio.to_thread(installation.trimtab, "update", "pool", pool, "--quota", "1")
        assert done.output == f"Updated pool {pool}: quota 1; cohort default\n"
        await wait_for_refusal(pools, pool, "has a quota of 1: 2 held")
        assert all(lease.held for lease in leases)
        assert (await client.pools.usage(pool)).held == 2


async def wait_for_refusal(pools: Pools, pool: str, reason: str) -> None:
    """Wait until requests are refused for this reason, once resmgr has consumed a change."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                async with pools.token(pool, **SHOP, wait_seconds=0):
                    pass
            except NotGranted as error:
                if reason in str(error):
                    return
            await asyncio.sleep(0.05)


async def test_an_inactive_pool_grants_nothing_until_it_is_active_again(
    installation: Installation, pools: Pools, pool: str
) -> None:
    await asyncio.to_thread(installation.trimtab, "update", "pool", pool, "--inactive")
    await wait_for_refusal(pools, pool, "is not active")
    [waiter] = await start_waiters(pools, pool, "a")
    await wait_for_queue(installation, pool, 1)
    await asyncio.to_thread(installation.trimtab, "update", "pool", pool, "--active")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await waiter


async def test_a_default_applies_to_undeclared_pools(
    installation: Installation, pools: Pools
) -> None:
    update = ("update", "pool", "*", "--quota", "3", "--max-weight", "2")
    done = await asyncio.to_thread(installation.trimtab, *update)
    assert done.exit_code == 0, done.output
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                async with pools.token("undeclared", **SHOP, weight=2, wait_seconds=0):
                    break
            except NotFound:
                await asyncio.sleep(0.05)
    with pytest.raises(NeverFits, match="a token of pool 'undeclared' may have 2, so 3 can never"):
        async with pools.token("undeclared", **SHOP, weight=3):
            pass


async def listed(installation: Installation, pool: str) -> dict[str, Any]:
    """Return the pool as ``get pools -o json`` shows it."""
    shown = await asyncio.to_thread(installation.trimtab, "get", "pools", "-o", "json")
    assert shown.stderr == ""
    [found] = [each for each in json.loads(shown.stdout) if each["name"] == pool]
    return dict(found)


async def test_pools_are_listed_with_their_limits_and_their_use(
    installation: Installation, pools: Pools, pool: str
) -> None:
    async with pools.token(pool, **SHOP, weight=2, token="e1/n0/0"):
        [waiter] = await start_waiters(pools, pool, "e2/n0/0")
        await wait_for_queue(installation, pool, 1)
        shown = await asyncio.to_thread(installation.trimtab, "get", "pools", "-o", "wide")
        found = await listed(installation, pool)
        one = await asyncio.to_thread(installation.trimtab, "get", "pools", pool, "-o", "yaml")
    await waiter
    [line] = [line.split() for line in shown.output.splitlines() if line.split()[0] == pool]
    assert line[:6] == [pool, "2", "2", "2", "1", "1"]
    assert line[7:] == ["quota", "e1/n0/0", "1", "-", "-", "-", "default", "true"]
    blocked = found["usage"]["blocked"]
    assert blocked.pop("since_seconds") >= 0
    assert blocked == {"reason": "quota", "pool": pool, "by": "e1/n0/0", "demand": 1}
    assert (found["quota"], found["usage"]["held"], found["usage"]["holding"]) == (2, 2, 1)
    [only] = yaml.safe_load(one.stdout)
    assert (only["name"], only["usage"]["waiting"]) == (pool, 1)


async def test_pools_that_are_not_declared_are_listed_while_they_are_used(
    installation: Installation, pools: Pools, pool: str
) -> None:
    async with pools.token(pool, **SHOP):
        await asyncio.to_thread(installation.trimtab, "delete", "pool", pool, "--force")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await listed(installation, pool))["usage"]["declared"]:
                await asyncio.sleep(0.05)
        gone = await listed(installation, pool)
    assert gone.keys() == {"name", "cohort", "usage"}
    assert (gone["usage"]["held"], gone["usage"]["holding"]) == (1, 1)


async def test_a_deleted_pool_that_is_held_is_listed_though_no_other_pool_is_in_its_cohort(
    installation: Installation, pool: str
) -> None:
    name = f"{pool}-gone"
    await installation.define_pool(PoolBody(name=name, quota=1, cohort=name))
    async with connected(installation.nats.url, cohort=name) as there, there.token(name, **SHOP):
        await asyncio.to_thread(installation.trimtab, "delete", "pool", name, "--force")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await listed(installation, name))["usage"]["declared"]:
                await asyncio.sleep(0.05)


async def test_the_use_of_all_pools_is_listed_in_pages_of_every_cohort(
    installation: Installation, pool: str
) -> None:
    await installation.define_pool(PoolBody(name=f"{pool}-far", quota=1, cohort="far"))
    async with installation.client() as client:
        every = [(use.cohort, use.pool) for use in await client.pools.usages()]
        far = [use.pool for use in await client.pools.usages("far")]
    assert every == sorted(every)
    assert ("default", pool) in every
    assert far == [f"{pool}-far"]
    address, query = f"{installation.url}/api/v2/pool-usage", {"limit": "1"}
    headers, seen = {"Authorization": f"Bearer {TOKEN}"}, list[tuple[str, str]]()
    async with httpx.AsyncClient(headers=headers, timeout=PATIENCE_SECONDS) as http:
        while True:
            response = await http.get(address, params=query)
            assert len(response.json()) <= 1
            seen += [(use["cohort"], use["pool"]) for use in response.json()]
            if "next" not in response.links:
                break
            query["token"] = httpx.URL(response.links["next"]["url"]).params["token"]
        refused = await http.get(address, params={"token": "WyJ4Il0"})
    assert seen == every
    assert refused.status_code == 400


async def test_pools_are_listed_without_their_use_while_resmgr_does_not_answer(
    installation: Installation, pool: str
) -> None:
    with installation.paused("resmgr"):
        shown = await asyncio.to_thread(installation.trimtab, "get", "pools")
    [line] = [line.split() for line in shown.stdout.splitlines() if line.split()[0] == pool]
    assert line[:4] == [pool, "2", "-", "-"]
    assert "the use of pools is not shown: resmgr does not answer" in shown.stderr


async def test_the_command_line_follows_all_pages_of_holders_and_waiters(
    installation: Installation, pool: str
) -> None:
    """The pages have a thousand of each at most."""
    await installation.define_pool(PoolBody(name=pool, quota=900))
    async with installation.client() as client:
        await request_all(installation, pool, 2100)
        page = await client.pools.usage(pool, limit=10)
        assert (len(page.holders), page.holding, len(page.waiters), page.waiting) == (
            10,
            900,
            10,
            1200,
        )
    shown = await asyncio.to_thread(
        installation.trimtab, "describe", "pool", pool, "-o", "json", "--audit"
    )
    usage = json.loads(shown.stdout)["usage"]
    assert {holder["token"] for holder in usage["holders"]} == {f"t{n}" for n in range(900)}
    assert {each["token"] for each in usage["waiters"]} == {f"t{n}" for n in range(900, 2100)}
    last = ("update", "token", pool, "t2099", "--priority", "5")
    moved = await asyncio.to_thread(installation.trimtab, *last)
    assert moved.output.endswith("priority 5, position 1\n"), moved.output


async def request_all(installation: Installation, pool: str, number: int) -> None:
    """Request a token each for so many callers, in order."""
    nats = await connect(installation.nats.url)
    resmgr = ResmgrClient(nats)
    for first in range(0, number, 300):
        requests = tuple(
            Allocate(
                pool=pool, token=f"t{first + at}", **SHOP, lease_seconds=3600, wait_seconds=900
            )
            for at in range(300)
        )
        await resmgr.request(Batch(allocate=requests), Batched, PATIENCE_SECONDS)
    await nats.close()


async def test_a_pool_in_use_is_deleted_by_force_only_and_its_tokens_stay_held(
    installation: Installation, pools: Pools, pool: str
) -> None:
    async with pools.token(pool, **SHOP) as lease:
        refused = await asyncio.to_thread(installation.trimtab, "delete", "pool", pool)
        assert refused.exit_code == 4
        assert f"pool '{pool}' is in use: 1 held, 0 waiting; --force deletes" in refused.stderr
        force = ("delete", "pool", pool, "--force", "--reason", "no more of it")
        done = await asyncio.to_thread(installation.trimtab, *force)
        assert done.output == f"Deleted pool {pool}\n"
        assert lease.held
    history = await asyncio.to_thread(installation.trimtab, "history", "--limit", "5")
    [line] = [line.split() for line in history.output.splitlines() if "no more of it" in line]
    assert line[4:7] == ["delete", "pool", pool]
    gone = await asyncio.to_thread(installation.trimtab, "delete", "pool", pool)
    assert gone.exit_code == 3


async def test_an_unused_pool_is_deleted(installation: Installation, pool: str) -> None:
    done = await asyncio.to_thread(installation.trimtab, "delete", "pool", pool)
    assert done.output == f"Deleted pool {pool}\n"


async def test_a_quota_above_the_ceiling_is_shown_as_the_ceiling(
    installation: Installation, pool: str
) -> None:
    update = ("update", "pool", pool, "--quota", "5000")
    await asyncio.to_thread(installation.trimtab, *update)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            shown = await asyncio.to_thread(installation.trimtab, "describe", "pool", pool)
            if "resmgr grants at most 1000 of any pool (resourceMaxQuota)" in shown.output:
                break
    assert f"Pool {pool}: 0 of 1000 held" in shown.output
    found = await listed(installation, pool)
    assert (found["quota"], found["usage"]["quota"]) == (5000, 1000)
    back = await asyncio.to_thread(installation.trimtab, *update[:-1], "2")
    assert back.exit_code == 0


async def test_a_change_of_nothing_is_refused(installation: Installation, pool: str) -> None:
    done = await asyncio.to_thread(installation.trimtab, "update", "pool", pool)
    assert done.exit_code == 2
    assert "nothing to change" in done.stderr


async def test_a_pool_in_use_keeps_its_cohort(
    installation: Installation, pools: Pools, pool: str
) -> None:
    move = ("update", "pool", pool, "--cohort", "night")
    async with pools.token(pool, **SHOP):
        refused = await asyncio.to_thread(installation.trimtab, *move)
        assert refused.exit_code == 4, refused.output
        assert f"pool '{pool}' cannot be moved to cohort 'night' while it is in use" in (
            " ".join(refused.output.split())
        )
        await asyncio.to_thread(installation.trimtab, "delete", "pool", pool, "--force")
        async with installation.client() as client:
            with pytest.raises(Conflict, match="1 held, 0 waiting"):
                await client.pools.put(PoolBody(name=pool, quota=2, cohort="night"))
    moved = await asyncio.to_thread(installation.trimtab, *move, "--quota", "2")
    assert moved.exit_code == 0, moved.output
    async with installation.client() as client:
        assert (await client.pools.get(pool)).cohort == "night"
