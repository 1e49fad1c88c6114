"""Leases in Redis: one script per operation, so that each is one step for everybody.

The keys of a cohort share a hash slot; ``lua/common.lua`` says what is kept in them.
"""

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError

from trimtab.errors import Unavailable
from trimtab.tokens import Allocate, Holder, Release
from trimtab_resmgr.batching import Batches
from trimtab_resmgr.connection import FAILURES, Client
from trimtab_resmgr.pools import Limit, Limits

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often readiness looks whether Redis answers."""
MOST_HOLDERS = 1000
"""Named by `Leases.inspect`: an answer must fit into a message."""


class Outcome(NamedTuple):
    """Of one request for a token."""

    refused_by: Limit | None
    """``None`` where it is granted."""
    held: int
    """Units of the pool held after the request."""
    counted: int
    """Units that the limit counted."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is held of a pool."""

    held: int
    by_project: dict[str, int]
    by_project_domain: dict[str, int]
    holders: tuple[Holder, ...]


class _Script:
    def __init__(self, operation: str) -> None:
        lua = files("trimtab_resmgr") / "lua"
        self.text = "\n".join(
            (lua / f"{name}.lua").read_text(encoding="utf-8") for name in ("common", operation)
        )
        # Redis names a script by this digest.
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


_ALLOCATE = _Script("allocate")
_RELEASE = _Script("release")
_INSPECT = _Script("inspect")
_AUDIT = _Script("audit")


class Leases:
    """The leases of one cohort. Whatever asks Redis raises `Unavailable` where it is away."""

    def __init__(self, client: Client, tasks: asyncio.TaskGroup, cohort: str) -> None:
        self.wrong = "Redis was not asked yet"
        """Why nothing can be granted; empty where it can. `watch` keeps it up to date."""
        self._client = client
        self._cohort = cohort
        self._allocations = Batches(tasks, self._allocate)
        self._releases = Batches(tasks, self._release)

    async def allocate(self, ask: Allocate, limits: Limits) -> Outcome:
        """Grant a token, renew the lease of one that is held, or say what is in the way."""
        return await self._allocations.ask((ask, limits))

    async def release(self, ask: Release) -> bool:
        """Whether the token was held."""
        return await self._releases.ask(ask)

    async def inspect(self, pool: str) -> Contents:
        """Of very many holders only those whose lease ends first."""
        sums, holders = await self._run(_INSPECT, [pool], [MOST_HOLDERS])
        return _contents(sums, holders)

    async def audit(self, pool: str) -> list[str]:
        """Count a pool anew: a line for each sum that differs. Reads all of it."""
        return [line.decode() for line in await self._run(_AUDIT, [pool], [])]

    async def watch(self) -> None:
        """Look again and again whether Redis answers, until cancelled."""
        while True:
            try:
                await self._client.ping()
            except FAILURES as error:
                if not self.wrong:
                    log.warning("redis.lost", extra={"error": str(error)})
                self.wrong = f"Redis does not answer: {error}"
            else:
                if self.wrong:
                    log.info("redis.found")
                self.wrong = ""
            await asyncio.sleep(LOOK_SECONDS)

    async def _allocate(self, asks: Sequence[tuple[Allocate, Limits]]) -> list[Outcome]:
        places = _places(ask.units[0].pool for ask, _ in asks)
        arguments: list[str | int] = []
        for ask, limits in asks:
            arguments += (
                places[ask.units[0].pool],
                ask.token,
                ask.project,
                ask.domain,
                ask.weight,
                round(ask.lease_seconds * 1_000_000),
                limits[Limit.QUOTA],
                limits.get(Limit.PROJECT, ""),
                limits.get(Limit.PROJECT_DOMAIN, ""),
            )
        numbers = await self._run(_ALLOCATE, places, arguments)
        triples = zip(numbers[0::3], numbers[1::3], numbers[2::3], strict=True)
        return [Outcome(Limit(by) if by else None, held, count) for by, held, count in triples]

    async def _release(self, asks: Sequence[Release]) -> list[bool]:
        places = _places(ask.all_pools[0] for ask in asks)
        arguments: list[str | int] = []
        for ask in asks:
            arguments += (places[ask.all_pools[0]], ask.token)
        return [number == 1 for number in await self._run(_RELEASE, places, arguments)]

    async def _run(
        self, script: _Script, pools: Iterable[str], arguments: Sequence[str | int]
    ) -> Any:  # what the script returns, which its head describes
        keys = [
            f"trimtab:{{{self._cohort}}}:{part}:{pool}"
            for pool in pools
            for part in ("leases", "tokens", "sums")
        ]
        try:
            try:
                return await self._client.evalsha(script.sha, len(keys), *keys, *arguments)
            except NoScriptError:  # Redis was started anew or flushed; this teaches it again
                return await self._client.eval(script.text, len(keys), *keys, *arguments)
        except FAILURES as error:
            raise Unavailable(f"Redis does not answer: {error}") from error


def _places(pools: Iterable[str]) -> dict[str, int]:
    """The place of each pool among the keys of a script, from 1."""
    return {pool: place for place, pool in enumerate(dict.fromkeys(pools), start=1)}


def _contents(sums: Sequence[bytes], holders: Sequence[tuple[Any, ...]]) -> Contents:
    """Reads what ``lua/inspect.lua`` returns."""
    held = 0
    by_project: dict[str, int] = {}
    by_project_domain: dict[str, int] = {}
    for field, units in zip(sums[0::2], sums[1::2], strict=True):
        match field[:2]:
            case b"p:":
                by_project[field[2:].decode()] = int(units)
            case b"d:":
                size, _, both = field[2:].partition(b":")
                project, domain = both[: int(size)], both[int(size) + 1 :]
                by_project_domain[f"{project.decode()}/{domain.decode()}"] = int(units)
            case _:
                held = int(units)
    return Contents(held, by_project, by_project_domain, tuple(_holder(*each) for each in holders))


def _holder(token: bytes, project: bytes, domain: bytes, weight: int, micros: int) -> Holder:
    return Holder(
        token=token.decode(),
        project=project.decode(),
        domain=domain.decode(),
        weight=weight,
        expires_in_seconds=micros / 1_000_000,
    )
