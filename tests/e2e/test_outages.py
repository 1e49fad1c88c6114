"""After any outage every view equals the database again, by itself, and nothing runs twice."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.e2e.conftest import DOMAIN, PROJECT
from tests.e2e.test_order import ended
from tests.system import System
from trimtab.api.executions import ExecutionCreate
from trimtab.client import Client
from trimtab.levels import Scope

OUTAGE_SECONDS = 10.0


@asynccontextmanager
async def load(api: Client) -> AsyncIterator[list[int]]:
    """Twenty changes a second in random namespaces, whatever happens to NATS."""
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


async def all_views_show(system: System, revision: int) -> None:
    """Each reader's view is the same, proved, and at the revision or past it."""
    async with asyncio.timeout(60):
        while True:
            await system.until_ready()
            views = system.views()
            if len(set(map(str, views))) == 1 and int(str(views[0]["revision"])) >= revision:
                return
            await asyncio.sleep(0.1)


async def manifests_show(api: Client, system: System) -> None:
    """Every namespace's quota is the one that the database says."""
    for domain in await api.domains.list():
        effective = await api.records.effective("cluster_resource", Scope(domain.name, PROJECT))
        cpu = effective.document["attributes"]["projectQuotaCpu"]
        folder = system.manifests / f"{PROJECT}-{domain.name}"
        async with asyncio.timeout(30):
            while f"limits.cpu: {cpu}\n" not in quota(folder).replace("'", ""):
                await asyncio.sleep(0.1)


def quota(folder: Path) -> str:
    file = folder / "ResourceQuota-project-quota.yaml"
    return file.read_text() if file.exists() else ""


async def test_all_views_equal_the_database_after_ten_seconds_without_nats(
    api: Client, system: System
) -> None:
    async with load(api) as versions:
        await asyncio.sleep(1)
        await asyncio.to_thread(system.nats.kill)
        before = len(versions)
        await asyncio.sleep(OUTAGE_SECONDS)
        assert len(versions) > before + 50  # writes went on
        await asyncio.to_thread(system.nats.start)
        await asyncio.sleep(1)
    await all_views_show(system, versions[-1])
    await manifests_show(api, system)


async def test_all_views_equal_the_database_after_the_store_of_nats_was_wiped_under_load(
    api: Client, system: System
) -> None:
    async with load(api) as versions:
        await asyncio.sleep(1)
        await asyncio.to_thread(system.nats.wipe)
        await asyncio.sleep(1)
    await all_views_show(system, versions[-1])
    await manifests_show(api, system)


async def test_executions_run_after_the_store_of_nats_was_wiped(
    api: Client, system: System
) -> None:
    await asyncio.to_thread(system.nats.wipe)
    asked = ExecutionCreate(project=PROJECT, domain=DOMAIN, workflow="greedy")
    await api.records.put(
        "task_resource", Scope(DOMAIN, PROJECT), {"limits": {"cpu": "2"}}, force=True
    )
    body = await ended(api, (await api.executions.create(asked)).id)
    assert body.phase == "refused"


async def test_a_killed_admin_comes_back_with_everything_and_readers_follow_it(
    api: Client, system: System
) -> None:
    async with load(api) as versions:
        await asyncio.sleep(0.5)
    system.kill("admin")
    system.start("admin")
    await system.until_ready("admin")
    await all_views_show(system, versions[-1])
    await manifests_show(api, system)
