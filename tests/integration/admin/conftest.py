"""admin, running, with one project."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.integration.admin.running import running, settings_for
from tests.servers import NatsServer
from trimtab_admin.settings import AdminSettings


@pytest.fixture
def settings(tmp_path: Path, nats_server: NatsServer, database_url: str) -> AdminSettings:
    return settings_for(tmp_path, nats_server.url, database_url=database_url)


@pytest.fixture
async def admin(settings: AdminSettings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings) as client:
        await client.post("/projects", json={"name": "shop"})
        yield client
