"""A running admin with one project."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import httpx
import pytest
import pytest_asyncio

from tests.integration.admin.running import running, settings_for
from tests.servers import NatsServer
from trimtab_admin.config import AdminConfig


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def grpc_threads() -> AsyncIterator[None]:
    """The thread and the sockets that all servers and channels of gRPC in the process share."""
    grpc.aio.init_grpc_aio()
    yield
    grpc.aio.shutdown_grpc_aio()


@pytest.fixture
def settings(tmp_path: Path, nats_server: NatsServer, database_url: str) -> AdminConfig:
    return settings_for(tmp_path, nats_server.url, database_url=database_url)


@pytest.fixture
async def admin(settings: AdminConfig) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings) as client:
        await client.post("/projects", json={"name": "shop"})
        yield client


@pytest.fixture(scope="module")
def shared_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdminConfig]:
    """The configuration of `shared`, which does not throttle refused calls."""
    directory = tmp_path_factory.mktemp("admin")
    with NatsServer(directory / "nats") as server:
        yield settings_for(directory, server.url, failed_tries_per_minute=100_000)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(shared_settings: AdminConfig) -> AsyncIterator[httpx.AsyncClient]:
    """One admin for all tests of a module, with two projects; they run in the module's loop."""
    async with running(shared_settings) as client:
        for project in ("shop", "lab"):
            await client.post("/projects", json={"name": project})
        yield client
