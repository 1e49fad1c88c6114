"""admin on PostgreSQL: outages, a server that does not respond, blocked writers, invalid text."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from tests import databases
from tests.integration.admin.running import FORCE, running, settings_for, until
from tests.servers import PATIENCE_SECONDS, NatsServer, PostgresServer
from trimtab_admin.app import prepare
from trimtab_admin.config import AdminConfig
from trimtab_admin.storage import database, outbox, tables
from trimtab_admin.storage.database import sessions_of, transaction

PRIORITY = "/records/workflow_priority"


@pytest.fixture(scope="module")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server that a test may stop."""
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
    """admin with short timeouts for the database."""
    for name in ("_STATEMENT_SECONDS", "_CONNECT_SECONDS", "_POOL_SECONDS"):
        monkeypatch.setattr(database, name, 1.0)
    async with running(settings) as client:
        yield client


async def put(admin: httpx.AsyncClient, priority: int) -> int:
    """Store a priority and return the status of the response."""
    answer = await admin.put(PRIORITY, params=FORCE, json={"priority": priority})
    return answer.status_code


async def is_ready(admin: httpx.AsyncClient) -> bool:
    return (await admin.get("http://127.0.0.1/readyz")).status_code == 200


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_admin_continues_after_a_restart_of_the_database(
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


async def test_admin_continues_after_a_database_that_did_not_respond(
    admin: httpx.AsyncClient, postgres_server: PostgresServer
) -> None:
    await put(admin, 1)
    postgres_server.pause()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            answers = await asyncio.gather(put(admin, 2), *(admin.get(PRIORITY) for _ in range(3)))
    finally:
        postgres_server.resume()
    assert answers[0] == 503
    assert {answer.status_code for answer in answers[1:]} == {503}

    async def written() -> bool:
        return await put(admin, 3) == 200

    await until(written)
    assert (await admin.get(PRIORITY)).json()["document"] == {"priority": 3}


async def test_a_writer_that_is_stopped_in_a_transaction_blocks_others_only_for_seconds(
    admin: httpx.AsyncClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = sessions_of(database_url)
    async with stopped() as session:
        await outbox.lock(session)
        assert await put(admin, 1) == 503
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await put(admin, 1) != 200:
                await asyncio.sleep(0.05)
        with pytest.raises(sa.exc.DBAPIError):
            await outbox.lock(session)
    await stopped.kw["bind"].dispose()


async def test_text_that_postgresql_cannot_store_is_rejected(admin: httpx.AsyncClient) -> None:
    answer = await admin.get("/workflows/shop/development/a%00b")
    assert answer.status_code in {400, 404}, answer.text


async def test_admins_that_start_at_the_same_time_create_the_schema_once(
    tmp_path: Path, nats_server: NatsServer, database_url: str
) -> None:
    settings = settings_for(tmp_path, nats_server.url, database_url=database_url)
    await asyncio.gather(*(prepare(settings) for _ in range(4)))
    sessions = sessions_of(database_url)
    async with transaction(sessions) as session:
        domains = await session.scalars(sa.select(tables.settings.c.subject))
        assert len(list(domains)) == len(settings.domains)
    await sessions.kw["bind"].dispose()
