"""Requests of one tick are processed together, and each gets its own reply."""

import asyncio
from collections.abc import Sequence

from nats.aio.client import Client

from tests.integration.resmgr.running import PATIENCE_SECONDS, Caller, ErrorReply
from tests.integration.resmgr.test_service import code_of, discovered, endpoint_of
from trimtab.settings.view import View
from trimtab.tokens.protocol import Allocate, Allocated
from trimtab_resmgr import handlers
from trimtab_resmgr.managers import NoopManager


class FaultyManager(NoopManager):
    """A manager that raises an unexpected error where the token ``bad`` is requested."""

    async def allocate(self, request: Allocate, cohort: str) -> Allocated:
        return (await self.allocate_all([request], cohort))[0]

    async def allocate_all(self, requests: Sequence[Allocate], cohort: str) -> list[Allocated]:
        if any(request.token == "bad" for request in requests):
            raise ZeroDivisionError
        return [Allocated(status="granted")] * len(requests)


async def test_an_error_goes_to_the_caller_of_its_request_only(
    caller: Caller, client: Client
) -> None:
    requests = [caller.allocate(str(number)) for number in range(9)]
    requests += [caller.allocate("a", pool="unknown"), caller.allocate("b", cohort="unknown")]
    requests += [caller.allocate("c", weight=99)]
    malformed = caller.send("allocate", b'{"pool": "gpu"}')
    *answers, refused = await asyncio.gather(*requests, malformed, return_exceptions=True)
    assert [answer.status for answer in answers if isinstance(answer, Allocated)] == (
        ["granted"] * 9 + ["never_fits"]
    )
    assert [code_of(answer) for answer in answers[9:11]] == [404, 404]
    assert code_of(refused) == 400
    [stats] = await discovered(client, "STATS", 1)
    assert endpoint_of(stats, "allocate")["num_errors"] == 3


async def test_an_unexpected_error_fails_only_its_own_request(client: Client) -> None:
    caller = Caller(client)
    async with asyncio.TaskGroup() as tasks:
        faulty = FaultyManager(View(client))
        async with handlers.serve(client, faulty, set, dict, tasks):
            names = ["a", "b", "bad", "c", "d"]
            requests = asyncio.gather(*map(caller.allocate, names), return_exceptions=True)
            a, b, bad, c, d = await asyncio.wait_for(requests, PATIENCE_SECONDS)
    assert isinstance(bad, ErrorReply)
    assert code_of(bad) == 500
    assert [a, b, c, d] == [Allocated(status="granted")] * 4


async def test_every_request_of_a_burst_larger_than_one_task_gets_a_reply(caller: Caller) -> None:
    many = range(2 * handlers.MAX_PER_TASK)
    released = await asyncio.gather(*(caller.release(str(number)) for number in many))
    assert released == [False for _ in many]
