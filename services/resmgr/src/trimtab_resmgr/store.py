"""The leases and waiters of one cohort, stored in Redis.

All requests of a tick of the event loop are one run of one script, so each request is atomic.
``lua/cohort.lua`` lists the keys.
"""

from asyncio import Future, TaskGroup
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic_core import to_json
from redis.asyncio import Redis

from trimtab.tokens.lease import now
from trimtab.tokens.protocol import MAX_LISTED, Forced, Holder, Waiter
from trimtab_resmgr import encoding
from trimtab_resmgr.encoding import Reply, Request, Version
from trimtab_resmgr.limits import PoolState
from trimtab_resmgr.scripts import Batches, Client, OutOfMemory, Script, answer_of

NOT_LISTED = "-"
"""The end of the page before of a list that is not requested."""
MAX_DECLARED = 500
"""Pools that one call declares."""

MAX_SCANNED = 1000
"""Names of pools in one call."""

PoolLimits = tuple[str, str]
"""The name of a pool and its limits as `encoding.pool_limits` encodes them."""
Submission = tuple[Request, tuple[PoolLimits, ...]]
"""A request, and the limits of its pools where it may take units of them."""
_Sent = tuple[Request, tuple[PoolLimits, ...], float]
"""A submission, and a time of `now` before which the request was not sent."""


@dataclass(frozen=True)
class Rules:
    """The configuration of the scripts, in seconds. All replicas should have the same."""

    max_lease: float = 60.0
    """The longest lease."""
    grace: float = 2.0
    """The time after a lease in which its units are not granted again."""
    keep_waiter: float = 10.0
    """How long a waiter keeps its position or its grant without repeating its request."""
    keep_poller: float = 45.0
    """The same for a caller without ``wait_seconds``, until its pace is known."""
    reserve_after: float = 30.0
    """How long the first waiter that needs units waits before units are reserved for it."""
    reserve_idle: float = 30.0
    """How long units are reserved, and then not reserved, for a waiter of several pools in a pool
    that has enough of them."""
    late_after: float = 3.0
    """How old an allocation may be when it is processed."""
    ageing: int = 1000
    """The units by which one step of priority puts a request ahead of others."""

    def to_json(self, *, shared: bool) -> bytes:
        """Encode the rules as ``lua/cohort.lua`` reads them.

        ``shared`` is whether one server has all cohorts.
        """
        return to_json(
            {
                "max_lease": encoding.micros(self.max_lease),
                "grace": encoding.micros(self.grace),
                "keep_waiter": encoding.micros(self.keep_waiter),
                "keep_poller": encoding.micros(self.keep_poller),
                "reserve_after": encoding.micros(self.reserve_after),
                "reserve_idle": max(encoding.micros(self.reserve_idle), 1),
                "ageing": self.ageing,
                "shared": shared,
            }
        )


class PreGrant(NamedTuple):
    """A waiter that was granted and has to claim its token."""

    token: str
    pools: tuple[str, ...]
    claim_seconds: float


class LostToken(NamedTuple):
    """A token whose lease has ended, or that an admin released."""

    token: str
    pools: tuple[str, ...]
    fence: int


class PoolUsage(NamedTuple):
    """The usage of a pool after a call."""

    pool: str
    held: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Effects:
    """The changes that a call made in addition to its replies."""

    pre_grants: tuple[PreGrant, ...]
    lost: frozenset[LostToken]
    unclaimed: int
    """Grants that their waiters did not claim in time."""
    abandoned: int
    """Waiters that did not repeat their requests in time."""
    usages: tuple[PoolUsage, ...]
    """The pools that the call used."""
    quarantined: bool
    """Whether Redis may have lost data, so that nothing is granted."""
    seconds: float
    """The duration of the call, including the network."""


class Count(NamedTuple):
    """The use of a pool in a cohort."""

    is_final: bool
    """Whether the cohort grants no more of it, and knows all holders."""
    held: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Contents:
    """The current state of a pool."""

    held: int
    by_project: dict[str, int]
    by_project_domain: dict[str, int]
    holders: tuple[Holder, ...]
    waiters: tuple[Waiter, ...]
    holding: int
    waiting: int
    holders_next: str | None
    """The last holder, where there are more."""
    waiters_next: str | None
    quarantine_seconds: float


_REQUESTS = Script("cohort", "leases", "queue", "requests")
_INSPECT = Script("cohort", "leases", "queue", "inspect", needs_memory=False)
_POOLS = Script("cohort", "leases", "queue", "pools", needs_memory=False)
_FREEING = Script("freeing", "cohort", "leases", "queue", "requests", needs_memory=False)
_FREE = frozenset({"release", "force_release", "renew", "sweep", "count"})
"""The operations that a Redis without free memory performs."""
_RECOUNT = Script("cohort", "leases", "queue", "recount", needs_memory=False)


class CohortStore:
    """Reads and changes one cohort. Every method raises `Unavailable` where Redis is."""

    def __init__(
        self,
        client: Client,
        tasks: TaskGroup,
        cohort: str,
        rules: Rules,
        on_effects: Callable[[Effects], None] = lambda _effects: None,
        sent_since: Callable[[], float] = now,
    ) -> None:
        """``on_effects`` is called after each call of the request script.

        ``sent_since`` returns a time of `now` before which no request was sent that arrives now.
        """
        self._client = client
        self._key = f"trimtab:{{{cohort}}}:state"
        self._rules = rules.to_json(shared=isinstance(client, Redis))
        self._late_after = rules.late_after
        self._on_effects = on_effects
        self._sent_since = sent_since
        self._clock: float | None = None
        """The clock of Redis less that of this process, or hardly more."""
        self._batches = Batches[_Sent, Reply](tasks, self._send)

    def submit(self, *submissions: Submission) -> Future[Sequence[Reply]]:
        """Send requests together with all others of this tick; returns their replies in order."""
        sent = self._sent_since()
        return self._batches.submit(*[(request, limits, sent) for request, limits in submissions])

    async def sweep(self) -> None:
        """Expire some of the ended leases and drop some of the abandoned waiters."""
        await self.submit((("sweep",), ()))

    async def declare(self, limits: Sequence[PoolLimits]) -> None:
        """Store new limits of pools, and grant waiters that they let fit."""
        for first in range(0, len(limits), MAX_DECLARED):
            await self.submit((("sweep",), tuple(limits[first : first + MAX_DECLARED])))

    async def count(self, limits: PoolLimits, version: Version) -> Count:
        """Close a pool with these limits of this version, and return what is left in it."""
        request = ("count", limits[0], version.generation, version.revision)
        [[closed, held, waiting, quarantined]] = await self.submit((request, (limits,)))
        return Count(closed == 1 and not quarantined, held, waiting)

    async def inspect(
        self, pool: str, limit: int = MAX_LISTED, after: tuple[str, str] = ("", "")
    ) -> Contents:
        """Return the state of a pool, with some holders by lease and waiters by position.

        ``after`` are the last holder and the last waiter of the page before, or `NOT_LISTED`.
        """
        found = await _INSPECT.run(self._client, self._key, self._rules, pool, limit, *after)
        sums, holders, waiters, position, (holding, waiting), following, quarantine = found
        holders_next, waiters_next = (last.decode() or None for last in following)
        return Contents(
            *encoding.parse_sums(sums),
            tuple(encoding.parse_holder(*holder) for holder in holders),
            tuple(
                encoding.parse_waiter(at, *waiter)
                for at, waiter in enumerate(waiters, start=position)
            ),
            holding,
            waiting,
            holders_next,
            waiters_next,
            quarantine / 1_000_000,
        )

    async def pools(self, names: Sequence[str]) -> tuple[float, dict[str, PoolState]]:
        """Return the seconds of quarantine, and the states of some pools."""
        requested = to_json(names)
        quarantine, states = await _POOLS.run(self._client, self._key, self._rules, requested)
        found = (encoding.parse_pool_state(*state) for state in states)
        return quarantine / 1_000_000, dict(zip(names, found, strict=True))

    async def known_pools(self) -> set[str]:
        """Return the names of all pools that were ever declared, without a pause of the server."""
        names: set[str] = set()
        cursor = 0
        while True:
            scan = self._client.hscan(f"{self._key[:-5]}pools", cursor, count=MAX_SCANNED)
            cursor, found = await answer_of(scan)
            names.update(name.decode() for name in found)
            if not cursor:
                return names

    async def recount(self, pool: str) -> tuple[tuple[str, ...], tuple[Forced, ...]]:
        """Compare a pool with its leases.

        Returns a message for each difference, and the releases by admins, the latest first.
        """
        differences, forced = await _RECOUNT.run(self._client, self._key, self._rules, pool)
        messages = tuple(message.decode() for message in differences)
        return messages, tuple(encoding.parse_forced(entry) for entry in forced)

    async def _send(self, submissions: Sequence[_Sent]) -> Sequence[Reply | Exception]:
        try:
            return await self._run(_REQUESTS, submissions)
        except OutOfMemory as error:
            freeing = [request[0] in _FREE for request, _, _ in submissions]
            if not any(freeing):
                raise
            allowed = [each for each, frees in zip(submissions, freeing, strict=True) if frees]
            replies = iter(await self._run(_FREEING, allowed))
            return [next(replies) if frees else error for frees in freeing]

    async def _run(self, script: Script, submissions: Sequence[_Sent]) -> Sequence[Reply]:
        # Where a pool occurs several times in a batch, its last limits count.
        declared = {pool: text for _, limits, _ in submissions for pool, text in limits}
        limits = to_json(list(declared.items()))
        requests = to_json([request for request, _, _ in submissions])
        deadline: int | str = ""
        if self._clock is not None:
            oldest = min(sent for _, _, sent in submissions)
            deadline = encoding.micros(oldest + self._late_after + self._clock)
        began = now()
        found = await script.run(self._client, self._key, self._rules, limits, requests, deadline)
        self._clock = found[-1] / 1_000_000 - began
        self._on_effects(_parse_effects(*found[1:-1], seconds=now() - began))
        replies: Sequence[Reply] = found[0]
        return replies


def _parse_effects(
    pre_grants: Iterable[Any],
    lost: Iterable[Any],
    counts: Sequence[int],
    usages: Iterable[Any],
    quarantined: int,
    *,
    seconds: float,
) -> Effects:
    unclaimed, abandoned = counts
    return Effects(
        tuple(
            PreGrant(token.decode(), tuple(name.decode() for name in names), micros / 1_000_000)
            for token, names, micros in pre_grants
        ),
        frozenset(_parse_lost(*each) for each in lost),
        unclaimed,
        abandoned,
        tuple(PoolUsage(pool.decode(), held, waiting) for pool, held, waiting in usages),
        quarantined == 1,
        seconds,
    )


def _parse_lost(member: bytes, fence: int, pool: bytes) -> LostToken:
    """Return a lost token. One of several pools is reported for each of them, as equal values."""
    token, several = encoding.parse_member(member)
    return LostToken(token, several or (pool.decode(),), fence)
