"""Random histories against a model that shares no code with the product, audited at each step."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.servers import ValkeyServer
from trimtab.tokens import Allocate, Release
from trimtab_resmgr.connection import connect
from trimtab_resmgr.leases import Leases
from trimtab_resmgr.pools import Limit, Limits
from trimtab_resmgr.settings import Redis

POOLS = ("gpu", "gp")
PROJECTS = ("flyte", "flytesnacks", "f")
DOMAINS = ("dev", "development")


class Ask(NamedTuple):
    pool: str
    token: str
    project: str
    domain: str
    weight: int
    quota: int
    project_cap: int | None
    domain_cap: int | None


class Give(NamedTuple):
    pool: str
    token: str


class End(NamedTuple):
    """The lease of a token ends, if it is held."""

    pool: str
    token: str


Step = Ask | Give | End

names = st.integers(0, 7).map(str)
caps = st.none() | st.integers(0, 6)
asks = st.builds(
    Ask,
    st.sampled_from(POOLS),
    names,
    st.sampled_from(PROJECTS),
    st.sampled_from(DOMAINS),
    st.integers(1, 4),
    st.integers(1, 9),
    caps,
    caps,
)
others = st.one_of(*(st.builds(each, st.sampled_from(POOLS), names) for each in (Give, End)))
histories = st.lists(st.one_of(asks, asks, others), min_size=20, max_size=80)


@dataclass
class Model:
    """What is held, as a list; everything else is counted from it."""

    held: list[Ask] = field(default_factory=list)

    def take(self, step: Step) -> bool:
        mine = [each for each in self.held if (each.pool, each.token) == (step.pool, step.token)]
        match step:
            case Ask() if mine:
                return True
            case Ask():
                if granted := self._fits(step):
                    self.held.append(step)
                return granted
            case Give() | End():
                self.held = [each for each in self.held if each not in mine]
                return bool(mine)

    def _fits(self, ask: Ask) -> bool:
        pool = [each for each in self.held if each.pool == ask.pool]
        project = [each for each in pool if each.project == ask.project]
        domain = [each for each in project if each.domain == ask.domain]
        limited = ((pool, ask.quota), (project, ask.project_cap), (domain, ask.domain_cap))
        return all(
            limit is None or sum(each.weight for each in group) + ask.weight <= limit
            for group, limit in limited
        )


async def take(leases: Leases, client: redis.Redis, step: Step) -> bool:
    match step:
        case Ask(pool, token, project, domain, weight):
            ask = Allocate(pool=pool, token=token, project=project, domain=domain, weight=weight)
            return (await leases.allocate(ask, limits(step))).refused_by is None
        case Give(pool, token):
            return await leases.release(Release(pool=pool, token=token))
        case End(pool, token):
            # Time cannot be turned forward, but the end of a lease can be turned back.
            key = f"trimtab:{{default}}:leases:{pool}"
            return client.zadd(key, {token: 1}, xx=True, ch=True) == 1


def limits(ask: Ask) -> Limits:
    caps = {Limit.PROJECT: ask.project_cap, Limit.PROJECT_DOMAIN: ask.domain_cap}
    return {Limit.QUOTA: ask.quota, **{by: cap for by, cap in caps.items() if cap is not None}}


async def replay(server: ValkeyServer, history: list[Step]) -> None:
    model = Model()
    connection = connect(Redis(host_paths=(f"127.0.0.1:{server.port}",)))
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        async with connection, asyncio.TaskGroup() as tasks:
            leases = Leases(connection, tasks, "default")
            for step in history:
                assert await take(leases, client, step) == model.take(step), step
                assert await leases.audit(step.pool) == []
                held = sum(each.weight for each in model.held if each.pool == step.pool)
                assert (await leases.inspect(step.pool)).held == held


def test_every_history_ends_as_the_model_says(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path) as server, asyncio.Runner() as runner:

        @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
        @given(histories)
        def replayed(history: list[Step]) -> None:
            runner.run(replay(server, history))

        replayed()
