"""The pages of holders and of waiters: each is listed once, whatever happens between two pages."""

import asyncio

import pytest

from tests.integration.resmgr.direct import Cohort, end_leases
from tests.integration.resmgr.running import Caller, ErrorReply
from tests.servers import ValkeyServer
from trimtab.messages.events import PoolChanged
from trimtab.tokens.protocol import Inspect, Inspected
from trimtab_resmgr.store import Contents

TOKENS = [f"t{number:02}" for number in range(20)]
WAITS = {"wait_seconds": 600.0}


async def hold(cohort: Cohort) -> None:
    """Let twenty holders have leases that end at the same time."""
    cohort.declare(PoolChanged(name="gpu", quota=20))
    await asyncio.gather(*map(cohort.allocate, TOKENS))


async def wait(cohort: Cohort) -> None:
    """Let twenty waiters of different projects have the same score."""
    await cohort.allocate("held", weight=10)
    for token in TOKENS:
        await cohort.allocate(token, project=f"of-{token}", **WAITS)


async def page(cohort: Cohort, limit: int, before: Contents | None = None) -> Contents:
    after = ("", "")
    if before is not None:
        after = before.holders_next or "", before.waiters_next or ""
    return await cohort.store.inspect("gpu", limit, after)


def holders(contents: Contents) -> list[str]:
    return [holder.token for holder in contents.holders]


def waiters(contents: Contents) -> list[str]:
    return [waiter.token for waiter in contents.waiters]


@pytest.mark.parametrize("limit", [1, 7, 20, 100])
async def test_pages_list_every_holder_once(cohort: Cohort, limit: int) -> None:
    await hold(cohort)
    found = await page(cohort, limit)
    seen = holders(found)
    while found.holders_next is not None:
        assert len(found.holders) == limit
        found = await page(cohort, limit, found)
        seen += holders(found)
    assert seen == TOKENS
    assert (found.held, found.holding) == (20, 20)


async def test_a_holder_that_goes_between_two_pages_hides_no_other(cohort: Cohort) -> None:
    await hold(cohort)
    first = await page(cohort, 7)
    for token in ("t00", "t06", "t19"):  # The first, the last of the page, and one behind it.
        await cohort.release(token)
    await cohort.renew("t01")
    second = await page(cohort, 100, first)
    assert holders(second) == [*TOKENS[7:19], "t01"]


async def test_holders_whose_leases_have_ended_are_on_no_page(
    cohort: Cohort, valkey_server: ValkeyServer
) -> None:
    await hold(cohort)
    first = await page(cohort, 7)
    end_leases(valkey_server)
    assert await page(cohort, 100, first) == await page(cohort, 100)
    assert ((await page(cohort, 7)).holding, (await page(cohort, 7)).holders) == (0, ())


@pytest.mark.parametrize("limit", [1, 7, 20, 100])
async def test_pages_list_every_waiter_once_with_its_position(cohort: Cohort, limit: int) -> None:
    await wait(cohort)
    found = await page(cohort, limit)
    seen = list(found.waiters)
    while found.waiters_next is not None:
        found = await page(cohort, limit, found)
        seen += found.waiters
    assert [waiter.token for waiter in seen] == TOKENS
    assert [waiter.position for waiter in seen] == list(range(1, 21))


async def test_a_waiter_that_goes_between_two_pages_hides_no_other(cohort: Cohort) -> None:
    await wait(cohort)
    first = await page(cohort, 7)
    for token in ("t00", "t06", "t19"):
        await cohort.release(token)
    await cohort.reprioritize("t10", 5)  # It is before the second page now.
    second = await page(cohort, 100, first)
    assert waiters(second) == [*TOKENS[7:10], *TOKENS[11:19]]
    assert second.waiters[0].position == 7


async def test_a_page_is_requested_with_limit_and_the_end_of_the_one_before(
    caller: Caller,
) -> None:
    for token in TOKENS[:5]:
        await caller.allocate(token, weight=2)
    for token in TOKENS[5:8]:
        await caller.allocate(token, **WAITS)
    found = await caller.request(Inspected, Inspect(pool="gpu", limit=3))
    assert (len(found.holders), len(found.waiters), found.waiters_next) == (3, 3, None)
    rest = Inspect(pool="gpu", limit=3, holders_after=found.holders_next)
    found = await caller.request(Inspected, rest)
    assert [holder.token for holder in found.holders] == TOKENS[3:5]
    assert found.waiters == ()  # They were all on the first page.
    assert (found.holding, found.waiting, found.holders_next) == (5, 3, None)


@pytest.mark.parametrize("field", ["holders_after", "waiters_after"])
async def test_an_end_of_a_page_that_is_none_is_refused(caller: Caller, field: str) -> None:
    with pytest.raises(ErrorReply) as refused:
        await caller.send("inspect", f'{{"pool": "gpu", "{field}": "x 1"}}'.encode())
    assert (refused.value.problem.status, refused.value.problem.path) == (400, field)
