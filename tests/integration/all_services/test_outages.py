"""After any outage each view becomes equal to the database again by itself."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.integration.all_services.conftest import DOMAIN, PROJECT
from tests.integration.all_services.test_order import ended
from tests.servers import PATIENCE_SECONDS
from tests.system import System
from trimtab.api.executions import ExecutionCreate
from trimtab.client import Client
from trimtab.levels import Scope


@asynccontextmanager
async def load(api: Client) -> AsyncIterator[list[int]]:
    """Make twenty changes a second in random namespaces, and yield their versions."""
    chance, versions = random.Random(7), list[int]()

    async def write() -> None:
        while True:
            scope = Scope(chance.choice(("development", "staging", "production")), PROJECT)
            values = {"attributes": {"projectQuotaCpu": str(chance.randint(1, 99))}}
            body = await api.records.put("cluster_resource", scope, values, force=True)
            versions.append(body.version)
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as group:
        writing = group.create_task(write())
        yield versions
        writing.cancel()


async def more(versions: list[int], count: int) -> None:
    """Wait until so many more changes were made."""
    enough = len(versions) + count
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(versions) < enough:
            await asyncio.sleep(0.05)


async def until_noticed(system: System) -> None:
    """Wait until no service is ready any more."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        for name in ("admin", "clusterres", "propeller", "resmgr"):
            while system.readiness(name).get("status") == "ready":
                await asyncio.sleep(0.05)


async def wait_for_views(system: System, revision: int) -> None:
    """Wait until all views are verified, equal, and at a revision or past it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            await system.until_ready()
            views = system.views()
            if len(set(map(str, views))) == 1 and int(str(views[0]["revision"])) >= revision:
                return
            await asyncio.sleep(0.1)


async def wait_for_manifests(api: Client, system: System) -> None:
    """Wait until the quota of each namespace is its effective value."""
    for domain in await api.domains.list():
        effective = await api.records.effective("cluster_resource", Scope(domain.name, PROJECT))
        cpu = effective.document["attributes"]["projectQuotaCpu"]
        folder = system.manifests / f"{PROJECT}-{domain.name}"
        async with asyncio.timeout(PATIENCE_SECONDS):
            while f"limits.cpu: {cpu}\n" not in quota(folder).replace("'", ""):
                await asyncio.sleep(0.1)


def quota(folder: Path) -> str:
    file = folder / "ResourceQuota-project-quota.yaml"
    return file.read_text() if file.exists() else ""


async def test_all_views_equal_the_database_after_an_outage_of_nats_in_which_writes_go_on(
    api: Client, system: System
) -> None:
    async with load(api) as versions:
        await more(versions, 20)
        await asyncio.to_thread(system.nats.kill)
        await more(versions, 50)
        await until_noticed(system)
        await asyncio.to_thread(system.nats.start)
        await more(versions, 20)
    await wait_for_views(system, versions[-1])
    await wait_for_manifests(api, system)


async def test_all_views_equal_the_database_after_the_store_of_nats_was_wiped_under_load(
    api: Client, system: System
) -> None:
    async with load(api) as versions:
        await more(versions, 20)
        await asyncio.to_thread(system.nats.wipe)
        await more(versions, 20)
    await wait_for_views(system, versions[-1])
    await wait_for_manifests(api, system)


async def test_executions_run_after_the_store_of_nats_was_wiped(
    api: Client, system: System
) -> None:
    await asyncio.to_thread(system.nats.wipe)
    wanted = ExecutionCreate(project=PROJECT, domain=DOMAIN, workflow="oversized")
    await api.records.put(
        "task_resource", Scope(DOMAIN, PROJECT), {"limits": {"cpu": "2"}}, force=True
    )
    body = await ended(api, (await api.executions.create(wanted)).id)
    assert body.phase == "refused"


async def test_a_killed_admin_starts_again_with_its_data_and_readers_follow_it(
    api: Client, system: System
) -> None:
    async with load(api) as versions:
        await more(versions, 10)
    system.kill("admin")
    system.start("admin")
    await system.until_ready("admin")
    await wait_for_views(system, versions[-1])
    await wait_for_manifests(api, system)
