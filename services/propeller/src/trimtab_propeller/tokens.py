"""Tokens of pools: taken before an attempt, kept while it runs, given back."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.client import Client

from trimtab.errors import Rejected, Retryable, TrimtabError
from trimtab.runtime import retrying, telemetry
from trimtab.tokens.lease import Lease, now
from trimtab.tokens.pools import Pools
from trimtab.tokens.protocol import Allocate, Allocated
from trimtab.tokens.resmgr import ResmgrClient

log = logging.getLogger(__name__)

_OWED_SECONDS = 1.0
"""How often what could not be given back is tried again."""
_NEWS_SECONDS = 1.0
"""After what was said of a node that waits; twice as long each time."""
_LAST_NEWS_SECONDS = 60.0


class Seen:
    """What was said of a node that waits: news of it are not told more often than is of use."""

    def __init__(self) -> None:
        self._last: tuple[object, ...] | None = None
        self._quiet_until = float("-inf")
        self._pause = _NEWS_SECONDS

    def is_news(self, answer: Allocated) -> bool:
        """Whether it waits at another place, or for something else, than was said last."""
        limits = {(blocker.limit, blocker.pool) for blocker in answer.blockers}
        news = (answer.position, limits or answer.reason)
        if news == self._last or now() < self._quiet_until:
            return False
        self._last, self._quiet_until = news, now() + self._pause
        self._pause = min(2 * self._pause, _LAST_NEWS_SECONDS)
        return True


class Tokens:
    """Of one cohort."""

    def __init__(self, pools: Pools, owed: dict[Lease, "Tokens"]) -> None:
        self._pools = pools
        self._owed = owed

    def asking(self, ask: Allocate) -> AsyncGenerator[Lease | Allocated, None]:
        """As `Pools.asking`: leaving early keeps the place, so that a successor finds it."""
        return self._pools.allocate(ask)

    async def withdraw(self, ask: Allocate) -> None:
        """Give the place back."""
        await self._pools.withdraw(ask)

    @asynccontextmanager
    async def kept(self, lease: Lease, *, doubtful: bool) -> AsyncIterator[None]:
        """Renew it until the block ends. ``doubtful`` is one that an earlier owner was granted."""
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(self._keep(lease, doubtful))
            try:
                yield
            finally:
                keeping.cancel()

    async def release(self, lease: Lease) -> None:
        """Give it back, now or as soon as resmgr answers; one that was lost may be held there."""
        try:
            await self._pools.release(lease)
        except Retryable as error:
            log.warning("token.owed", extra={"token": lease.token, "error": str(error)})
            self._owed[lease] = self
        except Rejected as error:
            log.error("token.not_released", extra={"token": lease.token, "error": str(error)})

    async def _keep(self, lease: Lease, doubtful: bool) -> None:
        if doubtful:
            await self._confirm(lease)
        await self._pools.keep_renewed(lease)

    async def _confirm(self, lease: Lease) -> None:
        """Ask about one of which nobody here knows how long its lease still lasts."""
        while lease.held:
            try:
                await self._pools.renew(lease)
            except TrimtabError as error:
                log.warning("token.not_renewed", extra={"token": lease.token, "error": str(error)})
                await asyncio.sleep(_OWED_SECONDS)
            else:
                return


class Cohorts:
    """Tokens of every cohort. Run `settle` for as long as they are used."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._tokens: dict[str, Tokens] = {}
        self._owed: dict[Lease, Tokens] = {}

    def of(self, cohort: str) -> Tokens:
        if cohort not in self._tokens:
            resmgr = ResmgrClient(self._client, cohort, telemetry.headers)
            self._tokens[cohort] = Tokens(Pools(resmgr), self._owed)
        return self._tokens[cohort]

    async def settle(self) -> None:
        """Give back what is owed, until cancelled."""
        while True:
            retrying.raise_if_cancelled()
            await asyncio.sleep(_OWED_SECONDS)
            for lease, tokens in list(self._owed.items()):
                del self._owed[lease]
                await tokens.release(lease)


def adopted(ask: Allocate, fence: int | None) -> Lease:
    """What an earlier owner was granted, as far as its log says."""
    return Lease(ask, fence=fence, seconds=ask.lease_seconds, sent=now())
