"""resmgr as tests run it: the real application, on real servers, asked over NATS."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.micro.request import ERROR_CODE_HEADER
from starlette.applications import Starlette

from tests.servers import NatsServer, ValkeyServer
from trimtab.api.problems import Problem
from trimtab.messages import subjects
from trimtab.models import Model
from trimtab.tokens import protocol
from trimtab_resmgr.app import build
from trimtab_resmgr.config import ResmgrConfig, ResourceManager

PATIENCE_SECONDS = 30.0
"""Far more than anything takes, because test machines may be busy."""

Answer = TypeVar("Answer", bound=Model)


class Refused(Exception):
    """The answer was an error."""

    def __init__(self, problem: Problem, message: Msg) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.headers = message.headers or {}


class Caller:
    """Asks as any service would, in JSON."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def allocate(
        self, token: str, pool: str | None = "gpu", *, cohort: str = protocol.COHORT, **more: Any
    ) -> protocol.Allocated:
        ask = {"project": "flytesnacks", "domain": "development", **more}
        allocate = protocol.Allocate(pool=pool, token=token, **ask)
        return await self.ask(protocol.Allocated, allocate, cohort)

    async def release(self, token: str, pool: str = "gpu", **more: Any) -> bool:
        release = protocol.Release(pool=pool, token=token, **more)
        return (await self.ask(protocol.Released, release)).released

    async def renew(self, token: str, pool: str = "gpu", **more: Any) -> protocol.Renewed:
        return await self.ask(protocol.Renewed, protocol.Renew(pool=pool, token=token, **more))

    async def inspect(self, pool: str = "gpu") -> protocol.Inspected:
        return await self.ask(protocol.Inspected, protocol.Inspect(pool=pool))

    async def register(self, pool: str, quota: int) -> protocol.Registered:
        return await self.ask(protocol.Registered, protocol.Register(pool=pool, quota=quota))

    async def send(self, operation: str, body: bytes, cohort: str = protocol.COHORT) -> bytes:
        subject = subjects.resmgr(operation, cohort)
        message = await self._client.request(subject, body, timeout=PATIENCE_SECONDS)
        if message.headers and ERROR_CODE_HEADER in message.headers:
            raise Refused(Problem.model_validate_json(message.data), message)
        return message.data

    async def ask(self, answer: type[Answer], ask: Model, cohort: str = protocol.COHORT) -> Answer:
        operation = protocol.operation(type(ask))
        body = await self.send(operation, ask.model_dump_json().encode(), cohort)
        return answer.model_validate_json(body)


def settings(nats_server: NatsServer, block: dict[str, Any], **more: Any) -> ResmgrConfig:
    manager = ResourceManager.model_validate(block)
    return ResmgrConfig(nats_url=nats_server.url, resourcemanager=manager, **more)


def limiting(
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    *,
    times: dict[str, float] | None = None,
    **more: Any,
) -> ResmgrConfig:
    """Of type ``redis``, with a grace that a test can wait for."""
    redis = {"hostPaths": [f"127.0.0.1:{valkey_server.port}"]}
    block = {"type": "redis", "redis": redis, "graceSeconds": 0.1, **(times or {})}
    return settings(nats_server, block, **more)


@asynccontextmanager
async def started(settings: ResmgrConfig) -> AsyncIterator[Starlette]:
    """One replica, ready."""
    app = build(settings)
    async with app.router.lifespan_context(app):
        await eventually(lambda: ready(app))
        yield app


async def ready(app: Starlette) -> bool:
    return not await reasons(app)


async def reasons(app: Starlette) -> dict[str, str]:
    """Why ``/readyz`` says no; empty when it says yes."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://resmgr") as client:
        answer = await client.get("/readyz")
    found: dict[str, str] = answer.json().get("reasons", {})
    assert answer.is_success is not bool(found)
    return found


async def eventually(holds: Callable[[], Any]) -> None:
    """Wait until a coroutine function says that it is so."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await holds():
            await asyncio.sleep(0.02)
