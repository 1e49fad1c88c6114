"""Tokens of pools for attempts: requested before the start, renewed while running, then released.

It adds to `trimtab.tokens` what a propeller needs: one client per cohort, tokens that outlive their
first owner, and releases that are repeated until resmgr answers.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.client import Client
from pydantic import ValidationError

from trimtab.errors import Rejected, Retryable, TrimtabError
from trimtab.runtime import retrying, tasks, telemetry
from trimtab.tokens.lease import Lease, now
from trimtab.tokens.pools import Pools
from trimtab.tokens.protocol import Allocate, Allocated
from trimtab.tokens.resmgr import ResmgrClient

log = logging.getLogger(__name__)

_RELEASE_SECONDS = 1.0
"""How often deferred releases are repeated."""
_FIRST_RETRY_SECONDS = 0.5
_LONGEST_RETRY_SECONDS = 1.0
"""The delays between tries to verify an adopted lease."""
_FIRST_REPORT_SECONDS = 1.0
_LONGEST_REPORT_SECONDS = 60.0
"""The longest pause before another reason is recorded."""
_LONGEST_POSITION_SECONDS = 3600.0
"""The longest pause before another position is. In a pool that all nodes of a large workflow wait
for, each release changes the positions of all, and they may wait for days."""


class WaitReports:
    """Decides which answers to a waiting request are recorded in the execution log.

    A waiter whose position changes all the time would otherwise fill the log.
    """

    def __init__(self) -> None:
        self._last: tuple[object, ...] = (None, None)
        self._reported_at = float("-inf")
        self._pause = 0.0

    def is_due(self, answer: Allocated) -> bool:
        """Return whether to record the answer, and count it as recorded then.

        It is due where the position or the reason has changed, and the pause after the last one is
        over. The pause doubles each time.
        """
        limits = {(blocker.limit, blocker.pool) for blocker in answer.blockers}
        report = (answer.position, limits or answer.reason)
        is_same_reason = report[1] == self._last[1]
        longest = _LONGEST_POSITION_SECONDS if is_same_reason else _LONGEST_REPORT_SECONDS
        if report == self._last or now() < self._reported_at + min(self._pause, longest):
            return False
        self._last, self._reported_at = report, now()
        doubled = min(2 * self._pause, _LONGEST_POSITION_SECONDS)
        self._pause = max(doubled, _FIRST_REPORT_SECONDS)
        return True


class CohortTokens:
    """The tokens of one cohort's pools."""

    def __init__(self, pools: Pools, deferred: "dict[Lease, CohortTokens]") -> None:
        """``deferred`` collects the leases that could not be released, for all cohorts."""
        self._pools = pools
        self._deferred = deferred

    def request(self, request: Allocate) -> AsyncGenerator[Lease | Allocated, None]:
        """Yield resmgr's answers until it grants a `Lease` or waiting cannot help.

        A caller that leaves early keeps its position, so that the next owner continues there.
        """
        return self._pools.allocate(request)

    async def withdraw(self, request: Allocate) -> None:
        """Give up the position of a request, or its grant, as `release` does."""
        await self.release(Lease(request, fence=None, seconds=None, sent=now()))

    @asynccontextmanager
    async def keep_renewed(self, lease: Lease, *, verify: bool) -> AsyncIterator[None]:
        """Renew a lease until the block ends.

        ``verify`` renews it at once, because an earlier owner was granted it and it is not known
        how long it lasts.
        """
        renewing = asyncio.create_task(self._renew(lease, verify))
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait((renewing,))

    async def release(self, lease: Lease) -> None:
        """Release a token, or repeat it later where resmgr does not answer.

        This includes a token that was lost, because resmgr may still hold it for this attempt.
        """
        try:
            await self._pools.release(lease)
        except (Retryable, ValidationError) as error:
            fields = {"token": lease.token, "error": str(error)}
            log.warning("token.release_deferred", extra=fields)
            self._deferred[lease] = self
        except Rejected as error:
            fields = {"token": lease.token, "error": str(error)}
            log.error("token.release_rejected", extra=fields)

    async def _renew(self, lease: Lease, verify: bool) -> None:
        """Renew the lease until it is over. It raises nothing, because the attempt goes on then."""
        while True:
            try:
                if verify:
                    await self._verify(lease)
                await self._pools.keep_renewed(lease)
                return
            except Exception:  # the boundary: such as a reply that is none
                log.exception("token.renewal_defect", extra={"token": lease.token})
                if not lease.held:
                    return
                await asyncio.sleep(_FIRST_RETRY_SECONDS)

    async def _verify(self, lease: Lease) -> None:
        """Renew the lease once, retrying until it is over."""
        failures = 0
        while lease.held:
            try:
                await self._pools.renew(lease)
            except TrimtabError as error:
                failures += 1
                fields = {"token": lease.token, "error": str(error)}
                log.warning("token.renewal_failed", extra=fields)
                pause = retrying.backoff_seconds(
                    failures, first=_FIRST_RETRY_SECONDS, longest=_LONGEST_RETRY_SECONDS
                )
                await asyncio.sleep(pause)
            else:
                return


class Cohorts:
    """The tokens of every cohort. Run `release_deferred` as long as they are used."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._by_name: dict[str, CohortTokens] = {}
        self._deferred: dict[Lease, CohortTokens] = {}

    def tokens(self, cohort: str) -> CohortTokens:
        """Return the tokens of a cohort."""
        if cohort not in self._by_name:
            resmgr = ResmgrClient(self._client, cohort, telemetry.headers)
            self._by_name[cohort] = CohortTokens(Pools(resmgr), self._deferred)
        return self._by_name[cohort]

    async def release_deferred(self) -> None:
        """Repeat the releases that resmgr did not answer, until cancelled."""
        while True:
            retrying.raise_if_cancelled()
            await asyncio.sleep(_RELEASE_SECONDS)
            for lease, tokens in list(self._deferred.items()):
                del self._deferred[lease]
                try:
                    await tokens.release(lease)
                except Exception as error:  # noqa: BLE001  # the boundary: others are released
                    tasks.report_failure("token.release_failed", error, {"token": lease.token})
                    self._deferred[lease] = tokens


def adopted_lease(request: Allocate, fence: int | None, seconds: float | None) -> Lease:
    """Return the lease that an earlier owner was granted, as far as the execution log shows.

    Older releases did not record its ``seconds``; those of the request are assumed then.
    """
    lasts = request.lease_seconds if seconds is None else seconds
    return Lease(request, fence=fence, seconds=lasts, sent=now())
