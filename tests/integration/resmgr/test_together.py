"""Requests of one tick are worked on together, and each gets an answer of its own."""

import asyncio
from collections.abc import Sequence

from nats.aio.client import Client

from tests.integration.resmgr.running import PATIENCE_SECONDS, Caller, Refused
from tests.integration.resmgr.test_service import code_of, discovered, endpoint_of
from trimtab.settings.view import View
from trimtab.tokens.protocol import Allocate, Allocated
from trimtab_resmgr import handlers
from trimtab_resmgr.granting import Always


class Brittle(Always):
    """Fails in a way that nobody foresaw where the token ``bad`` is among those asked for."""

    async def allocate(self, ask: Allocate, cohort: str) -> Allocated:
        return (await self.allocate_all([ask], cohort))[0]

    async def allocate_all(self, asks: Sequence[Allocate], cohort: str) -> list[Allocated]:
        if any(ask.token == "bad" for ask in asks):
            raise ZeroDivisionError
        return [Allocated(status="granted")] * len(asks)


async def test_what_is_wrong_with_one_request_is_told_to_its_caller_only(
    caller: Caller, client: Client
) -> None:
    asks = [caller.allocate(str(number)) for number in range(9)]
    asks += [caller.allocate("a", pool="unknown"), caller.allocate("b", cohort="unknown")]
    asks += [caller.allocate("c", weight=99)]
    malformed = caller.send("allocate", b'{"pool": "gpu"}')
    *answers, refused = await asyncio.gather(*asks, malformed, return_exceptions=True)
    assert [answer.status for answer in answers if isinstance(answer, Allocated)] == (
        ["granted"] * 9 + ["never_fits"]
    )
    assert [code_of(answer) for answer in answers[9:11]] == [404, 404]
    assert code_of(refused) == 400
    [stats] = await discovered(client, "STATS", 1)
    assert endpoint_of(stats, "allocate")["num_errors"] == 3


async def test_one_that_fails_as_nobody_foresaw_takes_nobody_with_it(client: Client) -> None:
    caller = Caller(client)
    async with asyncio.TaskGroup() as tasks:
        brittle = Brittle(View(client))
        async with handlers.serving(client, brittle, set, dict, tasks):
            names = ["a", "b", "bad", "c", "d"]
            asks = asyncio.gather(*map(caller.allocate, names), return_exceptions=True)
            a, b, bad, c, d = await asyncio.wait_for(asks, PATIENCE_SECONDS)
    assert isinstance(bad, Refused)
    assert code_of(bad) == 500
    assert [a, b, c, d] == [Allocated(status="granted")] * 4


async def test_a_burst_larger_than_one_call_is_answered_whole(caller: Caller) -> None:
    many = range(2 * handlers.MOST_TOGETHER)
    released = await asyncio.gather(*(caller.release(str(number)) for number in many))
    assert released == [False for _ in many]
