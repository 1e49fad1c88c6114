"""Calls of Flyte's clients: gets and updates per second, against a handler without work.

Both servers are processes of their own: admin with SQLite and one project, and a server of grpc.aio
whose handler returns bytes. One channel sends with so many calls in flight, in turn to each. REST
is compared with an empty route of Starlette and with the door whose handler returns one message.
Run as ``python -m bench.flyte_doors``; `SECONDS` is the duration of each figure.
"""

import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
import psutil
import uvloop
from flyteidl.admin.matchable_resource_pb2 import TASK_RESOURCE
from flyteidl.admin.project_domain_attributes_pb2 import (
    ProjectDomainAttributesGetRequest,
    ProjectDomainAttributesUpdateRequest,
)

from bench import flyte_rest
from bench.http import Connection as HttpConnection
from bench.http import Timings
from tests.flyte.admins import TOKEN, Admin

IN_FLIGHT = (1, 4, 16, 64)
SECONDS = 3.0
GET_GOAL, UPDATE_GOAL = 0.60, 0.30
"""The least parts of the calls per second of the empty handler."""
EMPTY_ROUTE_GOAL, CANNED_GOAL = 0.35, 0.75
"""The same for a get over REST."""
SERVICE = "/flyteidl.service.AdminService"
BEARER = (("authorization", f"Bearer {TOKEN}"),)


class Figure(NamedTuple):
    """The calls of one server with one number of calls in flight."""

    timings: Timings
    cpu_micros: float
    """CPU time of the server for each call."""

    def __str__(self) -> str:
        p99 = self.timings.percentile(99)
        return f"{self.timings.rate:6.0f} /s  p99 {p99:6.1f} ms  {self.cpu_micros:4.0f} µs CPU"


Send = Callable[[int], Awaitable[object]]
"""Makes the call with the given number."""


def serve_empty(ready: Connection) -> None:
    """Serve a handler that returns an empty message, until the process is ended."""

    async def handle(_request: bytes, _context: Any) -> bytes:
        return b""

    class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
        def service(self, _details: grpc.HandlerCallDetails) -> Any:
            return grpc.unary_unary_rpc_method_handler(handle)

    async def serve() -> None:
        server = grpc.aio.server(handlers=[Handlers()])
        ready.send(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        await server.wait_for_termination()

    uvloop.run(serve())


@asynccontextmanager
async def empty_server() -> AsyncIterator[tuple[int, psutil.Process]]:
    """Yield the port of the empty server, and its process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve_empty, args=(there,), daemon=True)
    process.start()
    try:
        port = await asyncio.to_thread(here.recv)
        assert process.pid is not None
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.join()


async def measure(send: Send, in_flight: int, server: psutil.Process) -> Figure:
    """Send calls for `SECONDS`, with so many in flight."""
    milliseconds: list[float] = []

    async def caller(number: int, until: float) -> None:
        while (began := time.perf_counter()) < until:
            await send(number)
            milliseconds.append(1000 * (time.perf_counter() - began))
            number += in_flight

    def cpu() -> float:
        times = server.cpu_times()
        return times.user + times.system

    await asyncio.gather(*(caller(n, time.perf_counter() + SECONDS / 5) for n in range(in_flight)))
    milliseconds.clear()
    began, used = time.perf_counter(), cpu()
    await asyncio.gather(*(caller(n, began + SECONDS) for n in range(in_flight)))
    timings = Timings(time.perf_counter() - began, milliseconds)
    return Figure(timings, 1e6 * (cpu() - used) / len(milliseconds))


def update(number: int) -> bytes:
    """Return an update whose values differ from those of the one before."""
    request = ProjectDomainAttributesUpdateRequest()
    request.attributes.project, request.attributes.domain = "shop", "development"
    defaults = request.attributes.matching_attributes.task_resource_attributes.defaults
    defaults.cpu = f"{100 + number % 100}m"
    return request.SerializeToString()


async def grpc_door(admin: Admin) -> None:
    """Print the figures of the gRPC door."""
    get = ProjectDomainAttributesGetRequest(
        project="shop", domain="development", resource_type=TASK_RESOURCE
    ).SerializeToString()
    async with (
        empty_server() as (empty_port, empty_process),
        grpc.aio.insecure_channel(f"127.0.0.1:{empty_port}") as empty_channel,
        grpc.aio.insecure_channel(admin.grpc) as channel,
    ):
        await channel.unary_unary(f"{SERVICE}/UpdateProjectDomainAttributes")(
            update(0), metadata=BEARER
        )

        def sending(of: grpc.aio.Channel, method: str, body: Callable[[int], bytes]) -> Send:
            call = of.unary_unary(f"{SERVICE}/{method}ProjectDomainAttributes")
            return lambda number: call(body(number), metadata=BEARER)

        assert admin._process is not None
        process = psutil.Process(admin._process.pid)
        for method, body, goal in (
            ("Get", lambda _number: get, GET_GOAL),
            ("Update", update, UPDATE_GOAL),
        ):
            for in_flight in IN_FLIGHT:
                empty = await measure(
                    sending(empty_channel, method, body), in_flight, empty_process
                )
                ours = await measure(sending(channel, method, body), in_flight, process)
                part = ours.timings.rate / empty.timings.rate
                print(f"gRPC {method.lower():6} {in_flight:3} in flight   {ours}")
                print(f"     empty handler            {empty}   {part:4.0%}, goal ≥ {goal:.0%}")


async def rest_door(admin: Admin) -> None:
    """Print the figures of the REST door."""
    assert admin._process is not None
    path = f"{flyte_rest.PATH}?resource_type=TASK_RESOURCE"
    async with (
        flyte_rest.serving(flyte_rest.empty_route) as empty,
        flyte_rest.serving(flyte_rest.canned_message) as canned,
    ):
        process = psutil.Process(admin._process.pid)
        others = (("empty route", empty, EMPTY_ROUTE_GOAL), ("canned message", canned, CANNED_GOAL))
        for in_flight in IN_FLIGHT:
            ours = await measure_rest(admin.url, path, in_flight, process)
            print(f"REST get    {in_flight:3} in flight   {ours}")
            for name, (url, server), goal in others:
                other = await measure_rest(url, path, in_flight, server)
                part = ours.timings.rate / other.timings.rate
                print(f"     {name:24} {other}   {part:4.0%}, goal ≥ {goal:.0%}")


async def measure_rest(url: str, path: str, in_flight: int, server: psutil.Process) -> Figure:
    async with AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(HttpConnection(url, TOKEN)) for _ in range(in_flight)
        ]
        return await measure(
            lambda number: connections[number % in_flight].call("GET", path), in_flight, server
        )


def run() -> None:
    with tempfile.TemporaryDirectory() as path, Admin(Path(path) / "admin") as admin:
        with admin.client() as client:
            created: httpx.Response = client.post("/api/v2/projects", json={"name": "shop"})
            created.raise_for_status()
        uvloop.run(grpc_door(admin))
        uvloop.run(rest_door(admin))


if __name__ == "__main__":
    run()
