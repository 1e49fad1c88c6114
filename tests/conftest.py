"""Fixtures that tests of several rooms share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from nats.aio.client import Client

from tests.servers import NatsServer, ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab import bus, streams
from trimtab.settings import ServiceSettings

# A busy machine is no reason to fail.
settings.register_profile("trimtab", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("trimtab")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files anew")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def valkey_server(tmp_path: Path) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
async def client(nats_server: NatsServer) -> AsyncIterator[Client]:
    """Connected as a service is, with every stream declared."""
    settings = ServiceSettings(nats_url=nats_server.url)
    async with bus.connected(settings, "test") as client:
        await streams.bootstrap(client)
        yield client


@pytest.fixture
def settings_stream(client: Client) -> SettingsStream:
    return SettingsStream(client)
