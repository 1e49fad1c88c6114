"""Many holders at once, who write down what they see."""

import asyncio
import itertools
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.micro.request import ERROR_HEADER

from tests.integration.resmgr.lives import Life, Limits
from trimtab.messages import subjects
from trimtab.models import Model
from trimtab.tokens import protocol

LEASE_SECONDS = 1.0
LONG = 0.04
"""Of those who hold: for some leases, so that most units are held over whatever happens."""
RENEW_SECONDS = 0.4
PROJECT_CAPS = (*[None] * 17, 0, 4, 6)
"""Of requests. Few have any, as whoever waits for its own cap holds up its line."""
DOMAIN_CAPS = (*[None] * 17, 0, 3, 4)
DYING = 0.005
"""Of those who wait or hold: they are not heard of again."""
ANSWER_SECONDS = 2.0
LOOK_SECONDS = 0.2

Answer = TypeVar("Answer", bound=Model)


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Crowd:
    """Holders that ask for tokens until so many operations were asked for."""

    client: Client
    limits: Mapping[str, Limits]
    operations: int
    chance: Random
    asked: int = 0
    lives: list[Life] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What was found wrong while they lived."""
    _disturbances: int = 0
    _given_back: set[tuple[str, int]] = field(default_factory=set)
    """Tokens and fences that Redis was heard to have taken back."""
    _hints: dict[str, asyncio.Event] = field(default_factory=dict)

    async def run(self, holders: int) -> None:
        """Until all operations were asked for and all holders have left."""

        async def hinted(message: Msg) -> None:
            if (waiting := self._hints.get(subjects.name_of(message.subject))) is not None:
                waiting.set()

        hints = await self.client.subscribe("trimtab.resmgr.granted.default.*", cb=hinted)
        await asyncio.gather(self._look(), *(self._holder(number) for number in range(holders)))
        await hints.unsubscribe()

    def disturbed(self) -> None:
        """Redis forgets something about now: to be called before and after."""
        self._disturbances += 1
        self._given_back.clear()

    @property
    def _over(self) -> bool:
        return self.asked >= self.operations

    async def _look(self) -> None:
        """Sums are right, nothing is held that was given back, nor of a part of its pools."""
        while not self._over:
            await asyncio.sleep(LOOK_SECONDS)
            pool, other = self.chance.sample(list(self.limits), 2)
            audited = await self._ask(protocol.Recount(pool=pool), protocol.Recounted)
            self.wrong += () if audited is None else audited.differences
            given_back, disturbances = self._given_back.copy(), self._disturbances
            first, between, last = [await self._held(each) for each in (pool, other, pool)]
            if first is None or between is None or last is None:
                continue
            if disturbances == self._disturbances:
                wrong = given_back & last.keys()
                self.wrong += [f"{each} was given back to {pool} and is held" for each in wrong]
                both = {each for each in first.keys() & last.keys() if other in last[each]}
                wrong = both - between.keys()
                self.wrong += [f"{each} is held of {pool}, not of {other}" for each in wrong]

    async def _held(self, pool: str) -> dict[tuple[str, int | None], tuple[str, ...]] | None:
        """Tokens and fences, with their pools where they are of several and their lease lasts."""
        found = await self._ask(protocol.Inspect(pool=pool), protocol.Inspected)
        if found is None:
            return None
        return {
            (each.token, each.fence): each.pools if each.expires_in_seconds > 0 else ()
            for each in found.holders
        }

    async def _holder(self, number: int) -> None:
        for turn in itertools.count():
            if self._over:
                return
            life = self._born(f"{number}-{turn}")
            if await self._granted(life):
                await self._hold(life)
                self.lives.append(life)

    def _born(self, token: str) -> Life:
        """It wants one pool or two, for a project and domain, and a few allow themselves little."""
        pools = self.chance.sample(list(self.limits), self.chance.choice((1, 1, 1, 1, 2)))
        return Life(
            token=token,
            units=tuple((pool, self.chance.randint(1, 3)) for pool in pools),
            project=self.chance.choice("ab"),
            domain=self.chance.choice("cd"),
            priority=self.chance.choice((0, 0, 1)),
            first_sent=now(),
            project_cap=self.chance.choice(PROJECT_CAPS),
            domain_cap=self.chance.choice(DOMAIN_CAPS),
        )

    async def _granted(self, life: Life) -> bool:
        """False for one that can never be, died while it waited, or was not served in time."""
        ask = protocol.Allocate(
            **_share(life),
            priority=life.priority,
            project_cap=life.project_cap,
            project_domain_cap=life.domain_cap,
            wait_seconds=600,
        )
        hint = self._hints.setdefault(life.token, asyncio.Event())
        disturbances = -1
        try:
            while not self._over:
                hint.clear()
                life.sent = now()
                answer = await self._ask(ask, protocol.Allocated)
                if answer is not None and answer.status == "granted":
                    life.undisturbed = disturbances == self._disturbances
                    _begin(life, answer)
                    return True
                if answer is not None and (answer.status == "never_fits") is life.can_fit:
                    self.wrong.append(f"{life.token} is told {answer.status}: {life}")
                if answer is not None and answer.status == "never_fits":
                    return False
                if answer is not None and answer.status == "waiting" and life.placed is None:
                    life.placed, disturbances = now(), self._disturbances
                if self.chance.random() < DYING:
                    return False
                with suppress(TimeoutError):
                    await asyncio.wait_for(hint.wait(), self.chance.uniform(0.3, 0.6))
            return False
        finally:
            del self._hints[life.token]

    async def _hold(self, life: Life) -> None:
        """For a moment, or longer than its lease; a few never give it back."""
        long = self.chance.random() < LONG
        shortest, longest = (LEASE_SECONDS, 4 * LEASE_SECONDS) if long else (0, 0.02)
        until = now() + self.chance.uniform(shortest, longest)
        while now() < until and now() < life.ends:
            await asyncio.sleep(min(until - now(), RENEW_SECONDS))
            if now() < until and not await self._renewed(life):
                break
        if self.chance.random() < DYING:
            life.stopped = life.ends
            return
        life.stopped = min(now(), life.ends)
        release = protocol.Release(**_name(life), fence=life.fence)
        answer = await self._ask(release, protocol.Released)
        if answer is not None and answer.released:
            self._given_back.add((life.token, life.fence))

    async def _renewed(self, life: Life) -> bool:
        sent = now()
        renew = protocol.Renew(**_name(life), fence=life.fence, lease_seconds=LEASE_SECONDS)
        answer = await self._ask(renew, protocol.Renewed)
        if answer is not None and answer.status == "reassert" and now() < life.ends:
            sent = now()
            reassert = protocol.Reassert(**_share(life), fence=life.fence)
            answer = await self._ask(reassert, protocol.Renewed)
        if answer is None:
            return True  # until its lease is over
        if answer.status == "held" and now() < life.ends:
            life.ends = sent + (answer.lease_seconds or 0)
        return answer.status == "held"

    async def _ask(self, ask: Model, answer: type[Answer]) -> Answer | None:
        """Nothing where nobody answered, or Redis is away."""
        self.asked += 1
        subject = subjects.resmgr(protocol.operation(type(ask)), protocol.COHORT)
        body = ask.model_dump_json().encode()
        try:
            message = await self.client.request(subject, body, timeout=ANSWER_SECONDS)
        except (nats.errors.Error, TimeoutError):
            await asyncio.sleep(0.05)
            return None
        if message.headers and ERROR_HEADER in message.headers:
            error = message.headers[ERROR_HEADER]
            if not error.startswith("Redis does not answer"):
                self.wrong.append(error)
            await asyncio.sleep(0.05)
            return None
        return answer.model_validate_json(message.data)


def _name(life: Life) -> dict[str, Any]:
    """Of one pool by ``pool``, as nearly everybody says it."""
    if len(life.units) == 1:
        return {"token": life.token, "pool": life.units[0][0]}
    return {"token": life.token, "pools": life.pools}


def _share(life: Life) -> dict[str, Any]:
    """Two pools in the order in which they were drawn."""
    place = {"project": life.project, "domain": life.domain, "lease_seconds": LEASE_SECONDS}
    if len(life.units) == 1:
        return _name(life) | place | {"weight": life.units[0][1]}
    units = tuple(protocol.Units(pool=pool, weight=weight) for pool, weight in life.units)
    return {"token": life.token, "pools": units} | place


def _begin(life: Life, answer: protocol.Allocated) -> None:
    life.began, life.ends = now(), life.sent + (answer.lease_seconds or 0)
    life.stopped = life.ends
    life.fence, life.waited = answer.fence or 0, answer.waited_seconds
