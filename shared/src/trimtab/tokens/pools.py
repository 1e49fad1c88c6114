"""Pools: a program takes a token, a thread renews it, and the end of a block releases it.

::

    async with trimtab.pools("nats://127.0.0.1:4222") as pools:
        async with pools.token("gpus", project="shop", domain="development") as lease:
            await train(fence=lease.fence)

The token is renewed at a third of its lease, by a thread that `connected` runs with a connection
of its own: a blocked event loop, or Python code that computes, does not stop renewals. A process
that is suspended, or code that keeps Python's global lock, for two thirds of the lease does.
Failures are retried until the lease is over, measured by this machine's clock from before the
request was *sent*. From then on `Lease.check` raises, `Lease.lost` returns, and the block ends with
`LeaseLost`. A process can still be suspended between a check and an action: a target that must be
safe from that compares `Lease.fence`.
"""

import asyncio
import logging
import random
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Coroutine,
    Iterator,
    Mapping,
)
from concurrent.futures import Future
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar
from uuid import uuid4

from nats.aio.client import Client

from trimtab.errors import Rejected, Retryable, TrimtabError
from trimtab.messages import subjects
from trimtab.models import parse_model
from trimtab.runtime.retrying import backoff_seconds
from trimtab.tokens.lease import Lease, LeaseLost, now
from trimtab.tokens.protocol import (
    COHORT,
    Allocate,
    Allocated,
    Reassert,
    Release,
    Released,
    Renew,
    Renewed,
)
from trimtab.tokens.resmgr import TIMEOUT_SECONDS, ResmgrClient

__all__ = ["Lease", "LeaseLost", "NeverFits", "NotGranted", "Pools", "connected"]

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""The longest delay between two tries while resmgr does not answer."""
JITTER_SECONDS = 0.005
"""The longest delay between a hint and the request that follows it: several waiters may receive
the same hint."""
LONGEST_WAIT_SECONDS = 604_800.0
"""The longest ``wait_seconds`` of resmgr. A caller that waits indefinitely then queues again."""

_REASSERTED = {"token", "pool", "weight", "pools", "project", "domain", "lease_seconds"}
"""The fields that `Allocate` and `Reassert` share."""

T = TypeVar("T")


class NotGranted(Retryable):
    """The token was not granted within ``wait_seconds``."""


class NeverFits(Rejected):
    """The request exceeds a limit of the pool, so that waiting cannot help."""


class Pools:
    """The pools of one cohort, over one connection to NATS.

    `token` and `hold` may be called on any event loop; they run their requests on the loop of the
    connection. The other methods have to be called on that loop.
    """

    def __init__(self, resmgr: ResmgrClient, home: asyncio.AbstractEventLoop | None = None) -> None:
        """``home`` is the loop of the connection; ``None`` is the running loop."""
        self._resmgr = resmgr
        self._home = home or asyncio.get_running_loop()

    @asynccontextmanager
    async def token(
        self,
        pool: str | Mapping[str, int],
        *,
        project: str,
        domain: str,
        token: str = "",
        weight: int = 1,
        priority: int = 0,
        project_cap: int | None = None,
        project_domain_cap: int | None = None,
        lease_seconds: float = 60.0,
        wait_seconds: float | None = None,
    ) -> AsyncIterator[Lease]:
        """Hold a token while the block runs.

        ``pool`` is a name, or a map of several names to weights that are taken together. ``token``
        is an id that is unique to this holder; the default is random. ``wait_seconds`` of ``None``
        waits indefinitely, 0 does not wait.

        Raises `NotGranted`, `Unavailable`, `NeverFits` and other errors of `Rejected`, and
        `LeaseLost` where the token was lost before the end of the block.
        """
        several = (
            [] if isinstance(pool, str) else [{"pool": p, "weight": w} for p, w in pool.items()]
        )
        fields = {
            **({"pools": several} if several else {"pool": pool, "weight": weight}),
            "token": token or uuid4().hex,
            "project": project,
            "domain": domain,
            "priority": priority,
            "project_cap": project_cap,
            "project_domain_cap": project_domain_cap,
            "lease_seconds": lease_seconds,
            "wait_seconds": wait_seconds,
        }
        async with self.hold(parse_model(Allocate, fields)) as lease:
            yield lease

    @asynccontextmanager
    async def hold(self, request: Allocate) -> AsyncIterator[Lease]:
        """Hold the token of a request while the block runs. Raises what `token` raises."""
        taking = self._run_at_home(self._take(request))
        try:
            lease = await asyncio.wrap_future(taking)
        except asyncio.CancelledError:
            # The token may be granted at this moment.
            self._run_at_home(self.withdraw(request))
            raise
        renewing = self._run_at_home(self.keep_renewed(lease))
        try:
            yield lease
            lease.check()
        finally:
            renewing.cancel()
            try:
                await asyncio.wrap_future(self._run_at_home(self.release(lease)))
            except Retryable as error:
                # The block ends all the same, and the lease expires.
                log.warning("token.not_released", extra=_fields(lease, error))

    async def allocate(self, request: Allocate) -> AsyncGenerator[Lease | Allocated, None]:
        """Request a token until it is granted or refused, and yield each reply.

        The last item is a `Lease`, or the reply that ends the wait: ``never_fits``, or
        ``exhausted`` after ``wait_seconds``. Requests again when resmgr hints at a grant, and
        otherwise at a third of ``retry_after_seconds``. While resmgr does not answer, the wait goes
        on. A caller that leaves early keeps its position for ``retry_after_seconds``; `withdraw`
        releases it.

        Raises `Rejected`, and `Unavailable` where resmgr does not answer at the end of the wait.
        """
        patience = LONGEST_WAIT_SECONDS if request.wait_seconds is None else request.wait_seconds
        waiting = request.model_copy(update={"wait_seconds": patience})
        ends, failures = now() + patience, 0
        subject = subjects.granted(self._resmgr.cohort, request.token)
        async with self._resmgr.hints(subject) as hint:
            while True:
                hint.clear()
                reply = await self._request_until(ends, waiting)
                yield reply
                if _is_final(reply, waits_indefinitely=request.wait_seconds is None):
                    return
                # A reply of resmgr to a waiter has a pace, except for one that queues again.
                pace = reply.retry_after_seconds if isinstance(reply, Allocated) else None
                failures = failures + 1 if pace is None else 0
                await _wait_for_hint(hint, _pause_seconds(pace, failures))

    async def keep_renewed(self, lease: Lease) -> None:
        """Renew a lease until it is lost or this is cancelled."""
        if not lease.expires:
            return
        failures = 0
        subject = subjects.lost(self._resmgr.cohort, lease.token)
        async with self._resmgr.hints(subject) as hint:
            while lease.held:
                pause = min(_renewal_pause_seconds(lease, failures), lease.seconds_left)
                await _wait_for_hint(hint, pause)
                hint.clear()
                if not lease.held:
                    break
                try:
                    await self.renew(lease)
                    failures = 0
                except TrimtabError as error:
                    log.warning("token.not_renewed", extra=_fields(lease, error))
                    failures += 1
        log.warning("token.lost", extra=_fields(lease))

    async def renew(self, lease: Lease) -> None:
        """Renew a lease once, and reassert it where resmgr lost its data. Raises `TrimtabError`."""
        timeout = max(0.05, min(TIMEOUT_SECONDS, lease.seconds / 5, lease.seconds_left))
        renew = Renew(
            token=lease.token,
            pools=lease.pools,
            fence=lease.fence,
            lease_seconds=lease.request.lease_seconds,
        )
        sent = now()
        reply = await self._resmgr.request(renew, Renewed, timeout)
        if reply.status == "reassert" and lease.fence is not None:
            granted = lease.request.model_dump(include=_REASSERTED)
            reassert = Reassert(**granted, fence=lease.fence)
            sent = now()
            reply = await self._resmgr.request(reassert, Renewed, timeout)
        if reply.status == "held":
            lease.fence = lease.fence if reply.fence is None else reply.fence
            lease.extend(sent, reply.lease_seconds)
        else:
            lease.mark_lost(reply.reason or "resmgr does not hold it")

    async def release(self, lease: Lease) -> Released:
        """Release a token. The reply shows whether it was still held. Raises `Retryable`."""
        release = Release(token=lease.token, pools=lease.pools, fence=lease.fence)
        reply = await self._resmgr.request(release, Released)
        if not reply.released and lease.fence is not None:
            log.info("token.was_not_held", extra=_fields(lease) | {"reason": reply.reason})
        return reply

    async def withdraw(self, request: Allocate) -> None:
        """Release the position of a waiter, or its grant, without waiting for a reply."""
        pools = tuple(units.pool for units in request.units)
        await self._resmgr.send(Release(token=request.token, pools=pools))

    async def _take(self, request: Allocate) -> Lease:
        try:
            async with aclosing(self.allocate(request)) as replies:
                async for reply in replies:
                    if isinstance(reply, Lease):
                        return reply
                    refusal = reply
        except (asyncio.CancelledError, Retryable):
            await self.withdraw(request)
            raise
        if refusal.status == "never_fits":
            raise NeverFits(refusal.reason)
        raise NotGranted(f"not granted within {request.wait_seconds:g} s: {refusal.reason}")

    async def _request_until(self, ends: float, request: Allocate) -> Lease | Allocated:
        """Request a token once; before ``ends``, a resmgr that does not answer means waiting."""
        sent = now()
        try:
            reply = await self._resmgr.request(request, Allocated)
        except Retryable as error:
            if now() >= ends:
                raise
            return Allocated(status="waiting", reason=str(error))
        if reply.status != "granted":
            return reply
        return Lease(request, fence=reply.fence, seconds=reply.lease_seconds, sent=sent)

    def _run_at_home(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._home)


@asynccontextmanager
async def connected(
    url: str, *, user: str = "", password: str = "", cohort: str = COHORT
) -> AsyncIterator[Pools]:
    """Yield pools over a connection and a thread of their own. Waits for the NATS server."""
    with _loop_in_thread() as home:
        client = Client()
        opening = _connect(client, url, user, password)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(opening, home))
        try:
            yield Pools(ResmgrClient(client, cohort), home)
        finally:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(client.close(), home))


async def _connect(client: Client, url: str, user: str, password: str) -> None:
    async def on_error(error: Exception) -> None:
        log.warning("nats.error", extra={"error": f"{type(error).__name__}: {error}"})

    await client.connect(
        url,
        name="trimtab-pools",
        user=user or None,
        password=password or None,
        # By default nats-py gives up after two minutes, and renewals would stop for good.
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,  # type: ignore[arg-type]  # seconds, and nats-py takes fractions
        ping_interval=5,
        max_outstanding_pings=2,
        error_cb=on_error,
    )


@contextmanager
def _loop_in_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread until the block ends; its remaining tasks are cancelled."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def run() -> None:
        over = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), over))
        await over.wait()

    # A daemon, so that a process that ends without leaving the block ends all the same.
    thread = threading.Thread(target=lambda: asyncio.run(run()), name="leases", daemon=True)
    thread.start()
    loop, over = started.result()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


async def _wait_for_hint(hint: asyncio.Event, seconds: float) -> None:
    """Wait for a hint, but no longer than this."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await hint.wait()
            await asyncio.sleep(random.uniform(0, JITTER_SECONDS))


def _is_final(reply: Lease | Allocated, *, waits_indefinitely: bool) -> bool:
    match reply:
        case Allocated(status="waiting"):
            return False
        case Allocated(status="exhausted"):
            return not waits_indefinitely
        case _:
            return True


def _pause_seconds(retry_after: float | None, failures: int) -> float:
    """Return the delay until the next request, jittered so that waiters do not poll in step."""
    if retry_after is None:
        return backoff_seconds(failures, first=RETRY_SECONDS / 2, longest=RETRY_SECONDS)
    return retry_after / 3 * random.uniform(0.7, 1.0)


def _renewal_pause_seconds(lease: Lease, failures: int) -> float:
    """Return the delay until the next renewal, after so many failed ones in a row."""
    if failures:
        longest = min(RETRY_SECONDS, lease.seconds / 10)
        return backoff_seconds(failures, first=longest / 2, longest=longest)
    return lease.seconds / 3 * random.uniform(0.8, 1.0)


def _fields(lease: Lease, error: Exception | None = None) -> dict[str, str]:
    """Return the fields of a log event."""
    fields = {"token": lease.token, "pools": ", ".join(lease.pools)}
    return fields if error is None else {**fields, "error": str(error)}
