"""The real application on real servers, and a caller of it over NATS."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.micro.request import ERROR_CODE_HEADER
from starlette.applications import Starlette

from tests.servers import PATIENCE_SECONDS, NatsServer, ValkeyServer
from trimtab.api.problems import Problem
from trimtab.messages import subjects
from trimtab.models import Model
from trimtab.tokens import protocol
from trimtab_resmgr.app import build
from trimtab_resmgr.config import ResmgrConfig, ResourceManager

Reply = TypeVar("Reply", bound=Model)


class ErrorReply(Exception):
    """The reply to a request was an error."""

    def __init__(self, problem: Problem, message: Msg) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.headers = message.headers or {}


class Caller:
    """Sends requests as JSON, without the product's client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def allocate(
        self, token: str, pool: str | None = "gpu", *, cohort: str = protocol.COHORT, **more: Any
    ) -> protocol.Allocated:
        scope = {"project": "flytesnacks", "domain": "development"}
        allocate = protocol.Allocate(pool=pool, token=token, **{**scope, **more})
        return await self.request(protocol.Allocated, allocate, cohort)

    async def release(self, token: str, pool: str = "gpu", **more: Any) -> bool:
        release = protocol.Release(pool=pool, token=token, **more)
        return (await self.request(protocol.Released, release)).released

    async def renew(self, token: str, pool: str = "gpu", **more: Any) -> protocol.Renewed:
        return await self.request(protocol.Renewed, protocol.Renew(pool=pool, token=token, **more))

    async def inspect(self, pool: str = "gpu") -> protocol.Inspected:
        return await self.request(protocol.Inspected, protocol.Inspect(pool=pool))

    async def pools(self, cohort: str = protocol.COHORT) -> dict[str, protocol.PoolUse]:
        page = await self.request(protocol.PoolPage, protocol.Pools(), cohort)
        return {each.pool: each for each in page.pools}

    async def register(self, pool: str, quota: int) -> protocol.Registered:
        return await self.request(protocol.Registered, protocol.Register(pool=pool, quota=quota))

    async def request(
        self, reply: type[Reply], request: Model, cohort: str = protocol.COHORT
    ) -> Reply:
        operation = protocol.operation(type(request))
        body = await self.send(operation, request.model_dump_json().encode(), cohort)
        return reply.model_validate_json(body)

    async def send(self, operation: str, body: bytes, cohort: str = protocol.COHORT) -> bytes:
        subject = subjects.resmgr(operation, cohort)
        message = await self._client.request(subject, body, timeout=PATIENCE_SECONDS)
        if message.headers and ERROR_CODE_HEADER in message.headers:
            raise ErrorReply(Problem.model_validate_json(message.data), message)
        return message.data


def config(nats_server: NatsServer, block: dict[str, Any], **more: Any) -> ResmgrConfig:
    manager = ResourceManager.model_validate(block)
    return ResmgrConfig(nats_url=nats_server.url, resourcemanager=manager, **more)


def redis_config(
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    *,
    times: dict[str, float] | None = None,
    **more: Any,
) -> ResmgrConfig:
    """Return a configuration of type ``redis`` with a grace that a test can wait for."""
    redis = {"hostPaths": [f"127.0.0.1:{valkey_server.port}"]}
    # No request of a test is late on a busy machine, unless the test is about late ones.
    more_time = {"graceSeconds": 0.1, "requestSeconds": 600}
    block = {"type": "redis", "redis": redis, **more_time, **(times or {})}
    return config(nats_server, block, **more)


@asynccontextmanager
async def started(config: ResmgrConfig) -> AsyncIterator[Starlette]:
    """Run one replica, and yield when it is ready."""
    app = build(config)
    async with app.router.lifespan_context(app):
        await eventually(lambda: is_ready(app))
        yield app


async def is_ready(app: Starlette) -> bool:
    return not await unready_reasons(app)


async def unready_reasons(app: Starlette) -> dict[str, str]:
    """Return the reasons in ``/readyz``; empty for a ready service."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://resmgr") as client:
        response = await client.get("/readyz")
    reasons: dict[str, str] = response.json().get("reasons", {})
    assert response.is_success is not bool(reasons)
    return reasons


async def eventually(holds: Callable[[], Any]) -> None:
    """Wait until a coroutine function returns true."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await holds():
            await asyncio.sleep(0.02)
