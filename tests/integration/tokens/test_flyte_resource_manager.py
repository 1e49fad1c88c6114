"""The guarantees that plugins of Flyte rely on, with the real resmgr."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client

from tests.integration.tokens.running import Installation
from tests.servers import PATIENCE_SECONDS
from trimtab.api.entities import PoolBody
from trimtab.errors import Conflict, Invalid, NotFound
from trimtab.flyte_resource_manager import (
    AllocationStatus,
    Plugins,
    ResourceConstraintsSpec,
    ResourceManager,
)
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.connection import connect
from trimtab.tokens.protocol import Inspected
from trimtab.tokens.resmgr import ResmgrClient

GRANTED, EXHAUSTED = AllocationStatus.GRANTED, AllocationStatus.EXHAUSTED
NO_CAPS = ResourceConstraintsSpec()


@pytest.fixture
async def nats(installation: Installation) -> AsyncIterator[Client]:
    async with connect(ServiceConfig(nats_url=installation.nats.url), "test") as nats:
        yield nats


@pytest.fixture
async def plugins(nats: Client) -> AsyncIterator[Plugins]:
    async with Plugins(ResmgrClient(nats)) as plugins:
        yield plugins


@pytest.fixture
async def plugin(plugins: Plugins, pool: str) -> str:
    """A plugin of one test, whose pool ``default`` has two units."""
    await plugins.registrar(pool).register_resource_quota("default", 2)
    return pool


@pytest.fixture
def manager(plugins: Plugins, plugin: str) -> ResourceManager:
    return plugins.manager(plugin, "flytesnacks", "development", "f1")


async def allocate(
    manager: ResourceManager, token: str, caps: ResourceConstraintsSpec = NO_CAPS
) -> AllocationStatus:
    return await manager.allocate_resource("default", token, caps)


async def usage(installation: Installation, plugin: str) -> Inspected:
    async with installation.client() as client:
        return await client.pools.usage(f"redisresourcemanager:{plugin}:default")


async def test_requesting_a_held_token_is_granted_and_counts_nothing(
    installation: Installation, manager: ResourceManager, plugin: str
) -> None:
    assert [await allocate(manager, token) for token in "aab"] == [GRANTED] * 3
    async with installation.client() as client:
        stored = await client.pools.get(f"redisresourcemanager:{plugin}:default")
        await client.pools.put(PoolBody(name=stored.name, quota=1), force=True)
    assert [await allocate(manager, token) for token in "ab"] == [GRANTED] * 2
    assert (await usage(installation, plugin)).held == 2


async def test_releasing_a_token_that_is_not_held_succeeds(
    installation: Installation, manager: ResourceManager, plugin: str
) -> None:
    await allocate(manager, "a")
    await manager.release_resource("default", "unknown")
    for _ in range(2):
        await manager.release_resource("default", "a")
    assert (await usage(installation, plugin)).held == 0


async def test_a_refusal_is_exhausted_whichever_limit_refused(manager: ResourceManager) -> None:
    one_each = ResourceConstraintsSpec(1, 1)
    assert await allocate(manager, "a", one_each) == GRANTED
    assert await allocate(manager, "b", one_each) == EXHAUSTED
    assert await allocate(manager, "c", ResourceConstraintsSpec(0)) == EXHAUSTED
    assert [await allocate(manager, token) for token in "bc"] == [GRANTED, EXHAUSTED]


async def test_a_full_pool_is_exhausted_without_a_delay(manager: ResourceManager) -> None:
    for token in "ab":
        await allocate(manager, token)
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert [await allocate(manager, f"c{n}") for n in range(50)] == [EXHAUSTED] * 50


async def test_caps_apply_to_their_request_and_none_is_no_cap(
    plugins: Plugins, plugin: str
) -> None:
    managers = [plugins.manager(plugin, "flyte", domain, "f1") for domain in ("dev", "development")]
    longer = plugins.manager(plugin, "flytesnacks", "dev", "f1")
    assert await allocate(longer, "a", ResourceConstraintsSpec(1, 1)) == GRANTED
    # Neither a project nor a domain is charged for one whose name begins with its own.
    assert await allocate(managers[0], "a", ResourceConstraintsSpec(1, 1)) == GRANTED
    assert await allocate(managers[1], "a", ResourceConstraintsSpec(1, None)) == EXHAUSTED
    await longer.release_resource("default", "a")
    assert await allocate(managers[1], "a", ResourceConstraintsSpec(None, 1)) == GRANTED


async def test_a_token_may_have_any_text_and_identifies_an_attempt(
    installation: Installation, manager: ResourceManager, plugin: str
) -> None:
    assert await allocate(manager, "f1-n0-0") == GRANTED
    assert await allocate(manager, "größe: 1/2, *") == GRANTED
    assert await allocate(manager, "f1-n0-1") == EXHAUSTED
    held = {holder.token for holder in (await usage(installation, plugin)).holders}
    prefix = "ex:flytesnacks:development:f1-"
    assert held == {f"{prefix}f1-n0-0", f"{prefix}größe: 1/2, *"}


async def test_a_pool_that_was_not_registered_is_an_error(manager: ResourceManager) -> None:
    with pytest.raises(NotFound, match=r"pool 'redisresourcemanager:.*:other' does not exist"):
        await manager.allocate_resource("other", "a", NO_CAPS)


async def test_a_negative_cap_is_an_error(manager: ResourceManager) -> None:
    with pytest.raises(Invalid, match="project_cap: -1 is not valid"):
        await allocate(manager, "a", ResourceConstraintsSpec(-1))


async def test_each_plugin_has_pools_of_its_own(plugins: Plugins, plugin: str) -> None:
    await plugins.registrar(f"{plugin}-other").register_resource_quota("default", 1)
    for name in (plugin, f"{plugin}-other"):
        manager = plugins.manager(name, "flytesnacks", "development", "f1")
        assert await allocate(manager, "a") == GRANTED


async def test_another_quota_for_a_registered_pool_is_an_error(
    plugins: Plugins, plugin: str
) -> None:
    registrar = plugins.registrar(plugin)
    await registrar.register_resource_quota("default", 2)
    with pytest.raises(Conflict, match="has a quota of 2 and cannot be registered with 3"):
        await registrar.register_resource_quota("default", 3)


async def test_the_tokens_of_a_plugin_are_renewed(
    installation: Installation, nats: Client, plugin: str
) -> None:
    async with Plugins(ResmgrClient(nats), lease_seconds=1.5) as plugins:
        manager = plugins.manager(plugin, "flytesnacks", "development", "f1")
        await allocate(manager, "a")
        [first] = (await usage(installation, plugin)).holders
        later = first
        while later.age_seconds < 3:
            [later] = (await usage(installation, plugin)).holders
        assert later.fence == first.fence


def test_the_statuses_have_the_numbers_and_names_of_flyte() -> None:
    names = ["AllocationUndefined", "Granted", "Exhausted", "NamespaceQuotaExceeded"]
    assert [(int(status), str(status)) for status in AllocationStatus] == [*enumerate(names)]


async def test_the_manager_has_the_id_of_flyte(manager: ResourceManager) -> None:
    assert manager.get_id() == "redisresourcemanager"
