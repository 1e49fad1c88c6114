"""Tokens of pools, asked of resmgr: taken before an attempt, renewed while it runs, given back."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import nats.errors
from nats.aio.client import Client

from trimtab import subjects, telemetry
from trimtab.errors import Rejected, Retryable, Unavailable
from trimtab.graph import Model
from trimtab.tokens import COHORT, Allocate, Allocated, Release, Released

log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 2.0
_OWED_SECONDS = 1.0
"""How often what could not be given back is tried again."""

A = TypeVar("A", Allocated, Released)


@dataclass(frozen=True)
class Token:
    """What one attempt holds of a pool."""

    id: str
    pool: str
    weight: int
    project: str
    domain: str


class Tokens:
    """Run `settle` for as long as it is used."""

    def __init__(self, client: Client, lease_seconds: float) -> None:
        self._client = client
        self._lease_seconds = lease_seconds
        self._owed: set[Token] = set()

    async def ask(self, token: Token) -> Allocated:
        """Take it, or renew it. Raises `Rejected` and `Unavailable`."""
        request = Allocate(
            pool=token.pool,
            token=token.id,
            project=token.project,
            domain=token.domain,
            weight=token.weight,
            lease_seconds=self._lease_seconds,
        )
        return await self._request("allocate", request, Allocated)

    @asynccontextmanager
    async def renewed(self, token: Token, *, at_once: bool) -> AsyncIterator[None]:
        """Keep it until the block ends. ``at_once`` for one that somebody else took."""
        async with asyncio.TaskGroup() as group:
            renewing = group.create_task(self._renew(token, at_once))
            try:
                yield
            finally:
                renewing.cancel()

    async def release(self, token: Token) -> None:
        """Give it back, now or as soon as resmgr answers."""
        try:
            await self._give_back(token)
        except Retryable as error:
            log.warning("token.owed", extra={"token": token.id, "error": str(error)})
            self._owed.add(token)

    async def settle(self) -> None:
        """Give back what is owed, until cancelled."""
        while True:
            await asyncio.sleep(_OWED_SECONDS)
            for token in list(self._owed):
                self._owed.discard(token)
                await self.release(token)

    async def _renew(self, token: Token, at_once: bool) -> None:
        if not at_once:
            await asyncio.sleep(self._lease_seconds / 3)
        while True:
            try:
                answer = await self.ask(token)
            except (Retryable, Rejected) as error:
                log.warning("token.not_renewed", extra={"token": token.id, "error": str(error)})
            else:
                if answer.status != "granted":
                    # The lease ran out unnoticed and somebody else has the units: the pool may be
                    # used beyond its quota until the task ends.
                    log.error("token.lost", extra={"token": token.id, "reason": answer.reason})
            await asyncio.sleep(self._lease_seconds / 3)

    async def _give_back(self, token: Token) -> None:
        try:
            await self._request("release", Release(pool=token.pool, token=token.id), Released)
        except Rejected as error:
            log.error("token.not_released", extra={"token": token.id, "error": str(error)})

    async def _request(self, operation: str, request: Model, answer: type[A]) -> A:
        subject = subjects.resmgr(operation, COHORT)
        body = request.model_dump_json().encode()
        try:
            reply = await self._client.request(
                subject, body, timeout=_TIMEOUT_SECONDS, headers=telemetry.headers()
            )
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(f"resmgr does not answer ({type(error).__name__})") from error
        headers = reply.headers or {}
        if (text := headers.get("Nats-Service-Error")) is not None:
            # As in HTTP: 5 is the server's trouble and may pass.
            if headers.get("Nats-Service-Error-Code", "").startswith("5"):
                raise Unavailable(text)
            raise Rejected(text)
        return answer.model_validate_json(reply.data)
