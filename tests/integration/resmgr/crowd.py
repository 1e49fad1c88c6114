"""Many holders at once, who write down what they see."""

import asyncio
import itertools
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.micro.request import ERROR_HEADER

from tests.integration.resmgr.lives import Life, Limits
from trimtab import subjects, tokens
from trimtab.graph import Model

LEASE_SECONDS = 1.0
LONG = 0.04
"""Of those who hold: for some leases, so that most units are held over whatever happens."""
RENEW_SECONDS = 0.4
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
        """Nothing that was given back may be held, and the sums must be right at any time."""
        while not self._over:
            await asyncio.sleep(LOOK_SECONDS)
            pool = self.chance.choice(list(self.limits))
            before = self._given_back.copy()
            inspected = await self._ask(tokens.Inspect(pool=pool), tokens.Inspected)
            audited = await self._ask(tokens.Audit(pool=pool), tokens.Audited)
            for holder in () if inspected is None else inspected.holders:
                if (holder.token, holder.fence) in before & self._given_back:
                    self.wrong.append(f"{holder.token} was given back to {pool} and is held there")
            if audited is not None:
                self.wrong += audited.differences

    async def _holder(self, number: int) -> None:
        for turn in itertools.count():
            if self._over:
                return
            pool = self.chance.choice(list(self.limits))
            life = Life(
                token=f"{number}-{turn}",
                pool=pool,
                weight=self.chance.randint(1, 3),
                project=self.chance.choice("ab"),
                domain=self.chance.choice("cd"),
                priority=self.chance.choice((0, 0, 1)),
                first_sent=now(),
            )
            if await self._granted(life):
                await self._hold(life)
                self.lives.append(life)

    async def _granted(self, life: Life) -> bool:
        """False for one that died while it waited, or was not served in time."""
        ask = tokens.Allocate(
            pool=life.pool,
            token=life.token,
            project=life.project,
            domain=life.domain,
            weight=life.weight,
            priority=life.priority,
            lease_seconds=LEASE_SECONDS,
            wait_seconds=600,
        )
        hint = self._hints.setdefault(life.token, asyncio.Event())
        disturbances = -1
        try:
            while not self._over:
                hint.clear()
                life.sent = now()
                answer = await self._ask(ask, tokens.Allocated)
                if answer is not None and answer.status == "granted":
                    life.undisturbed = disturbances == self._disturbances
                    _begin(life, answer)
                    return True
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
        release = tokens.Release(pool=life.pool, token=life.token, fence=life.fence)
        answer = await self._ask(release, tokens.Released)
        if answer is not None and answer.released:
            self._given_back.add((life.token, life.fence))

    async def _renewed(self, life: Life) -> bool:
        sent = now()
        renew = tokens.Renew(
            pool=life.pool, token=life.token, fence=life.fence, lease_seconds=LEASE_SECONDS
        )
        answer = await self._ask(renew, tokens.Renewed)
        if answer is not None and answer.status == "reassert" and now() < life.ends:
            sent = now()
            reassert = tokens.Reassert(
                pool=life.pool,
                weight=life.weight,
                token=life.token,
                project=life.project,
                domain=life.domain,
                fence=life.fence,
                lease_seconds=LEASE_SECONDS,
            )
            answer = await self._ask(reassert, tokens.Renewed)
        if answer is None:
            return True  # until its lease is over
        if answer.status == "held" and now() < life.ends:
            life.ends = sent + (answer.lease_seconds or 0)
        return answer.status == "held"

    async def _ask(self, ask: Model, answer: type[Answer]) -> Answer | None:
        """Nothing where nobody answered, or Redis is away."""
        self.asked += 1
        subject = subjects.resmgr(tokens.operation(type(ask)), tokens.COHORT)
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


def _begin(life: Life, answer: tokens.Allocated) -> None:
    life.began, life.ends = now(), life.sent + (answer.lease_seconds or 0)
    life.stopped = life.ends
    life.fence, life.waited = answer.fence or 0, answer.waited_seconds
