"""resmgr over NATS: requests per second with 64 in flight, and those of a raw echo as the limit.

Each allocation and each release counts as a request. NATS, Valkey, resmgr, the echo and the callers
are five processes that share the machine's cores. Run as ``python -m bench.resmgr``.
"""

import asyncio
import time
from collections.abc import Sequence
from statistics import median, quantiles

import uvloop
from nats.aio.client import Client

from bench import system
from bench.load import Request, Round
from bench.load import measure as measure_load
from bench.system import System
from trimtab.messages import subjects
from trimtab.messages.events import PoolChanged
from trimtab.tokens.lease import Lease
from trimtab.tokens.pools import Pools
from trimtab.tokens.protocol import COHORT, Allocate, Release
from trimtab.tokens.resmgr import ResmgrClient

IN_FLIGHT = 64
REQUESTS = 25_600
"""The number of requests in one round."""
ROUNDS = 5
"""Rounds of the echo and of resmgr alternate, so that a busy machine slows both."""
HANDOVERS = 500
ECHO = "bench.echo"

ECHO_PROGRAM = f"""
import asyncio, sys, nats, uvloop
async def main():
    client = await nats.connect(sys.argv[1])
    async def answer(message):
        await message.respond(message.data)
    await client.subscribe("{ECHO}", cb=answer)
    await asyncio.Future()
uvloop.run(main())
"""


def callers(pool: str, requests: int = REQUESTS) -> list[list[Request]]:
    """Return the requests of each caller, which takes and releases tokens in turn."""
    turns = range(requests // IN_FLIGHT // 2)
    return [
        [request for turn in turns for request in take_and_release(pool, f"e{number}/node/{turn}")]
        for number in range(IN_FLIGHT)
    ]


def take_and_release(pool: str, token: str) -> tuple[Request, Request]:
    allocate = Allocate(pool=pool, token=token, project="flytesnacks", domain="development")
    release = Release(pool=pool, token=token)
    return (
        Request(
            subjects.resmgr("allocate", COHORT), allocate.model_dump_json().encode(), b'"granted"'
        ),
        Request(
            subjects.resmgr("release", COHORT), release.model_dump_json().encode(), b'ed":true'
        ),
    )


def echo_requests(callers: Sequence[Sequence[Request]]) -> list[list[Request]]:
    """Return requests to the echo with the same bodies."""
    return [[Request(ECHO, each.body, each.body) for each in requests] for requests in callers]


async def measure_rounds(system: System) -> tuple[list[Round], list[Round], dict[str, float]]:
    """Measure the echo and resmgr, and the CPU time of a request of resmgr in µs by process."""
    url, echoes, granted = system.nats.url, [], []
    used = dict.fromkeys(system.processes, 0.0)
    for _ in range(ROUNDS):
        echoes.append(await measure_load(url, echo_requests(callers("gpu"))))
        requests = callers("gpu")
        before = system.cpu_seconds()
        granted.append(await measure_load(url, requests))
        for name, seconds in system.cpu_seconds().items():
            used[name] += 1e6 * (seconds - before[name]) / REQUESTS / ROUNDS
    return echoes, granted, used


async def measure_handovers(client: Client) -> list[float]:
    """Return the milliseconds from a release until the next waiter has its grant."""
    pools, taken = Pools(ResmgrClient(client)), []
    lease = await wait_for_grant(pools, "first", asyncio.Event())
    for number in range(HANDOVERS):
        waiting = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(wait_for_grant(pools, str(number), waiting))
            await waiting.wait()
            began = time.perf_counter()
            tasks.create_task(pools.release(lease))
            lease = await following
            taken.append(1000 * (time.perf_counter() - began))
    return taken


async def wait_for_grant(pools: Pools, token: str, waiting: asyncio.Event) -> Lease:
    request = Allocate(pool="one", token=token, project="flytesnacks", domain="development")
    async for reply in pools.allocate(request):
        if isinstance(reply, Lease):
            return reply
        waiting.set()
    raise AssertionError("the wait ended without a grant")


async def measure() -> tuple[list[Round], list[Round], dict[str, float], list[float]]:
    pools = PoolChanged(name="gpu", quota=1000), PoolChanged(name="one", quota=1)
    async with system.running(*pools) as found:
        with system.process("-c", ECHO_PROGRAM, found.nats.url):
            await system.wait_for_response(found.client, ECHO, b"")
            return *await measure_rounds(found), await measure_handovers(found.client)


def line(name: str, measured: list[Round]) -> str:
    cuts = quantiles((each for one in measured for each in one.milliseconds), n=100)
    rate = median(one.per_second for one in measured)
    return f"{name:31} {rate:8.0f} /s   p50 {cuts[49]:5.1f} ms   p99 {cuts[98]:5.1f} ms"


def run() -> None:
    echo, granted, used, handed = uvloop.run(measure())
    share = median(one.per_second for one in granted) / median(one.per_second for one in echo)
    print(line("limit: raw NATS echo", echo))
    print(line("allocate and release", granted) + "   goal ≥ 9000/s, p99 ≤ 15 ms")
    print(f"{'  share of the limit':31} {share:8.0%}{'':38}goal ≥ 25 %")
    print(f"{'  CPU time of a request':31} {sum(used.values()):8.0f} µs   of it", end=" ")
    print(", ".join(f"{name} {micros:.0f}" for name, micros in used.items()))
    cuts = quantiles(handed, n=100)
    name = f"release → next granted ({HANDOVERS})"
    print(f"{name:43}   p50 {cuts[49]:5.1f} ms   p99 {cuts[98]:5.1f} ms   goal p99 ≤ 20 ms")


if __name__ == "__main__":
    run()
