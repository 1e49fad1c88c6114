"""Settings that admin publishes on NATS and statuses that it consumes, through outages."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from tests.integration.admin.running import FORCE, SCOPE, running, settings_for
from tests.servers import PATIENCE_SECONDS, NatsServer, free_port
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import NamespaceStatus
from trimtab.runtime import bus
from trimtab.runtime.connection import connect
from trimtab.settings.view import View
from trimtab_admin.config import AdminConfig

TARGET = Scope("development", "shop")


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await condition():
            await asyncio.sleep(0.02)


async def write(admin: httpx.AsyncClient, cpu: int) -> int:
    answer = await admin.put(
        "/records/task_resource", params=SCOPE | FORCE, json={"limits": {"cpu": str(cpu)}}
    )
    version: int = answer.json()["version"]
    return version


async def is_ready(admin: httpx.AsyncClient) -> bool:
    return (await admin.get("http://127.0.0.1/readyz")).status_code == 200


async def test_a_reader_sees_a_change(admin: httpx.AsyncClient, settings: AdminConfig) -> None:
    version = await write(admin, 2)
    async with connect(settings, "test") as client, asyncio.TaskGroup() as tasks:
        view = View(client)
        following = tasks.create_task(view.follow())
        shown = await view.wait_for(version, PATIENCE_SECONDS)
        assert shown.effective("task_resource", TARGET).document == {"limits": {"cpu": "2"}}
        assert shown.projects.keys() == {"shop"}
        following.cancel()


async def test_writes_during_an_outage_and_a_wipe_of_nats_reach_every_reader(
    admin: httpx.AsyncClient, settings: AdminConfig, nats_server: NatsServer
) -> None:
    async with connect(settings, "test") as client, asyncio.TaskGroup() as tasks:
        view = View(client)
        following = tasks.create_task(view.follow())
        await view.wait_for(await write(admin, 1), PATIENCE_SECONDS)
        nats_server.stop()
        await write(admin, 2)
        nats_server.wipe()
        shown = await view.wait_for(await write(admin, 3), PATIENCE_SECONDS)
        assert shown.effective("task_resource", TARGET).document == {"limits": {"cpu": "3"}}
        assert shown.projects.keys() == {"shop"}
        following.cancel()


async def test_the_api_works_without_nats_and_is_not_ready(
    tmp_path: Path,
) -> None:
    async with running(settings_for(tmp_path, f"nats://127.0.0.1:{free_port()}")) as admin:
        assert (await admin.post("/projects", json={"name": "shop"})).status_code == 201
        answer = await admin.get("http://127.0.0.1/readyz")
        assert (answer.status_code, answer.json()["reasons"]) == (503, {"nats": "not connected"})
        assert (await admin.get("http://127.0.0.1/healthz")).status_code == 200


async def test_admin_is_ready_again_after_nats_has_restarted(
    admin: httpx.AsyncClient, nats_server: NatsServer
) -> None:
    await until(lambda: is_ready(admin))
    nats_server.kill()

    async def is_unready() -> bool:
        return not await is_ready(admin)

    await until(is_unready)
    nats_server.start()
    await until(lambda: is_ready(admin))


async def test_the_status_has_the_published_revision(admin: httpx.AsyncClient) -> None:
    version = await write(admin, 1)

    async def is_published() -> bool:
        status = (await admin.get("/status")).json()
        return bool(status["sent_revision"] == status["revision"] == version)

    await until(is_published)


async def test_namespaces_are_shown_as_clusterres_reports_them(
    admin: httpx.AsyncClient, settings: AdminConfig
) -> None:
    await until(lambda: is_ready(admin))
    status = NamespaceStatus(
        cluster="embedded",
        namespace="shop-development",
        project="shop",
        domain="development",
        revision=1,
        state="failed",
        error="quota",
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    async with connect(settings, "test") as client:
        for state in (status, status.model_copy(update={"state": "ready", "error": ""})):
            subject = subjects.namespace(state.cluster, state.namespace)
            await bus.publish(client, subjects.NAMESPACES, subject, state)

    async def is_shown() -> bool:
        bodies = (await admin.get("/namespaces")).json()
        return [body["state"] for body in bodies] == ["ready"]

    await until(is_shown)
    assert (await admin.get("/namespaces/embedded/shop-development")).json()["revision"] == 1
    filters = {"cluster": "embedded", "domain": "development", "state": "failed"}
    assert (await admin.get("/namespaces", params=filters)).json() == []
    missing = await admin.get("/namespaces/embedded/shop-developmnt")
    assert (missing.status_code, missing.json()["allowed"]) == (404, "shop-development")
    without_clusterres = await admin.get("/namespaces/embedded/shop-development/diff")
    assert without_clusterres.status_code == 503
    detail = "no clusterres that reaches cluster 'embedded' is running"
    assert without_clusterres.json()["detail"] == detail
