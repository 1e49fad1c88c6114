"""What callers may rely on, whichever type of resmgr answers."""

from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client

from tests.integration.resmgr.running import Caller, Refused, settings, started
from tests.servers import NatsServer, ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab.messages.events import PoolChanged


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
    async with started(settings(nats_server, {"type": request.param, "redis": redis})):
        yield Caller(client)


async def test_a_token_is_granted_and_granted_again(caller: Caller) -> None:
    answers = [await caller.allocate("a") for _ in range(2)]
    assert [answer.status for answer in answers] == ["granted", "granted"]


async def test_a_token_that_is_not_held_can_be_given_back(caller: Caller) -> None:
    assert await caller.release("never asked for") is False


async def test_a_token_of_a_pool_that_is_gone_can_be_given_back(caller: Caller) -> None:
    assert await caller.release("a", pool="no such pool") is False


async def test_a_token_can_be_taken_after_it_was_given_back(caller: Caller) -> None:
    await caller.allocate("a")
    await caller.release("a")
    assert (await caller.allocate("a")).status == "granted"


async def test_registering_the_quota_that_a_pool_has_is_fine(caller: Caller) -> None:
    assert (await caller.register("gpu", 10)).quota == 10


async def test_inspect_tells_the_quota(caller: Caller) -> None:
    assert (await caller.inspect()).quota == 10


async def test_inspecting_an_unknown_pool_is_an_error_that_names_those_there_are(
    caller: Caller,
) -> None:
    with pytest.raises(Refused, match="pool 'cpu' does not exist; there are: gpu") as refused:
        await caller.inspect("cpu")
    assert refused.value.problem.status == 404


@pytest.mark.parametrize(
    ("body", "words"),
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
async def test_a_bad_request_is_refused_with_its_field(
    caller: Caller, body: bytes, words: str
) -> None:
    with pytest.raises(Refused, match=words) as refused:
        await caller.send("allocate", body)
    assert refused.value.headers["Nats-Service-Error-Code"] == "400"
    assert words in refused.value.headers["Nats-Service-Error"]


async def test_another_cohort_is_refused_with_the_one_there_is(caller: Caller) -> None:
    with pytest.raises(Refused, match="cohort 'other' does not exist; there are: default"):
        await caller.send("inspect", b'{"pool": "gpu"}', cohort="other")


async def test_an_error_may_hold_any_letters(caller: Caller) -> None:
    with pytest.raises(Refused, match="pool 'größe\\\\n✓' does not exist") as refused:
        await caller.inspect("größe\n✓")
    assert refused.value.headers["Nats-Service-Error-Code"] == "404"
