"""Random histories, each step compared with a model and audited.

``--operations`` says how long they are, ``--seed`` which.
"""

from pathlib import Path
from random import Random

import pytest
import redis.asyncio

from tests.integration.resmgr.direct import Cohort, cohort
from tests.integration.resmgr.model import AGEING, Ask, Blocker, Limits, Model, Reply
from tests.servers import ValkeyServer
from trimtab.messages.events import PoolChanged
from trimtab.tokens.protocol import Allocated, Units
from trimtab_resmgr.leases import Rules

SHARE = 20
"""Of the operations one is a step here, in each history: eight more look what it has done."""
POOLS = ("gp", "gpu", "seats")
HOUR = 3600.0
KEY = "trimtab:{default}:"


class History:
    """The product and the model, side by side."""

    def __init__(
        self, seed: int, asked: Cohort, server: redis.asyncio.Redis, *, ripe: bool
    ) -> None:
        self.chance = Random(seed)
        self.asked = asked
        self.server = server
        self.model = Model({pool: Limits(4) for pool in POOLS}, ripe=ripe)
        self.fences: dict[tuple[str, tuple[str, ...]], int] = {}
        self.asks: dict[tuple[str, tuple[str, ...]], Ask] = {}

    async def step(self) -> None:
        """Do one thing at random to both, and compare."""
        calm = not self.model.quarantined
        weights = {
            self.allocate: 50,
            self.ask_again: 20,
            self.release: 18,
            self.renew: 4,
            self.reprioritize: 4,
            self.declare: 3,
            self.end: 4 * calm,
            self.forget: 4 * calm,
            self.lose: 0.3 * calm,
            self.flush: 0.3 * calm,
            self.reassert: 0 if calm else 30,
            self.calm: 0 if calm else 5,
        }
        [act] = self.chance.choices(list(weights), list(weights.values()))
        self.model.woken.clear()
        self.asked.news.clear()
        await act()
        woken = [each.token for news in self.asked.news for each in news.woken]
        assert woken == self.model.woken, act.__name__
        for pool in POOLS:
            assert await self.asked.audit(pool) == (), act.__name__
            found = await self.asked.inspect(pool)
            assert found.held == self.model.units(pool), act.__name__
            expected = [each.ask.token for each in self.model.order(pool)]
            assert [each.token for each in found.waiters] == expected, act.__name__

    async def allocate(self) -> None:
        some = self.chance.sample(POOLS, self.chance.choice((1, 1, 1, 2, 3)))
        ask = Ask(
            token=f"t{self.chance.randint(0, 9)}",
            units=tuple((pool, self.chance.choice((1, 1, 2, 3))) for pool in sorted(some)),
            project=self.chance.choice(("flyte", "flytesnacks", "f")),
            domain=self.chance.choice(("dev", "development")),
            priority=self.chance.choice((0, 0, 0, 1)),
            project_cap=self.chance.choice((None, None, None, 0, 2, 4)),
            domain_cap=self.chance.choice((None, None, None, 1, 3)),
            place=self.chance.random() < 0.9,
        )
        await self.take(ask)

    async def ask_again(self) -> None:
        if self.model.waiting:
            await self.take(self.chance.choice(self.model.waiting).ask)

    async def take(self, ask: Ask) -> None:
        held = self.model.holds(ask.id)
        expected = self.model.allocate(ask)
        answer = await self.asked.allocate(
            ask.token,
            pool=None,
            pools=tuple(Units(pool=pool, weight=weight) for pool, weight in ask.units),
            project=ask.project,
            domain=ask.domain,
            priority=ask.priority,
            project_cap=ask.project_cap,
            project_domain_cap=ask.domain_cap,
            lease_seconds=HOUR,
            wait_seconds=HOUR if ask.place else 0,
        )
        assert said(answer) == expected, ask
        if answer.status == "granted":
            self.granted(ask, answer.fence or 0, anew=not held)

    def granted(self, ask: Ask, fence: int, *, anew: bool) -> None:
        name = ask.id
        if anew:
            assert fence > max(self.fences.values(), default=0)
        self.fences[name] = fence
        self.asks[name] = next(each for each in self.model.held if each.id == name)

    async def release(self) -> None:
        token, pools = self.some_name()
        expected = self.model.release((token, pools))
        answer = await self.asked.release(token, pool=None, pools=pools)
        assert (answer.released or answer.withdrew) == expected

    async def renew(self) -> None:
        token, pools = self.some_name()
        answer = await self.asked.renew(token, pool=None, pools=pools, lease_seconds=HOUR)
        lost = "reassert" if self.model.quarantined else "lost"
        assert answer.status == ("held" if self.model.holds((token, pools)) else lost)

    async def reprioritize(self) -> None:
        token, pools = self.some_name()
        priority = self.chance.choice((-1, 0, 1, 2))
        expected = self.model.reprioritize((token, pools), priority)
        answer = await self.asked.reprioritize(token, priority, pools=pools)
        assert (answer.waiting, answer.position) == (expected is not None, expected or None)

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
        self.declared(pool, limits)
        await self.asked.announce(pool)

    def declared(self, pool: str, limits: Limits) -> None:
        caps = {"project_cap": limits.project_cap, "project_domain_cap": limits.domain_cap}
        more = {"max_weight": limits.max_weight, "active": limits.active}
        known = {"name": pool, "quota": limits.quota, **caps, **more}
        self.asked.declare(PoolChanged.model_validate(known))

    async def end(self) -> None:
        """Time cannot be turned forward, but the end of a lease can be turned back."""
        if self.model.held:
            token, pools = self.chance.choice(self.model.held).id
            member = "\n".join((token, *pools)) if len(pools) > 1 else token
            for pool in pools:
                await self.server.zadd(f"{KEY}leases:{pool}", {member: 1}, xx=True)
                await self.server.zadd(f"{KEY}due", {pool: 1})
            self.model.end((token, pools))
            await self.asked.sweep()

    async def forget(self) -> None:
        if self.model.waiting:
            token, pools = self.chance.choice(self.model.waiting).ask.id
            await self.server.zadd(f"{KEY}patience", {"\n".join((*pools, token)): 1}, xx=True)
            self.model.forget((token, pools))
            await self.asked.sweep()

    async def lose(self) -> None:
        await self.server.hset(f"{KEY}state", "run", "another")
        self.model.lose()

    async def flush(self) -> None:
        await self.server.flushall()
        self.model.flush()
        for pool in POOLS:
            await self.asked.announce(pool)

    async def reassert(self) -> None:
        if not self.asks:
            return
        ask = self.chance.choice(list(self.asks.values()))
        answer = await self.asked.reassert(
            ask.token,
            self.fences[ask.id],
            pool=None,
            pools=tuple(Units(pool=pool, weight=weight) for pool, weight in ask.units),
            project=ask.project,
            domain=ask.domain,
            lease_seconds=HOUR,
        )
        assert answer.status == self.model.reassert(ask)

    async def calm(self) -> None:
        await self.server.hset(f"{KEY}state", "until", 1)
        await self.server.zadd(f"{KEY}due", dict.fromkeys(POOLS, 1))
        self.model.calm()
        await self.asked.sweep()

    def some_name(self) -> tuple[str, tuple[str, ...]]:
        """Of a token that is held or waits, most of the time."""
        known = [each.id for each in self.model.held]
        known += [each.ask.id for each in self.model.waiting]
        return self.chance.choice([*known, ("nobody", ("gpu",))])


def said(answer: Allocated) -> Reply:
    blockers = tuple(Blocker(b.limit, b.pool, b.number, b.held) for b in answer.blockers)
    return Reply(answer.status, answer.position, blockers)


@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("ripe", [True, False])
async def test_every_step_of_a_history_ends_as_the_model_says(
    tmp_path: Path, operations: int, seed: int, ripe: bool
) -> None:
    rules = Rules(lease=HOUR, place=HOUR, ripe=0.0 if ripe else HOUR, ageing=AGEING)
    pools = (PoolChanged(name=pool, quota=4) for pool in POOLS)
    with ValkeyServer(tmp_path) as server:
        async with (
            redis.asyncio.Redis.from_url(server.url) as client,
            cohort(server.port, rules, *pools) as asked,
        ):
            history = History(seed, asked, client, ripe=ripe)
            for pool in POOLS:
                await asked.announce(pool)
            for _ in range(operations // SHARE):
                await history.step()
