"""admin as a process: how it starts, refuses to start, ends, and what lasts."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import nats
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.engine import Connection

from tests.integration.admin.running import FORCE, TOKEN
from tests.servers import NatsServer, free_port
from trimtab_admin import migrations
from trimtab_admin.storage.database import sessions_of, transaction
from trimtab_admin.storage.tables import metadata

SECONDS = 60


def environment(directory: Path, nats_url: str, **more: str) -> dict[str, str]:
    (directory / "token").write_text(TOKEN)
    own = {
        "TRIMTAB_NATS_URL": nats_url,
        "TRIMTAB_DATABASE_URL": f"sqlite+aiosqlite:///{directory / 'admin.db'}",
        "TRIMTAB_TOKEN_FILE": str(directory / "token"),
        "TRIMTAB_PORT": str(free_port()),
    }
    return {**os.environ, **own, **more}


@asynccontextmanager
async def process(
    variables: Mapping[str, str], how: signal.Signals
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a process that is ended by the signal."""
    running = subprocess.Popen([sys.executable, "-m", "trimtab_admin"], env=dict(variables))
    url = f"http://127.0.0.1:{variables['TRIMTAB_PORT']}"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    try:
        async with httpx.AsyncClient(base_url=f"{url}/api/v2", headers=headers) as client:
            await ready(client, f"{url}/readyz")
            yield client
    finally:
        running.send_signal(how)
        code = running.wait(SECONDS)
    assert code == (0 if how is signal.SIGTERM else -how)


async def ready(client: httpx.AsyncClient, url: str) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                if (await client.get(url)).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


def refusal(variables: Mapping[str, str]) -> str:
    """What is said by a start that must fail, in one line."""
    command = [sys.executable, "-m", "trimtab_admin"]
    ended = subprocess.run(
        command, env=dict(variables), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert ended.returncode == 1
    [line] = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    return line


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_what_was_answered_is_there_after_a_restart(
    tmp_path: Path, nats_server: NatsServer, how: signal.Signals
) -> None:
    variables = environment(tmp_path, nats_server.url)
    async with process(variables, how) as admin:
        await admin.post("/projects", json={"name": "shop"})
        stored = await admin.put(
            "/records/task_resource", params=FORCE, json={"limits": {"cpu": "2"}}
        )
    async with process(variables, signal.SIGTERM) as admin:
        assert [project["name"] for project in (await admin.get("/projects")).json()] == ["shop"]
        assert (await admin.get("/records/task_resource")).json() == stored.json()


def test_a_database_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'missing' / 'admin.db'}"
    line = refusal(environment(tmp_path, "", TRIMTAB_DATABASE_URL=url))
    assert line.startswith("admin cannot start")
    assert "unable to open database file" in line


def test_a_token_file_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    missing = str(tmp_path / "no-token")
    assert missing in refusal(environment(tmp_path, "", TRIMTAB_TOKEN_FILE=missing))


def test_an_empty_token_file_is_refused(tmp_path: Path) -> None:
    variables = environment(tmp_path, "")
    (tmp_path / "token").write_text("\n")
    assert "a file that is not empty" in refusal(variables)


def test_a_wrong_settings_file_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("records: {task_resource: {limits: {cpu: 1Kib}}}")
    line = refusal(environment(tmp_path, "", TRIMTAB_SETTINGS_FILE=str(file)))
    assert "records.task_resource.limits.cpu" in line


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path, nats_server: NatsServer) -> None:
    line = refusal(environment(tmp_path, nats_server.url, TRIMTAB_PORT=str(nats_server.port)))
    assert f"cannot listen on 127.0.0.1:{nats_server.port}" in line


def test_a_state_stream_that_would_lose_settings_ends_the_process(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    async def spoil() -> None:
        client = await nats.connect(nats_server.url)
        await client.jetstream().add_stream(name="SETTINGS", subjects=["trimtab.projects.*"])
        await client.close()

    asyncio.run(spoil())
    ended = subprocess.run(
        [sys.executable, "-m", "trimtab_admin"],
        env=environment(tmp_path, nats_server.url),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 1
    assert "would lose settings" in ended.stderr


async def test_the_migrations_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    def differences(connection: Connection) -> object:
        migrations.upgrade(connection)
        return compare_metadata(MigrationContext.configure(connection), metadata)

    sessions = sessions_of(f"sqlite+aiosqlite:///{tmp_path / 'admin.db'}")
    async with transaction(sessions) as session:
        connection = await session.connection()
        assert await connection.run_sync(differences) == []
    await sessions.kw["bind"].dispose()
