"""The leases and waiters of one cohort in Redis: one script for all requests of a tick.

So each request is one step for everybody. ``lua/cohort.lua`` says what is kept in which keys.
"""

import hashlib
import logging
import time
from asyncio import Future, TaskGroup
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, NamedTuple

from pydantic_core import to_json
from redis.exceptions import NoScriptError

from trimtab.errors import Unavailable
from trimtab.tokens.protocol import Forced, Holder, Waiter
from trimtab_resmgr import asking
from trimtab_resmgr.asking import Answer, Request
from trimtab_resmgr.batching import Batches
from trimtab_resmgr.connection import FAILURES, Client

log = logging.getLogger(__name__)

MOST_NAMED = 1000
"""Holders and waiters that `Leases.inspect` names: an answer must fit into a message."""
MOST_DECLARED = 500
"""Pools in one call."""

Limits = tuple[str, str]
"""A pool and its limits, see `trimtab_resmgr.pools.limits`."""
Ask = tuple[Request, tuple[Limits, ...]]
"""A request and the limits of the pools that it names, where it may take of them."""


@dataclass(frozen=True)
class Rules:
    """What the scripts go by, in seconds; all replicas should have the same."""

    lease: float = 60.0
    """No lease is longer."""
    grace: float = 2.0
    """Units stay held for so long after the lease has ended."""
    place: float = 10.0
    """A place, or a grant in passing, is lost unless it is asked for again in this time."""
    poll: float = 45.0
    """The same for one that polls, until its pace is known."""
    ripe: float = 30.0
    """Units are kept for the first that waits for room once it has waited for so long."""
    ageing: int = 1000
    """Units of service by which one step of priority comes first."""

    def body(self) -> bytes:
        return to_json(
            {
                "longest": asking.micros(self.lease),
                "grace": asking.micros(self.grace),
                "place": asking.micros(self.place),
                "poll": asking.micros(self.poll),
                "ripe": asking.micros(self.ripe),
                "ageing": self.ageing,
            }
        )


class Woken(NamedTuple):
    """A request that waited and was granted."""

    token: str
    pools: tuple[str, ...]
    claim_seconds: float


class Ended(NamedTuple):
    """A token that was held and is not, although nobody gave it back."""

    token: str
    pools: tuple[str, ...]
    fence: int


class Level(NamedTuple):
    """Of a pool, after a call that looked at it."""

    pool: str
    held: int
    waiting: int


@dataclass(frozen=True, slots=True)
class News:
    """What a call did beside its answers."""

    woken: tuple[Woken, ...]
    ended: frozenset[Ended]
    unclaimed: int
    """Grants in passing that nobody asked for in time."""
    dropped: int
    """Places that nobody asked for in time."""
    levels: tuple[Level, ...]
    seconds: float
    """That Redis took, with the way there and back."""


@dataclass(frozen=True, slots=True)
class Contents:
    """A pool as it is now."""

    held: int
    by_project: dict[str, int]
    by_project_domain: dict[str, int]
    holders: tuple[Holder, ...]
    waiters: tuple[Waiter, ...]
    waiting: int
    quarantine_seconds: float


class _Script:
    def __init__(self, *parts: str) -> None:
        lua = files("trimtab_resmgr") / "lua"
        texts = [(lua / f"{part}.lua").read_text(encoding="utf-8") for part in parts]
        # Redis 7 runs a script with this head not at all where it has no memory left, instead of
        # up to its first write that needs some.
        self.text = "\n".join(["#!lua", *texts])
        # Redis names a script by this digest.
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


_REQUESTS = _Script("cohort", "holding", "queue", "requests")
_INSPECT = _Script("cohort", "holding", "queue", "inspect")
_AUDIT = _Script("cohort", "holding", "queue", "audit")


class Leases:
    """One cohort. Whatever asks Redis raises `Unavailable` where it is away."""

    def __init__(
        self,
        client: Client,
        tasks: TaskGroup,
        cohort: str,
        rules: Rules,
        heard: Callable[[News], None] = lambda _news: None,
    ) -> None:
        self._client = client
        self._key = f"trimtab:{{{cohort}}}:state"
        self._rules = rules.body()
        self._heard = heard
        self._batches = Batches(tasks, self._send)

    def ask(self, *asks: Ask) -> Future[Sequence[Answer]]:
        """Have them done together with all others of this tick."""
        return self._batches.ask(*asks)

    async def sweep(self) -> None:
        """Do some of what is due: leases that have ended, places that were given up."""
        await self.ask((("sweep",), ()))

    async def declare(self, limits: Sequence[Limits]) -> None:
        """Make new limits known, so that those who wait are granted what now fits."""
        for first in range(0, len(limits), MOST_DECLARED):
            await self.ask((("sweep",), tuple(limits[first : first + MOST_DECLARED])))

    async def inspect(self, pool: str) -> Contents:
        """Of very many holders those whose lease ends first, of waiters those who come first."""
        found = await self._run(_INSPECT, pool, MOST_NAMED)
        sums, holders, waiters, waiting, quarantine = found
        return Contents(
            *asking.sums(sums),
            tuple(asking.holder(*each) for each in holders),
            tuple(asking.waiter(at, *each) for at, each in enumerate(waiters, start=1)),
            waiting,
            quarantine / 1_000_000,
        )

    async def audit(self, pool: str) -> tuple[tuple[str, ...], tuple[Forced, ...]]:
        """Count a pool anew: a line for each difference; and what admins took, the latest first."""
        differences, forced = await self._run(_AUDIT, pool)
        lines = tuple(line.decode() for line in differences)
        return lines, tuple(asking.forced(entry) for entry in forced)

    async def _send(self, asks: Sequence[Ask]) -> Sequence[Answer]:
        # Of what is said twice in a tick the last word counts.
        declared = {pool: text for _, limits in asks for pool, text in limits}
        requests = to_json([request for request, _ in asks])
        began = time.perf_counter()
        found = await self._run(_REQUESTS, to_json(list(declared.items())), requests)
        self._heard(_news(*found[1:], seconds=time.perf_counter() - began))
        answers: Sequence[Answer] = found[0]
        return answers

    async def _run(self, script: _Script, *arguments: bytes | str | int) -> Any:
        """What the script returns, which its head describes."""
        try:
            try:
                return await self._client.evalsha(script.sha, 1, self._key, self._rules, *arguments)
            except NoScriptError:  # Redis was started anew or flushed; this teaches it again
                return await self._client.eval(script.text, 1, self._key, self._rules, *arguments)
        except FAILURES as error:
            raise Unavailable(f"Redis does not answer: {error}") from error


def _news(
    woken: Iterable[Any],
    ended: Iterable[Any],
    counts: Sequence[int],
    levels: Iterable[Any],
    *,
    seconds: float,
) -> News:
    unclaimed, dropped = counts
    return News(
        tuple(
            Woken(token.decode(), tuple(name.decode() for name in names), micros / 1_000_000)
            for token, names, micros in woken
        ),
        frozenset(_ended(*each) for each in ended),
        unclaimed,
        dropped,
        tuple(Level(pool.decode(), held, waiting) for pool, held, waiting in levels),
        seconds,
    )


def _ended(member: bytes, fence: int, pool: bytes) -> Ended:
    """One of several pools is told of in each of them, and so several times."""
    token, several = asking.member(member)
    return Ended(token, several or (pool.decode(),), fence)
