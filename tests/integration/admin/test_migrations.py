"""Migrations: they create the tables that the code uses, and keep the rows of earlier versions."""

import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.engine import Connection

from tests.databases import BOTH
from trimtab_admin import migrations
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import (
    Sessions,
    fetch_rows,
    migrating_sessions_of,
    sessions_of,
    transaction,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RECORD = "trimtab.attributes.task_resource.development.shop.-.-"


@pytest.fixture
async def sessions(database_url: str) -> AsyncIterator[Sessions]:
    sessions = migrating_sessions_of(database_url)
    yield sessions
    await sessions.kw["bind"].dispose()


@BOTH
async def test_the_migrations_create_the_tables_that_the_code_uses(sessions: Sessions) -> None:
    def differences(connection: Connection) -> object:
        migrations.upgrade(connection)
        return compare_metadata(MigrationContext.configure(connection), tables.metadata)

    async with transaction(sessions) as session:
        connection = await session.connection()
        assert await connection.run_sync(differences) == []


def migrate_to(connection: Connection, revision: str) -> None:
    command.upgrade(migrations.config(connection), revision)


def insert(connection: Connection, table: str, **row: object) -> None:
    columns = [sa.column(name) for name in row]
    connection.execute(sa.table(table, *columns).insert(), row)


@BOTH
async def test_history_of_the_first_version_gets_its_scope_and_commit(sessions: Sessions) -> None:
    def migrate(connection: Connection) -> None:
        migrate_to(connection, "0001")
        change = {"actor": "ci", "at": NOW, "reason": "", "request_id": "", "trace_id": ""}
        insert(connection, "history", revision=7, subject=RECORD, **change)
        migrations.upgrade(connection)

    async with transaction(sessions) as session:
        await (await session.connection()).run_sync(migrate)
    [row] = await fetch_rows(sessions, sa.select(tables.history))
    assert (row.revision, row.commit_revision, row.actor) == (7, 7, "ci")
    assert (row.kind, row.domain, row.project) == ("task_resource", "development", "shop")
    assert (row.workflow, row.launch_plan) == ("", "")


@BOTH
async def test_api_tokens_and_the_audit_trail_of_an_earlier_version_stay(
    sessions: Sessions,
) -> None:
    def migrate(connection: Connection) -> None:
        migrate_to(connection, "0003")
        token = {"grants": "[]", "secret_hash": "hash", "created_by": "root", "created_at": NOW}
        insert(connection, "tokens", id="t1", name="ci", **token)
        call = {"client": "", "caller": "ci", "token": "t1", "method": "PUT", "path": "/"}
        more = {"scope": "", "reason": "", "request_id": ""}
        insert(connection, "audit", at=NOW, status=403, **call, **more)
        migrations.upgrade(connection)

    async with transaction(sessions) as session:
        await (await session.connection()).run_sync(migrate)
        # The sequence of the ids goes on.
        added = {"at": NOW, "status": 401, "client": "", "caller": "", "token": "", "method": ""}
        added |= {"path": "", "scope": "", "reason": "", "request_id": ""}
        await session.execute(tables.audit_trail.insert(), added)
    [token] = await fetch_rows(sessions, sa.select(tables.api_tokens))
    assert (token.id, token.name, token.secret_hash) == ("t1", "ci", "hash")
    trail = await fetch_rows(sessions, sa.select(tables.audit_trail).order_by("id"))
    assert [(row.caller, row.status) for row in trail] == [("ci", 403), ("", 401)]


@BOTH
async def test_a_database_that_a_later_release_has_migrated_is_left_as_it_is(
    sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    """An admin that is started again beside one of a later release goes on."""

    async def upgrade() -> None:
        async with transaction(sessions) as session:
            await (await session.connection()).run_sync(migrations.upgrade)

    await upgrade()
    version = sa.table("alembic_version", sa.column("version_num"))
    async with transaction(sessions) as session:
        await session.execute(version.update().values(version_num="9999_later"))
    await upgrade()
    assert [row.version_num for row in await fetch_rows(sessions, sa.select(version))] == [
        "9999_later"
    ]
    [warning] = [r for r in caplog.records if r.getMessage() == "schema.later_release"]
    assert vars(warning)["stored"] == "9999_later"


@pytest.mark.parametrize("backend", ["postgresql"])
async def test_a_migration_may_be_idle_longer_than_other_transactions(
    sessions: Sessions, database_url: str
) -> None:
    async def idle_limit(sessions: Sessions) -> str:
        async with transaction(sessions) as session:
            limit = sa.text("SHOW idle_in_transaction_session_timeout")
            return str((await session.execute(limit)).scalar_one())

    writing = sessions_of(database_url)
    try:
        assert await idle_limit(writing) == "2500ms"
        assert await idle_limit(sessions) == "1min"
    finally:
        await writing.kw["bind"].dispose()


@BOTH
async def test_tasks_of_workflows_of_an_earlier_release_are_found(sessions: Sessions) -> None:
    """Two files may have had one version, with different tasks of one name."""

    def migrate(connection: Connection) -> None:
        migrate_to(connection, "0005")
        for name, module in (("a", "def load(): return 1"), ("b", "def load(): return 2")):
            tasks = {"load": {"name": "load"}, f"own_{name}": {"name": f"own_{name}"}}
            body = json.dumps({"name": name, "module": module, "tasks": tasks})
            key = {"project": "shop", "domain": "development", "name": name, "version": "1"}
            insert(connection, "workflows", **key, body=body, created_at=NOW)
        migrations.upgrade(connection)

    async with transaction(sessions) as session:
        await (await session.connection()).run_sync(migrate)
    tasks = await fetch_rows(sessions, sa.select(tables.tasks).order_by("id"))
    found = [(task.name, task.workflow, json.loads(task.body)["name"]) for task in tasks]
    assert found == [("load", "a", "load"), ("own_a", "a", "own_a"), ("own_b", "b", "own_b")]
    assert tasks[0].code == hashlib.sha256(b"def load(): return 1").hexdigest()
