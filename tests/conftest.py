"""Fixtures that tests of several rooms share."""

import os
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from nats.aio.client import Client

from tests import databases
from tests.servers import NatsServer, PostgresServer, ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.connection import connect
from trimtab_admin.messaging import streams

# A busy machine is no reason to fail.
settings.register_profile("trimtab", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("trimtab")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files anew")
    parser.addoption(
        "--database",
        choices=["sqlite", "postgresql"],
        default="sqlite",
        help="where tests run that run on one database only",
    )
    parser.addoption("--operations", type=int, default=20_000, help="of each random history")
    parser.addoption("--seed", type=int, help="of the random histories; absent, another each time")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.seed is None:
        told = getattr(config, "workerinput", {})
        config.option.seed = told["seed"] if told else random.randrange(1_000_000)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Workers of xdist draw what the head of the run says, and not each their own."""
    node.workerinput["seed"] = node.config.option.seed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, or all workers but one are done before it."""
    items.sort(key=lambda item: item.path.name != "test_chaos.py")


def pytest_report_header(config: pytest.Config) -> str:
    return f"random histories: --operations {config.option.operations} --seed {config.option.seed}"


@pytest.fixture
def operations(request: pytest.FixtureRequest) -> int:
    """How long random histories are."""
    return int(request.config.option.operations)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Of random histories; what was drawn is in the head of the run."""
    return int(request.config.option.seed)


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


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where databases can be made: on the server of ``POSTGRES_URL``, or on one of our own."""
    if given := os.environ.get("POSTGRES_URL"):
        yield given
        return
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server.url


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    """The sort of database; `tests.databases.BOTH` gives a test each in turn."""
    return str(request.config.getoption("--database"))


@pytest.fixture
def database_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Of an empty database of the test's own."""
    if backend == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'admin.db'}"
        return
    with databases.fresh(request.getfixturevalue("postgres_url")) as url:
        yield url


@pytest.fixture
async def client(nats_server: NatsServer) -> AsyncIterator[Client]:
    """Connected as a service is, with every stream declared."""
    settings = ServiceConfig(nats_url=nats_server.url)
    async with connect(settings, "test") as client:
        await streams.bootstrap(client)
        yield client


@pytest.fixture
def settings_stream(client: Client) -> SettingsStream:
    return SettingsStream(client)
