"""Tokens of pools, for whoever uses an outside resource: asked for, kept, given back.

::

    async with leasing.connected("nats://127.0.0.1:4222") as pools:
        async with pools.token("gpus", project="shop", domain="development") as lease:
            await train(fence=lease.fence)

The token is renewed at a third of its lease, by a thread that `connected` runs with a connection
of its own: a blocked event loop, or Python code that computes, does not stop it. What does is a
process that stands still, or code that keeps Python's lock, for two thirds of the lease. Failures
are tried again until the lease is over, counted by this machine's clock from before the request was
*sent*. From then on `Lease.check` refuses, `Lease.lost` returns, and the block ends with
`LeaseLost`. Between a check and an act a process can still be stopped: a target that must be safe
from that checks `Lease.fence`.
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

PACE_SECONDS = 1.0
"""Between two requests where resmgr names no other pace."""
JITTER_SECONDS = 0.005
"""Before an answer to a hint, which several may hear."""
LONGEST_SECONDS = 604_800.0
"""That resmgr keeps a place for; who waits for ever then takes a new one."""

_SHARE = {"token", "pool", "weight", "pools", "project", "domain", "lease_seconds"}
"""What a request for a token and one to assert it have in common."""

T = TypeVar("T")


class NotGranted(Retryable):
    """The time for waiting is over."""


class NeverFits(Rejected):
    """More was asked for than a limit allows, however long one waits."""


class Pools:
    """The pools of one cohort, over one connection to NATS.

    `token` and `hold` can be used on any event loop, and what they ask runs on that of the
    connection; the other methods are for those who are on it already.
    """

    def __init__(self, resmgr: ResmgrClient, home: asyncio.AbstractEventLoop | None = None) -> None:
        """``home`` is the loop of its connection; absent, the running one."""
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

        ``pool`` may be several with their weights, all or none. ``token`` is its id, unique to this
        holder; absent, a random one. ``wait_seconds`` absent waits as long as it takes, 0 not at
        all. Raises `NotGranted`, `Unavailable`, `NeverFits` and other `Rejected`, and `LeaseLost`
        where the token was lost before the block was over.
        """
        several = (
            [] if isinstance(pool, str) else [{"pool": p, "weight": w} for p, w in pool.items()]
        )
        asked = {
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
        async with self.hold(parse_model(Allocate, asked)) as lease:
            yield lease

    @asynccontextmanager
    async def hold(self, ask: Allocate) -> AsyncIterator[Lease]:
        """As `token`, for a request that is made already."""
        taking = self._at_home(self._taken(ask))
        try:
            lease = await asyncio.wrap_future(taking)
        except asyncio.CancelledError:
            self._at_home(self.withdraw(ask))  # it may be granted at this very moment
            raise
        keeping = self._at_home(self.keep_renewed(lease))
        try:
            yield lease
            lease.check()
        finally:
            keeping.cancel()
            try:
                await asyncio.wrap_future(self._at_home(self.release(lease)))
            except Retryable as error:
                # The block is over all the same, and the lease ends by itself.
                log.warning("token.not_released", extra=_fields(lease, error))

    async def allocate(self, ask: Allocate) -> AsyncGenerator[Lease | Allocated, None]:
        """What resmgr answers until it gives a `Lease`, or says what waiting cannot help against.

        Asks when resmgr hints that it is granted, and else at the pace that resmgr names. A resmgr
        that is away is a reason to wait. Leaving early keeps the place for as long as resmgr said;
        `withdraw` gives it back. Raises `Rejected`, and `Unavailable` where resmgr is away when the
        time for waiting is over.
        """
        patience = LONGEST_SECONDS if ask.wait_seconds is None else ask.wait_seconds
        waiting = ask.model_copy(update={"wait_seconds": patience})
        ends, last = now() + patience, False
        subject = subjects.granted(self._resmgr.cohort, ask.token)
        async with self._resmgr.hints(subject) as hinted:
            while not last:
                hinted.clear()
                answer = await self._asked(waiting, ends)
                last = _is_last(answer, forever=ask.wait_seconds is None)
                yield answer
                if not last:
                    await _hint_or(hinted, _pace(answer))

    async def keep_renewed(self, lease: Lease) -> None:
        """Renew it until it is lost or this is cancelled."""
        if not lease.expires:
            return
        pause = lease.seconds / 3
        subject = subjects.lost(self._resmgr.cohort, lease.token)
        async with self._resmgr.hints(subject) as doubted:
            while lease.held:
                await _hint_or(doubted, min(pause * random.uniform(0.8, 1), lease.seconds_left))
                doubted.clear()
                if not lease.held:
                    break
                pause = await self._kept(lease)
        log.warning("token.lost", extra=_fields(lease))

    async def renew(self, lease: Lease) -> None:
        """Once; where resmgr has lost its memory, say what is held. Raises `TrimtabError`."""
        timeout = max(0.05, min(TIMEOUT_SECONDS, lease.seconds / 5, lease.seconds_left))
        ask = Renew(
            token=lease.token,
            pools=lease.pools,
            fence=lease.fence,
            lease_seconds=lease.request.lease_seconds,
        )
        sent = now()
        answer = await self._resmgr.request(ask, Renewed, timeout)
        if answer.status == "reassert" and lease.fence is not None:
            share = lease.request.model_dump(include=_SHARE)
            sent = now()
            answer = await self._resmgr.request(
                Reassert(**share, fence=lease.fence), Renewed, timeout
            )
        if answer.status == "held":
            lease.fence = lease.fence if answer.fence is None else answer.fence
            lease.extend(sent, answer.lease_seconds)
        else:
            lease.mark_lost(answer.reason or "resmgr knows nothing of it")

    async def release(self, lease: Lease) -> Released:
        """Give it back. Where it was lost the answer says so. Raises `Retryable`."""
        ask = Release(token=lease.token, pools=lease.pools, fence=lease.fence)
        answer = await self._resmgr.request(ask, Released)
        if not answer.released and lease.fence is not None:
            log.info("token.was_not_held", extra=_fields(lease) | {"reason": answer.reason})
        return answer

    async def withdraw(self, ask: Allocate) -> None:
        """Give back a place, or what it has become meanwhile; nobody waits for the answer."""
        pools = tuple(units.pool for units in ask.units)
        await self._resmgr.send(Release(token=ask.token, pools=pools))

    async def _taken(self, ask: Allocate) -> Lease:
        try:
            async with aclosing(self.allocate(ask)) as answers:
                async for answer in answers:
                    if isinstance(answer, Lease):
                        return answer
                    said = answer
        except (asyncio.CancelledError, Retryable):
            await self.withdraw(ask)
            raise
        if said.status == "never_fits":
            raise NeverFits(said.reason)
        raise NotGranted(f"not granted within {ask.wait_seconds:g} s: {said.reason}")

    async def _asked(self, ask: Allocate, ends: float) -> Lease | Allocated:
        sent = now()
        try:
            answer = await self._resmgr.request(ask, Allocated)
        except Retryable as error:
            if now() >= ends:
                raise
            return Allocated(status="waiting", reason=str(error))
        if answer.status != "granted":
            return answer
        return Lease(ask, fence=answer.fence, seconds=answer.lease_seconds, sent=sent)

    async def _kept(self, lease: Lease) -> float:
        """Renew it, and say how many seconds later it should be tried again."""
        try:
            await self.renew(lease)
        except TrimtabError as error:
            log.warning("token.not_renewed", extra=_fields(lease, error))
            return min(1.0, lease.seconds / 10)
        return lease.seconds / 3

    def _at_home(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._home)


@asynccontextmanager
async def connected(
    url: str, *, user: str = "", password: str = "", cohort: str = COHORT
) -> AsyncIterator[Pools]:
    """Pools over a connection of their own, in a thread of their own. Waits for a server."""
    with _thread() as home:
        client = Client()
        opening = _open(client, url, user, password)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(opening, home))
        try:
            yield Pools(ResmgrClient(client, cohort), home)
        finally:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(client.close(), home))


async def _open(client: Client, url: str, user: str, password: str) -> None:
    async def on_error(error: Exception) -> None:
        log.warning("nats.error", extra={"error": f"{type(error).__name__}: {error}"})

    await client.connect(
        url,
        name="trimtab-pools",
        user=user or None,
        password=password or None,
        # The default gives up after two minutes, and then nothing would be renewed any more.
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,  # type: ignore[arg-type]  # seconds, and nats-py takes fractions
        ping_interval=5,
        max_outstanding_pings=2,
        error_cb=on_error,
    )


@contextmanager
def _thread() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread until the block ends, with all that is left on it."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def live() -> None:
        over = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), over))
        await over.wait()

    # A daemon, so that a holder that ends without leaving the block ends all the same.
    thread = threading.Thread(target=lambda: asyncio.run(live()), name="leases", daemon=True)
    thread.start()
    loop, over = started.result()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


async def _hint_or(hinted: asyncio.Event, seconds: float) -> None:
    """Wait for a hint, at most so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await hinted.wait()
            await asyncio.sleep(random.uniform(0, JITTER_SECONDS))


def _is_last(answer: Lease | Allocated, *, forever: bool) -> bool:
    match answer:
        case Allocated(status="waiting"):
            return False
        case Allocated(status="exhausted"):
            return not forever
        case _:
            return True


def _pace(answer: Lease | Allocated) -> float:
    """Seconds until it is asked again; not the same for all that began to wait together."""
    named = answer.retry_after_seconds if isinstance(answer, Allocated) else None
    return (PACE_SECONDS if named is None else named / 3) * random.uniform(0.7, 1.0)


def _fields(lease: Lease, error: Exception | None = None) -> dict[str, str]:
    """For a line in the log."""
    fields = {"token": lease.token, "pools": ", ".join(lease.pools)}
    return fields if error is None else {**fields, "error": str(error)}
