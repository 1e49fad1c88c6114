"""PostgreSQL under admin: away, slow, held up, and asked to keep what it cannot."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.engine import Connection

from tests import databases
from tests.integration.admin.running import FORCE, running, settings_for, until
from tests.servers import NatsServer, PostgresServer
from trimtab_admin import migrations
from trimtab_admin.app import prepare
from trimtab_admin.config import AdminConfig
from trimtab_admin.storage import database, outbox, tables
from trimtab_admin.storage.database import migrating_sessions_of, sessions_of, transaction
from trimtab_admin.storage.tables import metadata

PRIORITY = "/records/workflow_priority"


@pytest.fixture(scope="module")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One that may be stopped."""
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> Iterator[str]:
    with databases.fresh(postgres_server.url) as url:
        yield url


@pytest.fixture
async def admin(
    settings: AdminConfig, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """With the patience of a test."""
    for name in ("_STATEMENT_SECONDS", "_CONNECT_SECONDS", "_POOL_SECONDS"):
        monkeypatch.setattr(database, name, 1.0)
    async with running(settings) as client:
        yield client


async def put(admin: httpx.AsyncClient, priority: int) -> int:
    """The status of the answer."""
    answer = await admin.put(PRIORITY, params=FORCE, json={"priority": priority})
    return answer.status_code


async def is_ready(admin: httpx.AsyncClient) -> bool:
    return (await admin.get("http://127.0.0.1/readyz")).status_code == 200


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_a_restart_of_the_database_is_survived(
    admin: httpx.AsyncClient, postgres_server: PostgresServer, end: str
) -> None:
    assert await put(admin, 1) == 200
    await until(lambda: is_ready(admin))
    getattr(postgres_server, end)()
    try:
        assert await put(admin, 2) == 503
        assert (await admin.get(PRIORITY)).status_code == 503
        assert not await is_ready(admin)
    finally:
        postgres_server.start()
    await until(lambda: is_ready(admin))

    async def written() -> bool:
        return await put(admin, 3) == 200

    await until(written)
    await until(lambda: is_sent(admin))
    assert (await admin.get(PRIORITY)).json()["document"] == {"priority": 3}


async def is_sent(admin: httpx.AsyncClient) -> bool:
    answer = await admin.get("/status")
    return answer.is_success and answer.json()["revision"] == answer.json()["sent_revision"]


async def test_a_database_that_gives_no_answer_is_unavailable_and_then_not(
    admin: httpx.AsyncClient, postgres_server: PostgresServer
) -> None:
    await put(admin, 1)
    postgres_server.pause()
    try:
        async with asyncio.timeout(30):
            answers = await asyncio.gather(put(admin, 2), *(admin.get(PRIORITY) for _ in range(3)))
    finally:
        postgres_server.resume()
    assert answers[0] == 503
    assert {answer.status_code for answer in answers[1:]} == {503}

    async def written() -> bool:
        return await put(admin, 3) == 200

    await until(written)
    assert (await admin.get(PRIORITY)).json()["document"] == {"priority": 3}


async def test_a_writer_that_is_stopped_within_its_transaction_holds_others_up_for_seconds(
    admin: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = sessions_of(database_url)
    async with stopped() as session:
        await outbox.lock(session)
        assert await put(admin, 1) == 503
        async with asyncio.timeout(database._IDLE_MILLIS / 1000 + 20):
            while await put(admin, 1) != 200:
                await asyncio.sleep(0.05)
        with pytest.raises(sa.exc.DBAPIError):
            await outbox.lock(session)
    await stopped.kw["bind"].dispose()


async def test_text_that_postgresql_cannot_hold_is_refused(admin: httpx.AsyncClient) -> None:
    answer = await admin.get("/workflows/shop/development/a%00b")
    assert answer.status_code in {400, 404}, answer.text


async def test_admins_that_start_at_once_make_the_schema_once(
    tmp_path: Path, nats_server: NatsServer, database_url: str
) -> None:
    settings = settings_for(tmp_path, nats_server.url, database_url=database_url)
    await asyncio.gather(*(prepare(settings) for _ in range(4)))
    sessions = sessions_of(database_url)
    async with transaction(sessions) as session:
        domains = await session.scalars(sa.select(tables.settings.c.subject))
        assert len(list(domains)) == len(settings.domains)
    await sessions.kw["bind"].dispose()


async def test_the_migrations_make_the_tables_that_the_code_uses(database_url: str) -> None:
    def differences(connection: Connection) -> object:
        migrations.upgrade(connection)
        return compare_metadata(MigrationContext.configure(connection), metadata)

    sessions = migrating_sessions_of(database_url)
    async with transaction(sessions) as session:
        connection = await session.connection()
        assert await connection.run_sync(differences) == []
    await sessions.kw["bind"].dispose()
