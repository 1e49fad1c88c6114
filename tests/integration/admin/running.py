"""admin in the test's process, with a real database and NATS, and requests that its tests send."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from tests.servers import PATIENCE_SECONDS
from trimtab.workflows.graphs.graph import Constant, FromInput, Hook, Node, Task, Workflow
from trimtab.workflows.graphs.node_overrides import NodeOverrides
from trimtab_admin.app import build, prepare
from trimtab_admin.config import AdminConfig

TOKEN = "t0ken"
SCOPE = {"project": "shop", "domain": "development"}
FORCE = {"force": "true"}


def settings_for(directory: Path, nats_url: str, **more: Any) -> AdminConfig:
    """Return a configuration with a database and a token file in the directory."""
    token = directory / "token"
    token.write_text(TOKEN + "\n")
    more.setdefault("database_url", f"sqlite+aiosqlite:///{directory / 'admin.db'}")
    return AdminConfig(nats_url=nats_url, token_file=token, **more)


@asynccontextmanager
async def running(settings: AdminConfig) -> AsyncIterator[httpx.AsyncClient]:
    """Run admin and yield a client of it."""
    await prepare(settings)
    app = build(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://127.0.0.1/api/v2",
        headers={"Authorization": f"Bearer {TOKEN}"},
    )


async def rows(settings: AdminConfig, table: sa.Table) -> list[dict[str, Any]]:
    """Return the rows of a table, read without admin."""
    engine = create_async_engine(settings.database_url)
    async with engine.connect() as connection:
        found = (await connection.execute(sa.select(table))).mappings().all()
    await engine.dispose()
    return [dict(row) for row in found]


def workflow(version: str = "1", **more: Any) -> Workflow:
    """Return a workflow of two tasks; the second one has the hook ``trainer``."""
    tasks = {name: Task(name=name) for name in ("load", "train")}
    nodes = (
        Node(id="n0", task="load", inputs={"day": FromInput(name="day")}),
        Node(
            id="n1",
            task="train",
            inputs={"rate": Constant(value=0.5)},
            hook=Hook(name="trainer", default=NodeOverrides(retries=1)),
        ),
    )
    fields: dict[str, Any] = {
        "name": "nightly",
        "version": version,
        "inputs": {"day": None, "limit": 10},
        "required": ("day",),
        "tasks": tasks,
        "nodes": nodes,
        "module": "def load(day): ...\ndef train(rate): ...\n",
    }
    return Workflow(**{**fields, **more})


def registration(workflow: Workflow) -> dict[str, Any]:
    return {**SCOPE, "workflow": workflow.model_dump(mode="json")}


async def register(admin: httpx.AsyncClient, workflow: Workflow) -> None:
    response = await admin.post("/workflows", json=registration(workflow))
    assert response.status_code == 201, response.text


async def execute(admin: httpx.AsyncClient, **more: Any) -> httpx.Response:
    body = {**SCOPE, "workflow": "nightly", "inputs": {"day": "monday"}, **more}
    return await admin.post("/executions", json=body)


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """Call the function until its result is true; return the result."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (result := await condition()):
            await asyncio.sleep(0.02)
        return result


async def until_connected(admin: httpx.AsyncClient) -> None:
    """Wait until admin is connected to NATS, which it does not need to serve."""

    async def is_connected() -> bool:
        return bool((await admin.get("/status")).json()["nats_connected"])

    await until(is_connected)
