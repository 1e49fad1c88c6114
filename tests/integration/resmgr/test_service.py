"""The whole service of type redis: limits under concurrency, hints, statistics, outages."""

import asyncio
import json
import os
import signal
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis
from nats.aio.client import Client
from starlette.applications import Starlette

from tests.integration.resmgr.running import (
    PATIENCE_SECONDS,
    Caller,
    ErrorReply,
    eventually,
    is_ready,
    redis_config,
    started,
    unready_reasons,
)
from tests.servers import NatsServer, ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab.messages import subjects
from trimtab.messages.events import PoolChanged
from trimtab.tokens import protocol
from trimtab_resmgr.scripts import MAX_CONNECTIONS


async def test_of_forty_concurrent_requests_exactly_ten_are_granted(caller: Caller) -> None:
    for round_ in range(20):
        tokens = [f"{round_}/{number}" for number in range(40)]
        answers = await asyncio.gather(*map(caller.allocate, tokens))
        assert Counter(a.status for a in answers) == {"granted": 10, "exhausted": 30}
        assert (await caller.inspect()).held == 10
        released = await asyncio.gather(*map(caller.release, tokens))
        assert sum(released) == 10


async def test_a_refusal_names_the_limit_and_its_numbers(caller: Caller) -> None:
    await caller.allocate("a", weight=8)
    full = await caller.allocate("b", weight=3)
    assert full.reason == "pool 'gpu' has a quota of 10: 8 held, 3 requested"
    assert (full.status, full.held) == ("exhausted", 8)


async def test_a_request_that_never_fits_is_refused_at_once(caller: Caller) -> None:
    answers = [
        await caller.allocate("a", weight=11),
        await caller.allocate("b", project_cap=0),
        await caller.allocate("c", weight=3, project_domain_cap=2),
    ]
    assert [answer.status for answer in answers] == ["never_fits"] * 3
    assert answers[0].reason == "pool 'gpu' has a quota of 10, so 11 can never be granted"


async def test_caps_of_the_pool_and_of_the_request_both_apply(
    caller: Caller, settings_stream: SettingsStream
) -> None:
    capped = PoolChanged(name="capped", quota=10, project_cap=3, project_domain_cap=2)
    await settings_stream.announce(capped)
    scopes = [("flyte", "dev")] * 3 + [("flyte", "prod")] * 2 + [("flytesnacks", "dev")]
    statuses = [
        (await caller.allocate(str(n), "capped", project=project, domain=domain)).status
        for n, (project, domain) in enumerate(scopes)
    ]
    granted, exhausted = "granted", "exhausted"
    assert statuses == [granted, granted, exhausted, granted, exhausted, granted]
    assert (await caller.allocate("x", "capped", project_cap=1)).status == exhausted


async def test_after_a_lowered_quota_nothing_is_granted_until_enough_is_released(
    caller: Caller, settings_stream: SettingsStream
) -> None:
    for token in "abcde":
        await caller.allocate(token)
    await settings_stream.announce(PoolChanged(name="gpu", quota=2))
    await eventually(lambda: has_quota(caller, 2))
    for token, status in [("a", "exhausted"), ("b", "exhausted"), ("c", "exhausted")]:
        assert (await caller.allocate("new")).status == status
        await caller.release(token)
    assert (await caller.allocate("d")).status == "granted"
    await caller.release("d")
    assert (await caller.allocate("new")).status == "granted"


async def test_a_lease_ends_without_renewals(caller: Caller) -> None:
    await caller.allocate("a", weight=10, lease_seconds=0.2)

    async def freed() -> bool:
        return (await caller.allocate("b", weight=10)).status == "granted"

    await eventually(freed)
    assert [holder.token for holder in (await caller.inspect()).holders] == ["b"]


async def test_an_unknown_pool_is_an_error_that_names_the_known_ones(caller: Caller) -> None:
    with pytest.raises(ErrorReply, match="pool 'cpu' does not exist; there are: gpu") as refused:
        await caller.allocate("a", pool="cpu")
    assert refused.value.headers["Nats-Service-Error-Code"] == "404"


async def test_a_request_waits_for_a_pool_that_is_being_created(
    caller: Caller, settings_stream: SettingsStream
) -> None:
    answer = asyncio.create_task(caller.allocate("a", pool="new"))
    await settings_stream.announce(PoolChanged(name="new", quota=1))
    assert (await answer).status == "granted"


async def test_without_redis_callers_get_503_and_are_served_again_later(
    caller: Caller, valkey_server: ValkeyServer
) -> None:
    await caller.allocate("a", weight=10)
    valkey_server.stop()
    with pytest.raises(ErrorReply, match="Redis does not answer") as refused:
        await caller.allocate("b")
    assert refused.value.headers["Nats-Service-Error-Code"] == "503"
    valkey_server.start()
    assert (await caller.allocate("b")).status == "exhausted"


async def test_a_flushed_redis_is_used_again_after_the_quarantine(
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    client: Client,
    settings_stream: SettingsStream,
) -> None:
    await settings_stream.announce(PoolChanged(name="gpu", quota=10))
    caller = Caller(client)
    async with started(redis_config(nats_server, valkey_server, times={"maxLeaseSeconds": 0.5})):
        fence = (await caller.allocate("a", weight=8)).fence
        valkey_server.flush()
        assert (await caller.renew("a", fence=fence)).status == "reassert"
        held = protocol.Reassert(
            pool="gpu", weight=8, token="a", project="p", domain="d", fence=fence or 0
        )
        assert (await caller.request(protocol.Renewed, held)).status == "held"
        assert (await caller.allocate("b", wait_seconds=60)).blockers[0].limit == "quarantine"
        assert (await caller.inspect()).quarantine_seconds > 0

        async def granted() -> bool:
            return (await caller.allocate("b", wait_seconds=60)).status == "granted"

        await eventually(granted)


async def test_all_concurrent_callers_get_503_at_once_from_a_redis_that_hangs(
    caller: Caller, valkey_server: ValkeyServer
) -> None:
    await caller.allocate("a")
    with redis.Redis.from_url(valkey_server.url) as client:
        process = client.info("server")["process_id"]
    os.kill(process, signal.SIGSTOP)
    try:
        # Sequential timeouts would take more than a minute.
        async with asyncio.timeout(PATIENCE_SECONDS):
            requests = (caller.allocate(str(number)) for number in range(64))
            answers = await asyncio.gather(*requests, return_exceptions=True)
    finally:
        os.kill(process, signal.SIGCONT)
    assert {code_of(answer) for answer in answers} == {503}
    # Requests that Redis had received may be granted now, so the pool may be full.
    assert (await caller.allocate("a")).status == "granted"


async def test_two_replicas_share_requests_and_service_discovery_finds_both(
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    client: Client,
    settings_stream: SettingsStream,
) -> None:
    await settings_stream.announce(PoolChanged(name="gpu", quota=10))
    configured = redis_config(nats_server, valkey_server)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(started(configured))
        answers = await asyncio.gather(*(Caller(client).allocate(str(n)) for n in range(200)))
        assert Counter(a.status for a in answers) == {"granted": 10, "exhausted": 190}
        assert len(await discovered(client, "PING", 2)) == 2
        stats = await discovered(client, "STATS", 2)
    served = [endpoint_of(each, "allocate")["num_requests"] for each in stats]
    assert sum(served) == 200
    assert all(served)


async def test_service_statistics_count_requests_and_errors(caller: Caller, client: Client) -> None:
    await caller.allocate("a")
    with pytest.raises(ErrorReply):
        await caller.send("allocate", b"no JSON")
    [stats] = await discovered(client, "STATS", 1)
    allocate = endpoint_of(stats, "allocate")
    assert (allocate["num_requests"], allocate["num_errors"]) == (2, 1)
    assert allocate["last_error"].startswith("400:")
    assert allocate["average_processing_time"] > 0


async def test_a_release_may_be_published_without_a_reply_subject(
    caller: Caller, client: Client
) -> None:
    await caller.allocate("a", weight=10)
    await client.publish("trimtab.resmgr.release.default", b'{"pool": "gpu", "token": "a"}')

    async def freed() -> bool:
        return (await caller.inspect()).held == 0

    await eventually(freed)


async def test_a_request_may_carry_a_trace(caller: Caller, client: Client) -> None:
    body = b'{"pool": "gpu", "token": "a", "project": "flyte", "domain": "development"}'
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    subject = "trimtab.resmgr.allocate.default"
    answer = await client.request(subject, body, timeout=PATIENCE_SECONDS, headers=trace)
    assert json.loads(answer.data)["status"] == "granted"


async def test_a_granted_waiter_gets_a_hint_on_its_subject(caller: Caller, client: Client) -> None:
    hints = await client.subscribe(subjects.granted(protocol.COHORT, "b/0"))
    await caller.allocate("a", weight=10)
    assert (await caller.allocate("b/0", wait_seconds=60)).status == "waiting"
    await caller.release("a")
    message = await hints.next_msg(timeout=PATIENCE_SECONDS)
    hint = protocol.TokenGranted.model_validate_json(message.data)
    assert (hint.token, hint.pools, hint.claim_seconds) == ("b/0", ("gpu",), 10)
    assert (await caller.allocate("b/0", wait_seconds=60)).status == "granted"


async def test_a_sweep_grants_a_waiter_when_a_lease_ends(caller: Caller, client: Client) -> None:
    granted = await client.subscribe(subjects.granted(protocol.COHORT, "b"))
    lost = await client.subscribe(subjects.lost(protocol.COHORT, "a"))
    fence = (await caller.allocate("a", weight=10, lease_seconds=0.2)).fence
    await caller.allocate("b", wait_seconds=60)
    await granted.next_msg(timeout=PATIENCE_SECONDS)
    message = await lost.next_msg(timeout=PATIENCE_SECONDS)
    assert protocol.TokenLost.model_validate_json(message.data).fence == fence


async def test_a_larger_quota_grants_waiters(
    caller: Caller, client: Client, settings_stream: SettingsStream
) -> None:
    hints = await client.subscribe(subjects.granted(protocol.COHORT, "b"))
    await caller.allocate("a", weight=10)
    await caller.allocate("b", wait_seconds=60)
    await settings_stream.announce(PoolChanged(name="gpu", quota=11))
    await hints.next_msg(timeout=PATIENCE_SECONDS)


async def test_a_forced_release_sends_a_hint_to_the_holder(caller: Caller, client: Client) -> None:
    lost = await client.subscribe(subjects.lost(protocol.COHORT, "a"))
    await caller.allocate("a")
    force = protocol.ForceRelease(pool="gpu", token="a", actor="ann", why="it hangs")
    assert (await caller.request(protocol.Released, force)).released
    await lost.next_msg(timeout=PATIENCE_SECONDS)
    recounted = await caller.request(protocol.Recounted, protocol.Recount(pool="gpu"))
    assert recounted.differences == ()
    assert [(each.actor, each.why) for each in recounted.forced] == [("ann", "it hangs")]


async def test_each_request_of_a_batch_is_processed_on_its_own(caller: Caller) -> None:
    await caller.allocate("held")
    scope = {"project": "flyte", "domain": "development"}
    requests = [protocol.Allocate(pool=each, token="a", **scope) for each in ("gpu", "none")]
    names = ("held", "unheld")
    batch = protocol.Batch(
        allocate=tuple(requests),
        renew=tuple(protocol.Renew(pool="gpu", token=name) for name in names),
        release=tuple(protocol.Release(pool="gpu", token=name) for name in names),
    )
    answers = await caller.request(protocol.Batched, batch)
    assert [each.status for each in answers.allocate] == ["granted", "error"]
    assert answers.allocate[1].reason.startswith("pool 'none' does not exist")
    assert [each.status for each in answers.renew] == ["held", "lost"]
    assert [each.released for each in answers.release] == [True, False]


async def test_an_invalid_request_of_a_batch_rejects_no_other(caller: Caller) -> None:
    scope = {"pool": "gpu", "project": "flyte", "domain": "development"}
    batch = {
        "allocate": [{**scope, "token": "a", "weight": -1}, {**scope, "token": "b"}, 7],
        "renew": [{"pool": "gpu", "token": "b", "fence": "x"}],
        "release": [{"pool": "gpu"}, {"pool": "gpu", "token": "b"}],
    }
    body = await caller.send("batch", json.dumps(batch).encode())
    answers = protocol.Batched.model_validate_json(body)
    assert [each.status for each in answers.allocate] == ["error", "granted", "error"]
    assert answers.allocate[0].reason.startswith("weight: -1 is not valid")
    assert [each.status for each in answers.renew] == ["error"]
    assert [each.released for each in answers.release] == [False, True]
    assert answers.release[0].reason == "token is missing"
    with pytest.raises(ErrorReply, match="allocated is not known"):
        await caller.send("batch", b'{"allocated": []}')


async def test_no_reply_is_too_long_for_a_message(
    caller: Caller, settings_stream: SettingsStream
) -> None:
    await settings_stream.announce(PoolChanged(name="gpu", quota=900))
    await eventually(lambda: has_quota(caller, 900))
    requests = [
        protocol.Allocate(
            pool="gpu",
            token=f"{number:03}" + "é" * 497,
            project=f"{number:03}" + "é" * 197,
            domain="é" * 200,
        )
        for number in range(900)
    ]
    await asyncio.gather(*(caller.request(protocol.Allocated, each) for each in requests))
    found = await caller.inspect()
    assert (found.held, found.holding) == (900, 900)
    assert found.omitted > 0  # of the sums
    seen = [holder.token for holder in found.holders]
    while found.holders_next is not None:
        following = protocol.Inspect(pool="gpu", holders_after=found.holders_next)
        found = await caller.request(protocol.Inspected, following)
        seen += [holder.token for holder in found.holders]
    assert sorted(seen) == sorted(each.token for each in requests)


async def test_an_unknown_pool_is_an_error_however_many_there_are(
    caller: Caller, settings_stream: SettingsStream
) -> None:
    pools = (PoolChanged(name=f"{number:04}" + "x" * 190, quota=1) for number in range(60))
    await settings_stream.announce(*pools)
    with pytest.raises(ErrorReply, match="pool 'cpu' does not exist; there are: 0000x") as refused:
        await caller.allocate("a", pool="cpu")
    assert len(refused.value.problem.detail) < 5000


async def test_the_priority_of_a_waiter_can_be_changed(caller: Caller) -> None:
    await caller.allocate("a", weight=10)
    for token in "bc":
        await caller.allocate(token, wait_seconds=60)
    moved = await caller.request(
        protocol.Reprioritized, protocol.Reprioritize(pool="gpu", token="c", priority=1)
    )
    assert (moved.waiting, moved.position) == (True, 1)
    found = await caller.inspect()
    assert [(w.token, w.position, w.priority) for w in found.waiters] == [("c", 1, 1), ("b", 2, 0)]
    assert found.waiting == 2


async def test_a_pool_is_requested_in_its_own_cohort(
    caller: Caller, settings_stream: SettingsStream
) -> None:
    await settings_stream.announce(PoolChanged(name="far", quota=1, cohort="away"))
    with pytest.raises(ErrorReply, match="one of cohort 'default'; this one is of 'away'"):
        await caller.allocate("a", pool="far")
    answer = await caller.allocate("a", pool="far", cohort="away")
    # Redis has lost nothing since it was declared new, so neither has the cohort.
    assert answer.status == "granted"


async def test_undeclared_pools_have_the_limits_of_the_default(
    caller: Caller, settings_stream: SettingsStream
) -> None:
    await settings_stream.announce(PoolChanged(name="*", quota=1))
    statuses = [
        (await caller.allocate(token, pool="some", wait_seconds=0)).status for token in "ab"
    ]
    assert statuses == ["granted", "exhausted"]
    assert (await caller.inspect("some")).quota == 1


async def test_many_undeclared_pools_at_once_take_few_connections_to_redis(
    caller: Caller, settings_stream: SettingsStream, valkey_server: ValkeyServer
) -> None:
    await settings_stream.announce(PoolChanged(name="*", quota=1))
    await eventually(lambda: is_known(caller, "first"))
    answers = await asyncio.gather(
        *(caller.allocate("a", pool=f"some-{number}") for number in range(200))
    )
    assert {answer.status for answer in answers} == {"granted"}
    assert connections(valkey_server) < 10


async def test_many_calls_that_share_nothing_wait_for_a_connection(
    caller: Caller, valkey_server: ValkeyServer
) -> None:
    answers = await asyncio.gather(*(caller.inspect() for _ in range(200)))
    assert {answer.held for answer in answers} == {0}
    assert connections(valkey_server) <= MAX_CONNECTIONS + 1


async def test_service_statistics_count_allocations_by_status(
    caller: Caller, client: Client
) -> None:
    await caller.allocate("a", weight=10)
    await caller.allocate("b", wait_seconds=60)
    await caller.allocate("c", weight=11)
    [stats] = await discovered(client, "STATS", 1)
    counted = endpoint_of(stats, "allocate")["data"]
    assert counted == {"granted": 1, "waiting": 1, "never_fits": 1}


async def test_outages_are_reported_by_readiness_and_end(
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    client: Client,
    settings_stream: SettingsStream,
) -> None:
    await settings_stream.announce(PoolChanged(name="gpu", quota=10))
    async with started(redis_config(nats_server, valkey_server)) as app:
        valkey_server.stop()
        nats_server.stop()
        await eventually(lambda: is_missing(app, "nats", "redis"))
        valkey_server.start()
        nats_server.start()
        await eventually(lambda: is_ready(app))
        assert (await Caller(client).allocate("a")).status == "granted"


async def test_a_token_that_fits_into_no_subject_ends_no_service_and_no_other_hint(
    caller: Caller, client: Client
) -> None:
    hints = await client.subscribe("trimtab.resmgr.granted.default.b")
    long = "é" * 500
    await caller.allocate("a", weight=10)
    for token in (long, "b"):
        await caller.allocate(token, wait_seconds=600)
    await caller.release("a")
    await hints.next_msg(timeout=PATIENCE_SECONDS)
    assert (await caller.allocate(long, wait_seconds=600)).status == "granted"


async def test_a_defect_in_a_sweep_ends_no_other_and_no_service(
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    client: Client,
    settings_stream: SettingsStream,
) -> None:
    """The home of a pool that is no JSON is an error that no code expects."""
    await settings_stream.announce(PoolChanged(name="gpu", quota=10))
    valkey_server.send(b"HSET trimtab:homes broken {\r\n")
    caller = Caller(client)
    async with started(redis_config(nats_server, valkey_server)) as app:
        for _ in range(3):
            await caller.allocate("short", weight=10, lease_seconds=0.01)
            await caller.allocate("waits", weight=10, wait_seconds=600)
            await eventually(lambda: holds(caller, "waits"))
            await caller.release("waits")
        assert await is_ready(app)


def code_of(answer: object) -> int | None:
    return answer.problem.status if isinstance(answer, ErrorReply) else None


async def holds(caller: Caller, token: str) -> bool:
    return token in [holder.token for holder in (await caller.inspect()).holders]


async def is_known(caller: Caller, pool: str) -> bool:
    try:
        await caller.inspect(pool)
    except ErrorReply:
        return False
    return True


def connections(server: ValkeyServer) -> int:
    """Return how many clients the server has, including this one."""
    with redis.Redis.from_url(server.url) as client:
        return int(client.info("clients")["connected_clients"])


async def has_quota(caller: Caller, quota: int) -> bool:
    return (await caller.inspect()).quota == quota


async def is_missing(app: Starlette, *parts: str) -> bool:
    return set(parts) <= set(await unready_reasons(app))


async def discovered(client: Client, verb: str, replicas: int) -> list[dict[str, Any]]:
    """Return the replies of so many replicas to a request of service discovery."""
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    await client.publish(f"$SRV.{verb}.trimtab-resmgr", reply=inbox)
    found = [await answers.next_msg(timeout=PATIENCE_SECONDS) for _ in range(replicas)]
    await answers.unsubscribe()
    by_id = {each["id"]: each for each in (json.loads(message.data) for message in found)}
    return list(by_id.values())


def endpoint_of(stats: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [each for each in stats["endpoints"] if each["name"] == name]
    return dict(found)
