"""A crowd of holders that request tokens at the same time and record what they observe."""

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

from tests.integration.resmgr.invariants import Limits, Observation
from tests.servers import PATIENCE_SECONDS
from trimtab.messages import subjects
from trimtab.models import Model
from trimtab.tokens import protocol

LEASE_SECONDS = 1.0
LONG_SHARE = 0.04
"""The share of holders that hold for several leases, so that most units are held during faults."""
RENEW_SECONDS = 0.4
PROJECT_CAPS = (*[None] * 17, 0, 4, 6)
"""The caps of requests. Few have one, because a waiter at its own cap blocks its subqueue."""
DOMAIN_CAPS = (*[None] * 17, 0, 3, 4)
DEATH_SHARE = 0.005
"""The share of waits and of holds that end without another request."""
REPLY_SECONDS = PATIENCE_SECONDS / 30
CHECK_SECONDS = 0.1

Reply = TypeVar("Reply", bound=Model)
Grant = tuple[str, int | None]
"""The token and the fence of a grant."""


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Crowd:
    """Holders that request tokens until so many operations were sent."""

    client: Client
    limits: Mapping[str, Limits]
    operations: int
    chance: Random
    sent: int = 0
    observations: list[Observation] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Violations that were found while the crowd ran."""
    _disturbances: int = 0
    _released: set[Grant] = field(default_factory=set)
    """Grants whose release was confirmed."""
    _hints: dict[str, asyncio.Event] = field(default_factory=dict)

    async def run(self, holders: int) -> None:
        """Run until all operations were sent and all holders have ended."""

        async def on_hint(message: Msg) -> None:
            if (hint := self._hints.get(subjects.name_of(message.subject))) is not None:
                hint.set()

        hints = await self.client.subscribe("trimtab.resmgr.granted.default.*", cb=on_hint)
        await asyncio.gather(
            self._check(), *(self._run_holder(number) for number in range(holders))
        )
        await hints.unsubscribe()

    def on_disturbance(self) -> None:
        """Record that Redis loses data about now. Call it before and after."""
        self._disturbances += 1
        self._released.clear()

    @property
    def _over(self) -> bool:
        return self.sent >= self.operations

    async def _check(self) -> None:
        """Check periodically that sums are right, that no released grant is held, and that tokens
        are held in all of their pools."""
        while not self._over:
            await asyncio.sleep(CHECK_SECONDS)
            pool, other = self.chance.sample(list(self.limits), 2)
            recounted = await self._request(protocol.Recount(pool=pool), protocol.Recounted)
            self.wrong += () if recounted is None else recounted.differences
            released, disturbances = self._released.copy(), self._disturbances
            first, between, last = [await self._holders(each) for each in (pool, other, pool)]
            if first is None or between is None or last is None:
                continue
            if disturbances == self._disturbances:
                wrong = released & last.keys()
                self.wrong += [f"{each} of {pool} was released and is held" for each in wrong]
                both = {each for each in first.keys() & last.keys() if other in last[each]}
                wrong = both - between.keys()
                self.wrong += [f"{each} is held in {pool}, but not in {other}" for each in wrong]

    async def _holders(self, pool: str) -> dict[Grant, tuple[str, ...]] | None:
        """Return the grants of a pool, with the pools of those that have several and last."""
        found = await self._request(protocol.Inspect(pool=pool), protocol.Inspected)
        if found is None:
            return None
        return {
            (each.token, each.fence): each.pools if each.expires_in_seconds > 0 else ()
            for each in found.holders
        }

    async def _run_holder(self, number: int) -> None:
        for turn in itertools.count():
            if self._over:
                return
            observation = self._draw(f"{number}-{turn}")
            if await self._wait_for_grant(observation):
                await self._hold(observation)
                self.observations.append(observation)

    def _draw(self, token: str) -> Observation:
        """Draw a request for one pool or two, some with caps of their own."""
        pools = self.chance.sample(list(self.limits), self.chance.choice((1, 1, 1, 1, 2)))
        return Observation(
            token=token,
            units=tuple((pool, self.chance.randint(1, 3)) for pool in pools),
            project=self.chance.choice("ab"),
            domain=self.chance.choice("cd"),
            priority=self.chance.choice((0, 0, 1)),
            first_sent=now(),
            project_cap=self.chance.choice(PROJECT_CAPS),
            domain_cap=self.chance.choice(DOMAIN_CAPS),
        )

    async def _wait_for_grant(self, observation: Observation) -> bool:
        """Return false where the request never fits, died, or was not granted before the end."""
        request = protocol.Allocate(
            **_share(observation),
            priority=observation.priority,
            project_cap=observation.project_cap,
            project_domain_cap=observation.domain_cap,
            wait_seconds=600,
        )
        hint = self._hints.setdefault(observation.token, asyncio.Event())
        disturbances = -1
        try:
            while not self._over:
                hint.clear()
                observation.sent = now()
                reply = await self._request(request, protocol.Allocated)
                if reply is not None and reply.status == "granted":
                    observation.undisturbed = disturbances == self._disturbances
                    _record_grant(observation, reply)
                    return True
                if reply is not None and (reply.status == "never_fits") is observation.can_fit:
                    wrong = f"the reply to {observation.token} is {reply.status}: {observation}"
                    self.wrong.append(wrong)
                if reply is not None and reply.status == "never_fits":
                    return False
                waits = reply is not None and reply.status == "waiting"
                if waits and observation.queued is None:
                    observation.queued, disturbances = now(), self._disturbances
                if self.chance.random() < DEATH_SHARE:
                    return False
                with suppress(TimeoutError):
                    await asyncio.wait_for(hint.wait(), self.chance.uniform(0.3, 0.6))
            return False
        finally:
            del self._hints[observation.token]

    async def _hold(self, observation: Observation) -> None:
        """Hold for a moment or for several leases, and release, except for a few that die."""
        long = self.chance.random() < LONG_SHARE
        shortest, longest = (LEASE_SECONDS, 4 * LEASE_SECONDS) if long else (0, 0.02)
        until = now() + self.chance.uniform(shortest, longest)
        while now() < until and now() < observation.ends:
            await asyncio.sleep(min(until - now(), RENEW_SECONDS))
            if now() < until and not await self._renew(observation):
                break
        if self.chance.random() < DEATH_SHARE:
            observation.stopped = observation.ends
            return
        observation.stopped = min(now(), observation.ends)
        release = protocol.Release(**_name(observation), fence=observation.fence)
        reply = await self._request(release, protocol.Released)
        if reply is not None and reply.released:
            self._released.add((observation.token, observation.fence))

    async def _renew(self, observation: Observation) -> bool:
        """Renew or reassert once, and return whether the token may still be held."""
        sent = now()
        renew = protocol.Renew(
            **_name(observation), fence=observation.fence, lease_seconds=LEASE_SECONDS
        )
        reply = await self._request(renew, protocol.Renewed)
        if reply is not None and reply.status == "reassert" and now() < observation.ends:
            sent = now()
            reassert = protocol.Reassert(**_share(observation), fence=observation.fence)
            reply = await self._request(reassert, protocol.Renewed)
        if reply is None:
            return True  # The token is held until its lease ends.
        if reply.status == "held" and now() < observation.ends:
            observation.ends = sent + (reply.lease_seconds or 0)
        return reply.status == "held"

    async def _request(self, request: Model, reply: type[Reply]) -> Reply | None:
        """Send a request; returns ``None`` where no replica or no Redis answers."""
        self.sent += 1
        subject = subjects.resmgr(protocol.operation(type(request)), protocol.COHORT)
        body = request.model_dump_json().encode()
        try:
            message = await self.client.request(subject, body, timeout=REPLY_SECONDS)
        except (nats.errors.Error, TimeoutError):
            await asyncio.sleep(0.05)
            return None
        if message.headers and ERROR_HEADER in message.headers:
            error = message.headers[ERROR_HEADER]
            if not error.startswith("Redis does not answer"):
                self.wrong.append(error)
            await asyncio.sleep(0.05)
            return None
        return reply.model_validate_json(message.data)


def _name(observation: Observation) -> dict[str, Any]:
    """Return the fields that identify a token; one of a single pool uses ``pool``."""
    if len(observation.units) == 1:
        return {"token": observation.token, "pool": observation.units[0][0]}
    return {"token": observation.token, "pools": observation.pools}


def _share(observation: Observation) -> dict[str, Any]:
    """Return the fields of a request for units; two pools are in the order of the draw."""
    scope = {"project": observation.project, "domain": observation.domain}
    common = scope | {"lease_seconds": LEASE_SECONDS}
    if len(observation.units) == 1:
        return _name(observation) | common | {"weight": observation.units[0][1]}
    units = tuple(protocol.Units(pool=pool, weight=weight) for pool, weight in observation.units)
    return {"token": observation.token, "pools": units} | common


def _record_grant(observation: Observation, reply: protocol.Allocated) -> None:
    observation.began, observation.ends = now(), observation.sent + (reply.lease_seconds or 0)
    observation.stopped = observation.ends
    observation.fence, observation.waited = reply.fence or 0, reply.waited_seconds
