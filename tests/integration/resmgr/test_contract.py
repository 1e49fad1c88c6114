"""The guarantees to callers that both types of resmgr give."""

from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client

from tests.integration.resmgr.running import Caller, ErrorReply, config, eventually, started
from tests.servers import NatsServer, ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab.messages.events import PoolChanged
from trimtab.tokens.protocol import PoolPage, Pools


@pytest.fixture(params=["redis", "noop"])
async def caller(
    request: pytest.FixtureRequest,
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    client: Client,
    settings_stream: SettingsStream,
) -> AsyncIterator[Caller]:
    await settings_stream.announce(PoolChanged(name="gpu", quota=10))
    redis = {"hostPaths": [f"127.0.0.1:{valkey_server.port}"]}
    async with started(config(nats_server, {"type": request.param, "redis": redis})):
        yield Caller(client)


async def test_a_granted_token_is_granted_again_on_request(caller: Caller) -> None:
    answers = [await caller.allocate("a") for _ in range(2)]
    assert [answer.status for answer in answers] == ["granted", "granted"]


async def test_releasing_a_token_that_is_not_held_succeeds(caller: Caller) -> None:
    assert await caller.release("unknown") is False


async def test_releasing_a_token_of_an_unknown_pool_succeeds(caller: Caller) -> None:
    assert await caller.release("a", pool="no such pool") is False


async def test_a_released_token_can_be_granted_again(caller: Caller) -> None:
    await caller.allocate("a")
    await caller.release("a")
    assert (await caller.allocate("a")).status == "granted"


async def test_registering_the_quota_of_a_pool_again_succeeds(caller: Caller) -> None:
    assert (await caller.register("gpu", 10)).quota == 10


async def test_inspect_reports_the_quota(caller: Caller) -> None:
    assert (await caller.inspect()).quota == 10


async def test_the_pools_of_a_cohort_are_listed_in_pages(
    caller: Caller, settings_stream: SettingsStream
) -> None:
    await settings_stream.announce(
        PoolChanged(name="cpu", quota=3), PoolChanged(name="far", quota=1, cohort="night")
    )
    await eventually(lambda: lists(caller, ["cpu", "gpu"]))
    first = await caller.request(PoolPage, Pools(limit=1))
    assert [(pool.pool, pool.quota) for pool in first.pools] == [("cpu", 3)]
    second = await caller.request(PoolPage, Pools(limit=1, after=first.next))
    assert [(pool.pool, pool.quota) for pool in second.pools] == [("gpu", 10)]
    assert second.next is None


async def lists(caller: Caller, pools: list[str]) -> bool:
    return list(await caller.pools()) == pools


async def test_inspecting_an_unknown_pool_is_an_error_that_names_the_known_ones(
    caller: Caller,
) -> None:
    with pytest.raises(ErrorReply, match="pool 'cpu' does not exist; there are: gpu") as refused:
        await caller.inspect("cpu")
    assert refused.value.problem.status == 404


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "EOF"),
        (b"[1]", "object"),
        (b'{"token": "a", "project": "p", "domain": "d"}', "exactly one of pool and pools"),
        (
            b'{"pool": "gpu", "token": "a", "project": "p", "domain": "d", "cap": 1}',
            "cap is not known",
        ),
        (b'{"pool": "gpu", "token": "a", "project": "p", "domain": "d", "weight": 0}', "weight"),
        (b'{"pool": "gpu", "token": "", "project": "p", "domain": "d"}', "token"),
    ],
)
async def test_a_bad_request_gets_an_error_that_names_its_field(
    caller: Caller, body: bytes, message: str
) -> None:
    with pytest.raises(ErrorReply, match=message) as refused:
        await caller.send("allocate", body)
    assert refused.value.headers["Nats-Service-Error-Code"] == "400"
    assert message in refused.value.headers["Nats-Service-Error"]


async def test_an_unknown_cohort_is_an_error_that_names_the_known_ones(caller: Caller) -> None:
    with pytest.raises(ErrorReply, match="cohort 'other' does not exist; there are: default"):
        await caller.send("inspect", b'{"pool": "gpu"}', cohort="other")


async def test_an_error_may_contain_any_characters(caller: Caller) -> None:
    with pytest.raises(ErrorReply, match="pool 'größe ✓' does not exist") as refused:
        await caller.inspect("größe ✓")
    assert refused.value.headers["Nats-Service-Error-Code"] == "404"
