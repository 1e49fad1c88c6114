"""admin as a process: how it starts, why it does not start, how it ends, and what it keeps."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import nats
import pytest

from tests.integration.admin.running import FORCE, TOKEN
from tests.servers import PATIENCE_SECONDS, NatsServer, PostgresServer, free_port


def environment(directory: Path, nats_url: str, **more: str) -> dict[str, str]:
    (directory / "token").write_text(TOKEN)
    own = {
        # Where no NATS runs, nothing listens on this port.
        "TRIMTAB_NATS_URL": nats_url or "nats://127.0.0.1:1",
        "TRIMTAB_DATABASE_URL": f"sqlite+aiosqlite:///{directory / 'admin.db'}",
        "TRIMTAB_TOKEN_FILE": str(directory / "token"),
        "TRIMTAB_PORT": str(free_port()),
    }
    return {**os.environ, **own, **more}


@asynccontextmanager
async def process(
    variables: Mapping[str, str], how: signal.Signals
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of an admin process, and end the process with a signal."""
    running = subprocess.Popen([sys.executable, "-m", "trimtab_admin"], env=dict(variables))
    url = f"http://127.0.0.1:{variables['TRIMTAB_PORT']}"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    try:
        async with httpx.AsyncClient(
            base_url=f"{url}/api/v2", headers=headers, timeout=PATIENCE_SECONDS
        ) as client:
            await ready(client, f"{url}/readyz")
            yield client
    finally:
        running.send_signal(how)
        code = running.wait(PATIENCE_SECONDS)
    assert code == (0 if how is signal.SIGTERM else -how)


async def ready(client: httpx.AsyncClient, url: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                if (await client.get(url)).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


def start_error(variables: Mapping[str, str]) -> str:
    """Start admin, which must fail, and return its one line of output."""
    command = [sys.executable, "-m", "trimtab_admin"]
    ended = subprocess.run(
        command,
        env=dict(variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert ended.returncode == 1
    [line] = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    return line


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_what_a_response_confirmed_is_stored_after_a_restart(
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


def test_migrate_creates_the_schema_and_ends(tmp_path: Path) -> None:
    variables = environment(tmp_path, "nats://127.0.0.1:1")
    command = [sys.executable, "-m", "trimtab_admin", "migrate"]
    for _again in range(2):
        subprocess.run(command, env=variables, check=True, timeout=PATIENCE_SECONDS)
    with sqlite3.connect(tmp_path / "admin.db") as database:
        assert database.execute("SELECT count(*) FROM history").fetchone() == (0,)


async def test_a_client_cannot_hold_a_connection_with_half_a_request(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    variables = environment(
        tmp_path, nats_server.url, TRIMTAB_REQUEST_SECONDS="1", TRIMTAB_MAX_HEAD_BYTES="2000"
    )
    port = int(variables["TRIMTAB_PORT"])
    head = f"POST /api/v2/projects HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
    body = "Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{"
    async with process(variables, signal.SIGTERM):
        for request, status in (
            (head, b"408"),
            (head + body, b"408"),
            (head + "X: " + "x" * 2000, b"431"),
            ("nonsense\r\n\r\n", b"400"),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request.encode())
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert (await reader.readline()).split()[1] == status
                assert b"x-request-id" in await reader.readuntil(b"\r\n\r\n")
            writer.close()


def test_a_database_that_cannot_be_opened_is_reported_in_one_sentence(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'missing' / 'admin.db'}"
    line = start_error(environment(tmp_path, "", TRIMTAB_DATABASE_URL=url))
    assert line.startswith("admin cannot start")
    assert "unable to open database file" in line


def test_a_database_that_postgresql_does_not_have_is_reported_in_one_sentence(
    tmp_path: Path, postgres_url: str
) -> None:
    missing = f"{postgres_url.rpartition('/')[0]}/missing"
    line = start_error(environment(tmp_path, "", TRIMTAB_DATABASE_URL=missing))
    assert line.startswith("admin cannot start")
    assert 'database "missing" does not exist; set TRIMTAB_DATABASE_URL' in line


async def test_a_start_waits_for_postgresql_and_then_migrates(tmp_path: Path) -> None:
    with PostgresServer(tmp_path) as server:
        server.stop()
        variables = environment(tmp_path, "", TRIMTAB_DATABASE_URL=server.url)
        command = [sys.executable, "-m", "trimtab_admin", "migrate"]
        log = tmp_path / "admin.log"
        with log.open("wb") as output:
            migrating = subprocess.Popen(command, env=variables, stderr=output)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while "database.awaited" not in log.read_text():
                    await asyncio.sleep(0.05)
            assert migrating.poll() is None
            server.start()
            assert await asyncio.to_thread(migrating.wait, PATIENCE_SECONDS) == 0
        finally:
            migrating.kill()


async def test_sigterm_ends_a_start_that_waits_for_postgresql(tmp_path: Path) -> None:
    url = f"postgresql+asyncpg://postgres@127.0.0.1:{free_port()}/trimtab"
    log = tmp_path / "admin.log"
    with log.open("wb") as output:
        waiting = subprocess.Popen(
            [sys.executable, "-m", "trimtab_admin"],
            env=environment(tmp_path, "", TRIMTAB_DATABASE_URL=url),
            stderr=output,
        )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "database.awaited" not in log.read_text():
                await asyncio.sleep(0.05)
        waiting.terminate()
        assert await asyncio.to_thread(waiting.wait, PATIENCE_SECONDS) == 0
    finally:
        waiting.kill()


def test_a_missing_token_file_is_reported_in_one_sentence(tmp_path: Path) -> None:
    missing = str(tmp_path / "no-token")
    assert missing in start_error(environment(tmp_path, "", TRIMTAB_TOKEN_FILE=missing))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "admin.example"])
def test_an_admin_without_a_token_file_starts_on_loopback_only(tmp_path: Path, host: str) -> None:
    variables = environment(tmp_path, "", TRIMTAB_HOST=host)
    del variables["TRIMTAB_TOKEN_FILE"]
    line = start_error(variables)
    assert line.startswith(f"admin cannot start: it would listen on {host}:")
    assert "set TRIMTAB_TOKEN_FILE" in line
    assert not (tmp_path / "admin.db").exists()


def test_an_empty_token_file_is_an_error(tmp_path: Path) -> None:
    variables = environment(tmp_path, "")
    (tmp_path / "token").write_text("\n")
    assert "a file that is not empty" in start_error(variables)


def test_an_invalid_settings_file_is_reported_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("records: {task_resource: {limits: {cpu: 1Kib}}}")
    line = start_error(environment(tmp_path, "", TRIMTAB_SETTINGS_FILE=str(file)))
    assert "records.task_resource.limits.cpu" in line


def test_a_port_in_use_is_reported_in_one_sentence(tmp_path: Path, nats_server: NatsServer) -> None:
    line = start_error(environment(tmp_path, nats_server.url, TRIMTAB_PORT=str(nats_server.port)))
    assert f"cannot listen on 127.0.0.1:{nats_server.port}" in line


def test_a_state_stream_that_would_lose_settings_ends_the_process(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    async def add_wrong_stream() -> None:
        client = await nats.connect(nats_server.url)
        await client.jetstream().add_stream(name="SETTINGS", subjects=["trimtab.projects.*"])
        await client.close()

    asyncio.run(add_wrong_stream())
    ended = subprocess.run(
        [sys.executable, "-m", "trimtab_admin"],
        env=environment(tmp_path, nats_server.url),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert ended.returncode == 1
    assert "would lose state" in ended.stderr
