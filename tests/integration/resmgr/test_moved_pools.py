"""A pool that moves to another cohort is granted there once nothing of it is held where it was."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from random import Random

import pytest
import redis.asyncio
from nats.aio.client import Client

from tests.integration.resmgr.direct import CEILING, SCOPE
from tests.integration.resmgr.running import (
    Caller,
    ErrorReply,
    eventually,
    redis_config,
    started,
)
from tests.servers import PATIENCE_SECONDS, NatsServer, ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab.errors import Unavailable
from trimtab.messages import subjects
from trimtab.messages.events import PoolChanged
from trimtab.settings.state import Settings
from trimtab.tokens.protocol import Allocate, Allocated, Locate, Located, Reassert, Renewed
from trimtab_admin.messaging import streams
from trimtab_resmgr import encoding
from trimtab_resmgr.cohorts import Cohorts
from trimtab_resmgr.config import Redis
from trimtab_resmgr.homes import Homes, Moved, Place
from trimtab_resmgr.scripts import connect
from trimtab_resmgr.store import Count, Effects, Rules

DAY = PoolChanged(name="gpu", quota=10)
NIGHT = PoolChanged(name="gpu", quota=10, cohort="night")
NOW = {"wait_seconds": 0.0}


@pytest.fixture
async def moved(
    caller: Caller, settings_stream: SettingsStream, valkey_server: ValkeyServer
) -> Caller:
    """A caller of a service that has granted 4 of 10 units, whose pool moved to ``night``."""
    valkey_server.declare_new("night")
    await caller.allocate("day", weight=4)
    await settings_stream.announce(NIGHT)
    await eventually(lambda: is_refused(caller))
    return caller


async def is_refused(caller: Caller) -> bool:
    try:
        await caller.allocate("x", weight=11)
    except ErrorReply as error:
        return "this one is of 'night'" in str(error)
    return False


async def test_nothing_is_granted_before_the_old_cohort_is_empty(moved: Caller) -> None:
    refused = await moved.allocate("night", cohort="night", **NOW)
    assert (refused.status, refused.blockers[0].limit) == ("exhausted", "inactive")
    assert refused.reason == (
        "pool 'gpu' is granted here once nothing of it is held in cohort 'default': 4 held"
    )
    assert (await moved.renew("day")).status == "held"
    assert await moved.release("day")
    granted = await moved.allocate("night", cohort="night", weight=10)
    assert (granted.status, granted.held) == ("granted", 10)


async def test_a_waiter_of_the_new_cohort_is_granted_when_the_old_one_is_empty(
    moved: Caller, client: Client
) -> None:
    hints = await client.subscribe("trimtab.resmgr.granted.night.*")
    waiting = await moved.allocate("night", cohort="night", wait_seconds=600)
    assert waiting.status == "waiting"
    await moved.release("day")
    await hints.next_msg(timeout=PATIENCE_SECONDS)
    assert (await moved.allocate("night", cohort="night", wait_seconds=600)).status == "granted"


async def test_a_lease_that_ends_in_the_old_cohort_makes_room(
    caller: Caller, settings_stream: SettingsStream, valkey_server: ValkeyServer
) -> None:
    valkey_server.declare_new("night")
    await caller.allocate("day", weight=10, lease_seconds=0.5)
    await settings_stream.announce(NIGHT)

    async def granted() -> bool:
        try:
            reply = await caller.allocate("night", cohort="night", wait_seconds=600)
        except ErrorReply:
            return False
        return reply.status == "granted"

    await eventually(granted)


async def test_a_pool_that_moves_back_is_granted_with_what_is_held(
    moved: Caller, settings_stream: SettingsStream
) -> None:
    await settings_stream.announce(DAY)

    async def refused() -> bool:
        try:
            reply = await moved.allocate("back", weight=7, **NOW)
        except ErrorReply:
            return False
        return reply.reason == "pool 'gpu' has a quota of 10: 4 held, 7 requested"

    await eventually(refused)
    assert (await moved.allocate("back", weight=6, **NOW)).status == "granted"


async def test_a_pool_that_is_deleted_and_declared_in_another_cohort_is_not_granted_twice(
    caller: Caller, settings_stream: SettingsStream, valkey_server: ValkeyServer
) -> None:
    valkey_server.declare_new("night")
    await caller.allocate("day", weight=4)
    await settings_stream.announce(DAY.model_copy(update={"deleted": True}))
    await settings_stream.announce(NIGHT)

    async def is_known() -> bool:
        try:
            await caller.allocate("night", cohort="night", **NOW)
        except ErrorReply:
            return False
        return True

    await eventually(is_known)
    assert (await caller.allocate("night", cohort="night", **NOW)).status == "exhausted"
    assert await caller.release("day")
    assert (await caller.allocate("night", cohort="night", **NOW)).status == "granted"


async def test_an_undeclared_pool_does_not_move_while_it_is_held(
    caller: Caller, settings_stream: SettingsStream, valkey_server: ValkeyServer
) -> None:
    valkey_server.declare_new("night")
    await settings_stream.announce(PoolChanged(name="*", quota=3))
    assert (await caller.allocate("a", "some")).status == "granted"
    await settings_stream.announce(PoolChanged(name="some", quota=3, cohort="night"))

    async def status() -> str:
        try:
            return (await caller.allocate("b", "some", cohort="night", **NOW)).status
        except ErrorReply:
            return ""

    await eventually(lambda: _is(status(), "exhausted"))
    await caller.release("a", "some")
    assert await status() == "granted"


async def _is(found: Awaitable[str], expected: str) -> bool:
    return await found == expected


async def test_a_cohort_without_pools_keeps_its_holders_over_a_restart(
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    client: Client,
    settings_stream: SettingsStream,
) -> None:
    valkey_server.declare_new("night")
    await settings_stream.announce(NIGHT)
    configured = redis_config(nats_server, valkey_server)
    caller = Caller(client)
    async with started(configured):
        assert (await caller.allocate("night", cohort="night", weight=4)).status == "granted"
    await settings_stream.announce(DAY)
    async with started(configured):
        assert (await caller.allocate("day", **NOW)).status == "exhausted"
        body = b'{"pool": "gpu", "token": "night"}'
        assert b'"held"' in await caller.send("renew", body, cohort="night")
        assert b'"released":true' in await caller.send("release", body, cohort="night")
        assert (await caller.allocate("day", **NOW)).status == "granted"


async def test_the_home_of_a_pool_can_be_located(moved: Caller) -> None:
    await moved.allocate("waits", cohort="night", wait_seconds=600)
    found = await moved.request(Located, Locate(pool="gpu"))
    assert (found.cohort, found.held, found.waiting) == ("default", 4, 0)
    await moved.release("day")
    await eventually(lambda: is_home(moved, "night"))
    unknown = await moved.request(Located, Locate(pool="unknown"))
    assert (unknown.cohort, unknown.held) == (None, 0)


async def is_home(caller: Caller, cohort: str) -> bool:
    return (await caller.request(Located, Locate(pool="gpu"))).cohort == cohort


async def test_a_token_cannot_be_reasserted_in_a_cohort_that_does_not_count_it(
    moved: Caller, valkey_server: ValkeyServer
) -> None:
    await moved.release("day")
    await eventually(lambda: is_home(moved, "night"))
    valkey_server.send(b"HSET trimtab:{default}:state run another\r\n")
    fields = {"pool": "gpu", "token": "day", "fence": 1, "project": "p", "domain": "d"}
    reply = await moved.request(Renewed, Reassert.model_validate(fields))
    assert reply.status == "lost"
    assert reply.reason == "pool 'gpu' is counted in another cohort than 'default'"


async def test_limits_apply_when_the_settings_begin_again(
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    client: Client,
    settings_stream: SettingsStream,
) -> None:
    configured = redis_config(nats_server, valkey_server)
    caller = Caller(client)
    for quota in (7, 8, 9):
        await settings_stream.announce(PoolChanged(name="gpu", quota=quota))
    async with started(configured):
        assert (await caller.allocate("a", weight=4)).status == "granted"
    await client.jetstream().delete_stream(subjects.SETTINGS)
    await streams.bootstrap(client)
    await SettingsStream(client).announce(PoolChanged(name="gpu", quota=5))
    async with started(configured):
        refused = await caller.allocate("b", weight=2, **NOW)
        assert refused.reason == "pool 'gpu' has a quota of 5: 4 held, 2 requested"


# Two replicas whose settings are of different times, and random steps of both.


class Replica:
    """The cohorts of one replica, and settings that a test changes."""

    def __init__(self, cohorts: Cohorts, settings: Settings) -> None:
        self.cohorts = cohorts
        self.settings = settings

    def apply(self, pool: PoolChanged, revision: int) -> None:
        if revision > self.settings.revision:
            self.settings.apply(pool, revision)
            self.cohorts.on_change([pool.name])

    async def allocate(self, token: str, cohort: str) -> bool:
        """Request a unit as `RedisManager` does. Return whether it is granted."""
        request = Allocate.model_validate({"pool": "gpu", "token": token, **SCOPE, **NOW})
        limits = self.cohorts.limits("gpu", cohort)
        if limits is None:
            await self.cohorts.move(["gpu"], cohort)
            limits = self.cohorts.limits("gpu", cohort)
        if limits is None:
            limits = self.cohorts.closed_limits("gpu", cohort)
        submission = (encoding.allocate(request, 60.0), (limits,))
        [reply] = await self.cohorts.store(cohort).submit(submission)
        allocated: Allocated = encoding.parse_allocated(request, 60.0, reply)
        return allocated.status == "granted"


class FixedView:
    """Settings that a test changes, in place of those that follow a stream."""

    def __init__(self) -> None:
        self.settings = Settings()


@asynccontextmanager
async def open_replicas(port: int, number: int) -> AsyncIterator[list[Replica]]:
    client = connect(Redis(host_paths=(f"127.0.0.1:{port}",)), timeout=PATIENCE_SECONDS)
    async with client, asyncio.TaskGroup() as tasks:
        found = []
        for _ in range(number):
            view, unused = FixedView(), Client()
            cohorts = Cohorts(
                unused,
                client,
                view,  # type: ignore[arg-type]  # Only its settings are used.
                tasks,
                Rules(),
                CEILING,
                lambda _effects: None,
            )
            found.append(Replica(cohorts, view.settings))
        yield found


@pytest.mark.parametrize("cohort_names", [("default", "night"), ("default", "night", "away")])
async def test_no_order_of_changes_grants_a_quota_twice(
    valkey_server: ValkeyServer, seed: int, operations: int, cohort_names: tuple[str, ...]
) -> None:
    """Replicas see each change at different times, and their steps run at the same time."""
    for cohort in cohort_names:
        valkey_server.declare_new(cohort)
    chance, quota = Random(seed), 2
    async with (
        redis.asyncio.Redis.from_url(valkey_server.url) as server,
        open_replicas(valkey_server.port, 3) as found,
    ):
        changes = [PoolChanged(name="gpu", quota=quota)]
        grants = Counter[str]()

        async def step(replica: Replica) -> None:
            act = chance.random()
            seen = replica.settings.revision
            if act < 0.03:
                cohort = chance.choice(cohort_names)
                changes.append(PoolChanged(name="gpu", quota=quota, cohort=cohort))
            elif act < 0.3 and seen < len(changes):
                replica.apply(changes[seen], seen + 1)
            elif act < 0.4:
                await replica.cohorts.move(["gpu"], chance.choice(cohort_names))
            elif seen and act < 0.8:
                own = replica.settings.pool("gpu").cohort
                grants[own] += await replica.allocate(f"t{chance.randrange(3)}", own)
            else:
                token, cohort = f"t{chance.randrange(3)}", chance.choice(cohort_names)
                await replica.cohorts.store(cohort).submit((("release", token, ["gpu"], False), ()))

        for replica in found:
            replica.apply(changes[0], 1)
        for _ in range(max(operations // 20, 100)):
            await asyncio.gather(*(step(replica) for replica in found))
            held = [await server.hget(f"trimtab:{{{c}}}:sums:gpu", "t") for c in cohort_names]
            assert sum(int(units or 0) for units in held) <= quota
        # How many grants there are depends on the order in which the replicas run.
        assert sum(grants.values()) > operations // 2000
        assert sum(number > 0 for number in grants.values()) > 1  # It moved.


async def test_a_home_that_changed_while_it_was_closed_is_not_left(
    valkey_server: ValkeyServer,
) -> None:
    """The pool moves away and back again, and a replica is late with the first of both."""
    client = connect(
        Redis(host_paths=(f"127.0.0.1:{valkey_server.port}",)), timeout=PATIENCE_SECONDS
    )

    async def close(_home: str, _pool: str, _version: encoding.Version) -> Count:
        [back] = (await homes.move([Place("gpu", "day", encoding.Version(0, 3))])).values()
        assert back is None
        return Count(is_final=True, held=0, waiting=0)

    async with client:
        homes = Homes(client, close)
        await homes.move([Place("gpu", "day", encoding.Version(0, 1))])
        [left] = (await homes.move([Place("gpu", "night", encoding.Version(0, 2))])).values()
        assert left is not None
        assert await homes.find("gpu") == "day"


async def test_a_token_is_reasserted_while_a_reply_in_the_quarantine_clears_the_known_homes(
    valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply arrives between the end of the search for the home and the use of what it found."""
    quarantined = Effects((), frozenset(), 0, 0, (), quarantined=True, seconds=0.0)
    async with open_replicas(valkey_server.port, 1) as [replica]:
        cohorts = replica.cohorts
        replica.apply(PoolChanged(name="gpu", quota=2), 1)
        search = cohorts._homes.move

        async def move(places: Sequence[Place]) -> dict[str, Moved]:
            found = await search(places)
            asyncio.get_running_loop().call_soon(cohorts._process, "default", quarantined)
            return found

        monkeypatch.setattr(cohorts._homes, "move", move)
        assert await cohorts.check_reassert(["gpu"], "default") == ""
        assert cohorts.limits("gpu", "default") is None  # The reply did clear them.


async def test_what_has_ended_is_freed_while_no_home_can_be_stored(
    valkey_server: ValkeyServer,
) -> None:
    valkey_server.declare_new("default")
    async with (
        redis.asyncio.Redis.from_url(valkey_server.url) as server,
        open_replicas(valkey_server.port, 1) as [replica],
    ):
        replica.apply(PoolChanged(name="gpu", quota=2), 1)
        await replica.cohorts.move(["gpu"], "default")
        assert await replica.allocate("t0", "default")
        await server.zadd("trimtab:{default}:leases:gpu", {"t0": 1})
        await server.zadd("trimtab:{default}:due", {"gpu": 1})
        await server.config_set("maxmemory", 1)
        replica.cohorts.on_change(["gpu"])
        with pytest.raises(Unavailable, match="memory"):
            await replica.cohorts._sweep(["gpu"])
        assert not await server.exists("trimtab:{default}:tokens:gpu")
        await server.config_set("maxmemory", 0)


async def test_a_search_that_ends_late_does_not_undo_that_a_pool_has_moved_meanwhile(
    valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began while the pool was held, and waits for the home of another one, which is slow."""
    for cohort in ("default", "night"):
        valkey_server.declare_new(cohort)
    may_end = asyncio.Event()
    async with open_replicas(valkey_server.port, 1) as [replica]:
        cohorts = replica.cohorts
        replica.apply(DAY, 1)
        assert await replica.allocate("t0", "default")
        replica.apply(NIGHT, 2)
        search, found_left = cohorts._homes.move, asyncio.Event()

        async def move(places: Sequence[Place]) -> dict[str, Moved]:
            found = await search(places)
            if not found_left.is_set():
                found_left.set()
                await may_end.wait()
            return found

        monkeypatch.setattr(cohorts._homes, "move", move)
        late = asyncio.create_task(cohorts.move(["gpu"], "night"))
        await found_left.wait()
        await cohorts.store("default").submit((("release", "t0", ["gpu"], False), ()))
        assert await cohorts.move(["gpu"], "night") == {"gpu"}
        may_end.set()
        assert await late == {"gpu"}
        assert cohorts.left("gpu") is None
