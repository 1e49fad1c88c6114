"""Random histories: each step is compared with a model, and recounted.

``--operations`` sets their length, ``--seed`` chooses them.
"""

from pathlib import Path
from random import Random

import pytest
import redis.asyncio

from tests.integration.resmgr.direct import Cohort, open_cohort
from tests.integration.resmgr.model import (
    AGEING,
    Blocker,
    Limits,
    Model,
    Reply,
    Request,
    TokenName,
)
from tests.servers import PATIENCE_SECONDS, ValkeyServer
from trimtab.messages.events import PoolChanged
from trimtab.tokens.protocol import Allocated, Units
from trimtab_resmgr.store import Rules

OPERATIONS_PER_STEP = 20
"""One in so many operations is a step of each history; eight others read its effects."""
POOLS = ("gp", "gpu", "seats")
HOUR = 3600.0
KEY = "trimtab:{default}:"


class History:
    """A sequence of random steps of the product and of the model."""

    def __init__(
        self, seed: int, cohort: Cohort, server: redis.asyncio.Redis, *, reserving: bool
    ) -> None:
        self.chance = Random(seed)
        self.cohort = cohort
        self.server = server
        self.model = Model({pool: Limits(4) for pool in POOLS}, reserving=reserving)
        self.fences: dict[TokenName, int] = {}
        self.requests: dict[TokenName, Request] = {}

    async def step(self) -> None:
        """Perform one random step in both, and compare them."""
        calm = not self.model.quarantined
        weights = {
            self.allocate: 50,
            self.repeat: 20,
            self.release: 18,
            self.renew: 4,
            self.reprioritize: 4,
            self.declare: 3,
            self.expire: 4 * calm,
            self.abandon: 4 * calm,
            self.fail_over: 0.3 * calm,
            self.flush: 0.3 * calm,
            self.reassert: 0 if calm else 30,
            self.end_quarantine: 0 if calm else 5,
        }
        [act] = self.chance.choices(list(weights), list(weights.values()))
        self.model.pre_granted.clear()
        self.cohort.effects.clear()
        await act()
        effects = self.cohort.effects
        pre_granted = [grant.token for each in effects for grant in each.pre_grants]
        assert pre_granted == self.model.pre_granted, act.__name__
        for pool in POOLS:
            assert await self.cohort.recount(pool) == (), act.__name__
            contents = await self.cohort.inspect(pool)
            assert contents.held == self.model.units(pool), act.__name__
            expected = [waiter.request.token for waiter in self.model.order(pool)]
            assert [waiter.token for waiter in contents.waiters] == expected, act.__name__

    async def allocate(self) -> None:
        some = self.chance.sample(POOLS, self.chance.choice((1, 1, 1, 2, 3)))
        request = Request(
            token=f"t{self.chance.randint(0, 9)}",
            units=tuple((pool, self.chance.choice((1, 1, 2, 3))) for pool in sorted(some)),
            project=self.chance.choice(("flyte", "flytesnacks", "f")),
            domain=self.chance.choice(("dev", "development")),
            priority=self.chance.choice((0, 0, 0, 1)),
            project_cap=self.chance.choice((None, None, None, 0, 2, 4)),
            domain_cap=self.chance.choice((None, None, None, 1, 3)),
            waits=self.chance.random() < 0.9,
        )
        await self.send(request)

    async def repeat(self) -> None:
        if self.model.waiting:
            await self.send(self.chance.choice(self.model.waiting).request)

    async def send(self, request: Request) -> None:
        was_held = self.model.holds(request.name)
        expected = self.model.allocate(request)
        reply = await self.cohort.allocate(
            request.token,
            pool=None,
            pools=tuple(Units(pool=pool, weight=weight) for pool, weight in request.units),
            project=request.project,
            domain=request.domain,
            priority=request.priority,
            project_cap=request.project_cap,
            project_domain_cap=request.domain_cap,
            lease_seconds=HOUR,
            wait_seconds=HOUR if request.waits else 0,
        )
        assert as_model(reply) == expected, request
        if reply.status == "granted":
            self.record_grant(request, reply.fence or 0, is_new=not was_held)

    def record_grant(self, request: Request, fence: int, *, is_new: bool) -> None:
        name = request.name
        if is_new:
            assert fence > max(self.fences.values(), default=0)
        self.fences[name] = fence
        self.requests[name] = next(held for held in self.model.held if held.name == name)

    async def release(self) -> None:
        token, pools = self.some_name()
        expected = self.model.release((token, pools))
        reply = await self.cohort.release(token, pool=None, pools=pools)
        assert (reply.released or reply.withdrew) == expected

    async def renew(self) -> None:
        token, pools = self.some_name()
        reply = await self.cohort.renew(token, pool=None, pools=pools, lease_seconds=HOUR)
        lost = "reassert" if self.model.quarantined else "lost"
        assert reply.status == ("held" if self.model.holds((token, pools)) else lost)

    async def reprioritize(self) -> None:
        token, pools = self.some_name()
        priority = self.chance.choice((-1, 0, 1, 2))
        expected = self.model.reprioritize((token, pools), priority)
        reply = await self.cohort.reprioritize(token, priority, pools=pools)
        assert (reply.waiting, reply.position) == (expected is not None, expected or None)

    async def declare(self) -> None:
        pool = self.chance.choice(POOLS)
        limits = Limits(
            quota=self.chance.randint(1, 7),
            project_cap=self.chance.choice((None, None, 3, 5)),
            domain_cap=self.chance.choice((None, None, 2)),
            max_weight=self.chance.choice((None, None, 2)),
            active=self.chance.random() < 0.85,
        )
        self.model.declare(pool, limits)
        caps = {"project_cap": limits.project_cap, "project_domain_cap": limits.domain_cap}
        more = {"max_weight": limits.max_weight, "active": limits.active}
        fields = {"name": pool, "quota": limits.quota, **caps, **more}
        self.cohort.declare(PoolChanged.model_validate(fields))
        await self.cohort.declare_now(pool)

    async def expire(self) -> None:
        """Time cannot be moved forward, so the end of a lease is moved back."""
        if self.model.held:
            token, pools = self.chance.choice(self.model.held).name
            member = "\n".join((token, *pools)) if len(pools) > 1 else token
            for pool in pools:
                await self.server.zadd(f"{KEY}leases:{pool}", {member: 1}, xx=True)
                await self.server.zadd(f"{KEY}due", {pool: 1})
            self.model.expire((token, pools))
            await self.cohort.sweep()

    async def abandon(self) -> None:
        if self.model.waiting:
            token, pools = self.chance.choice(self.model.waiting).request.name
            await self.server.zadd(f"{KEY}patience", {"\n".join((*pools, token)): 1}, xx=True)
            self.model.abandon((token, pools))
            await self.cohort.sweep()

    async def fail_over(self) -> None:
        await self.server.hset(f"{KEY}state", "run", "another")
        self.model.fail_over()

    async def flush(self) -> None:
        await self.server.flushall()
        self.model.flush()
        for pool in POOLS:
            await self.cohort.declare_now(pool)

    async def reassert(self) -> None:
        if not self.requests:
            return
        request = self.chance.choice(list(self.requests.values()))
        reply = await self.cohort.reassert(
            request.token,
            self.fences[request.name],
            pool=None,
            pools=tuple(Units(pool=pool, weight=weight) for pool, weight in request.units),
            project=request.project,
            domain=request.domain,
            lease_seconds=HOUR,
        )
        assert reply.status == self.model.reassert(request)

    async def end_quarantine(self) -> None:
        await self.server.hset(f"{KEY}state", "until", 1)
        await self.server.zadd(f"{KEY}due", dict.fromkeys(POOLS, 1))
        self.model.end_quarantine()
        await self.cohort.sweep()

    def some_name(self) -> TokenName:
        """Return the name of a token that is held or waits, most of the time."""
        known = [held.name for held in self.model.held]
        known += [waiter.request.name for waiter in self.model.waiting]
        return self.chance.choice([*known, ("unknown", ("gpu",))])


def as_model(reply: Allocated) -> Reply:
    blockers = tuple(Blocker(b.limit, b.pool, b.number, b.held) for b in reply.blockers)
    return Reply(reply.status, reply.position, blockers)


@pytest.mark.timeout(240 * PATIENCE_SECONDS)
@pytest.mark.parametrize("reserving", [True, False])
async def test_every_step_of_a_history_has_the_result_of_the_model(
    tmp_path: Path, operations: int, seed: int, reserving: bool
) -> None:
    reserve_after = 0.0 if reserving else HOUR
    rules = Rules(
        max_lease=HOUR,
        keep_waiter=HOUR,
        reserve_after=reserve_after,
        reserve_idle=HOUR,
        ageing=AGEING,
    )
    pools = (PoolChanged(name=pool, quota=4) for pool in POOLS)
    with ValkeyServer(tmp_path) as server:
        async with (
            redis.asyncio.Redis.from_url(server.url) as client,
            open_cohort(server.port, rules, *pools) as cohort,
        ):
            history = History(seed, cohort, client, reserving=reserving)
            for pool in POOLS:
                await cohort.declare_now(pool)
            for _ in range(operations // OPERATIONS_PER_STEP):
                await history.step()
