"""Fixtures that tests of several folders share."""

import gc
import os
import random
import sys
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from nats.aio.client import Client

from tests import databases, global_state, leftovers
from tests.servers import PATIENCE_SECONDS, NatsServer, PostgresServer, ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.connection import connect
from trimtab_admin.messaging import streams

# A busy machine is no reason to fail.
settings.register_profile("trimtab", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("trimtab"), max_examples=30)
settings.load_profile("trimtab")

Wrapper = Generator[None, Any, Any]

TESTS = Path(__file__).parent
WITH_SERVERS = {"flyte", "integration", "kubernetes"}
"""The folders of tests that start processes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files")
    parser.addoption(
        "--database",
        choices=["sqlite", "postgresql"],
        default="sqlite",
        help="the database of tests that use one only",
    )
    parser.addoption("--operations", type=int, default=20_000, help="length of each random history")
    parser.addoption("--seed", type=int, help="of random histories; by default a new one")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # The variables of a user or a build are not those of the programs under test.
    for name in [*os.environ]:
        if name.startswith("TRIMTAB_TEST_"):  # the tests' own
            continue
        if name.startswith("TRIMTAB_") or name in ("NO_COLOR", "COLUMNS"):
            del os.environ[name]
    if config.option.timeout is None:
        config.option.timeout = 10 * PATIENCE_SECONDS  # a test may wait several times
    if config.option.seed is None:
        given = getattr(config, "workerinput", {})
        config.option.seed = given["seed"] if given else random.randrange(1_000_000)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give each worker of xdist the seed of the run."""
    node.workerinput["seed"] = node.config.option.seed


class Watching:
    """A plugin that fails a test that leaves something behind, and ends it.

    Of tests with servers these are processes and what they did not close; of each module, sockets,
    threads and state of the process.
    """

    def __init__(self, directory: Path) -> None:
        self._run = leftovers.Watched(directory)
        self._module: Path | None = None
        self._state = global_state.state()
        self._threads = set(threading.enumerate())

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Wrapper:
        if fixturedef.scope == leftovers.OF_A_TEST:
            return (yield)
        with self._run.scope(fixturedef.scope):
            try:
                return (yield)
            finally:
                if fixturedef.scope == "session":
                    self._threads |= set(threading.enumerate())
                    self._run.keep_sockets()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if self._module != item.path:
            self._module = item.path
            self._run.begin_module()
            self._state = global_state.state()
            self._threads = set(threading.enumerate())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> Wrapper:
        left = []
        try:
            return (yield)
        finally:
            if item.path.relative_to(TESTS).parts[0] in WITH_SERVERS:
                left = self._run.end_test(PATIENCE_SECONDS / 2)
            if nextitem is None or nextitem.path != item.path:
                left += self._run.end_module(PATIENCE_SECONDS / 2)
                left += global_state.changes(self._state, global_state.state())
                left += global_state.new_threads(self._threads, PATIENCE_SECONDS / 2)
            if left and sys.exception() is None:
                pytest.fail("left behind:\n" + "\n".join(left), pytrace=False)

    def pytest_unconfigure(self) -> None:
        self._run.end()


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.option.dist == "no":  # the tests run in this process
        # One helper of multiprocessing serves the whole run.
        resource_tracker.ensure_running()
        directory = session.config._tmp_path_factory.getbasetemp()
        session.config.pluginmanager.register(Watching(directory))


def pytest_collection_finish() -> None:
    """Let later collections of garbage skip all that was imported by now."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest test first, so that no worker runs it alone at the end."""
    items.sort(key=lambda item: item.path.name != "test_chaos.py")


def pytest_report_header(config: pytest.Config) -> str:
    return f"random histories: --operations {config.option.operations} --seed {config.option.seed}"


@pytest.fixture
def operations(request: pytest.FixtureRequest) -> int:
    """The length of random histories."""
    return int(request.config.option.operations)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of random histories, which the header of the run shows."""
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
    """The URL of a PostgreSQL server: that of ``POSTGRES_URL``, or one started for the run."""
    if given := os.environ.get("POSTGRES_URL"):
        yield given
        return
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server.url


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    """The kind of database; `tests.databases.BOTH` runs a test on each."""
    return str(request.config.getoption("--database"))


@pytest.fixture
def database_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database for this test."""
    if backend == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'admin.db'}"
        return
    with databases.fresh(request.getfixturevalue("postgres_url")) as url:
        yield url


@pytest.fixture
async def client(nats_server: NatsServer) -> AsyncIterator[Client]:
    """A client that is connected as a service is, on a server with all streams."""
    settings = ServiceConfig(nats_url=nats_server.url)
    async with connect(settings, "test") as client:
        await streams.bootstrap(client)
        yield client


@pytest.fixture
def settings_stream(client: Client) -> SettingsStream:
    return SettingsStream(client)
