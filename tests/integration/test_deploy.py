"""The programs of deploy/: the health check of the images, and the secrets of compose.yaml."""

import asyncio
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from nats.aio.client import Client

from tests.servers import PATIENCE_SECONDS, NatsServer, free_port
from trimtab.blobs.jetstream import JetStreamBlobStore
from trimtab.blobs.port import StoredBlob
from trimtab.errors import Unavailable
from trimtab.messages import subjects
from trimtab.runtime import bus
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.connection import connect
from trimtab_admin.messaging import streams

DEPLOY = Path(__file__).parents[2] / "deploy"


@contextmanager
def responding(status: int) -> Iterator[int]:
    """Yield the port of a service whose ``/readyz`` has this status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()
            self.wfile.write(b'{"reasons": {"nats": "not connected"}}')

        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            serving.join()


def health(port: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", str(DEPLOY / "healthcheck.py")]
    environment = {"TRIMTAB_PORT": str(port)}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
def test_a_container_is_healthy_where_its_service_is_ready(status: int, code: int) -> None:
    with responding(status) as port:
        done = health(port)
    assert (done.returncode, done.stdout) == (code, '{"reasons": {"nats": "not connected"}}')


def test_a_container_without_a_server_is_not_healthy() -> None:
    assert health(free_port()).returncode == 1


@pytest.fixture
def secrets(tmp_path: Path) -> ModuleType:
    """The program that writes the secrets, with its volumes in a directory of the test."""
    spec = importlib.util.spec_from_file_location("secrets_program", DEPLOY / "compose/secrets.py")
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    program.ROOT = tmp_path
    for volume in {"values", *(name.split("/")[0] for f in program.FILES.values() for name in f)}:
        (tmp_path / volume).mkdir()
    return program


def contents(directory: Path) -> dict[str, str]:
    files = (file for file in directory.rglob("*") if file.is_file())
    return {str(file.relative_to(directory)): file.read_text() for file in files}


def test_secrets_are_generated_once_and_each_container_has_its_own(
    tmp_path: Path, secrets: ModuleType
) -> None:
    secrets.main()
    written = contents(tmp_path)
    nats, database = written["values/nats"], written["values/postgres"]
    assert written["nats/password.conf"] == f'PASSWORD: "{nats}"\n'
    assert written["admin/trimtab_nats_password"] == nats
    propeller = written["propeller/trimtab_nats_password"]
    assert written["nats/propeller.conf"] == f'PROPELLER_PASSWORD: "{propeller}"\n'
    assert f"trimtab:{database}@postgres" in written["admin/trimtab_database_url"]
    assert len({written[f"values/{name}"] for name in secrets.FILES}) == len(secrets.FILES)
    secrets.main()
    assert contents(tmp_path) == written


def test_secrets_are_complete_after_the_program_was_killed(
    tmp_path: Path, secrets: ModuleType
) -> None:
    secrets.main()
    written = contents(tmp_path)
    for name in ("admin/api_token", "nats/password.conf"):
        (tmp_path / name).unlink()
    # A part that is left behind is replaced and not written to.
    left = tmp_path / "admin/.api_token"
    left.touch(mode=0o444)
    with left.open() as opened:
        secrets.main()
        assert not opened.read()
    assert contents(tmp_path) == written


@pytest.fixture
def nats(tmp_path: Path, secrets: ModuleType) -> Iterator[NatsServer]:
    """A server with the configuration of compose.yaml, in whose root the secrets are."""
    secrets.main()
    text = (DEPLOY / "nats/nats.conf").read_text()
    assert "include ../../run/secrets/" in text
    text = text.replace("../../run/secrets/", "nats/")
    for line in ("http: 127.0.0.1:8222", "listen: 0.0.0.0:4222", "store_dir: /data"):
        assert line in text
        text = text.replace(line, "")  # the test's server has its own
    file = tmp_path / "nats.conf"
    file.write_text(text)
    with NatsServer(tmp_path / "server", config=file) as server:
        yield server


@asynccontextmanager
async def connected(nats: NatsServer, root: Path, service: str) -> AsyncIterator[Client]:
    """Connect as a service of compose.yaml does, with its user and its secret."""
    compose = yaml.safe_load((DEPLOY.parent / "compose.yaml").read_text())
    config = ServiceConfig(
        nats_url=nats.url,
        nats_user=compose["services"][service]["environment"]["TRIMTAB_NATS_USER"],
        nats_password=(root / service / "trimtab_nats_password").read_text(),
    )
    async with connect(config, service) as client:
        yield client


async def test_admin_deletes_blobs_propeller_adds_and_reads_them_and_the_others_do_neither(
    tmp_path: Path, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(nats, tmp_path, "admin") as admin:
        await streams.bootstrap(admin)
        store = JetStreamBlobStore(admin)
        other = await store.put(b"another")
        [blob] = await store.list()
        assert await store.delete(blob)
        assert await store.delete_unfinished(datetime.now(UTC)) == 0
        kept = await store.put(b"a bundle")
        [blob] = await store.list()
        for service in ("propeller", "clusterres", "resmgr"):
            async with connected(nats, tmp_path, service) as client:
                uploads = await client.subscribe(subjects.blob_chunks(">"))
                # Everything else is allowed.
                await bus.read_all(client, subjects.SETTINGS, "trimtab.>")
                if service == "propeller":
                    assert await JetStreamBlobStore(client).get(kept) == b"a bundle"
                    assert not await JetStreamBlobStore(client).has(other)
                    added = await JetStreamBlobStore(client).put(b"a resolution")
                    assert await JetStreamBlobStore(client).refresh(added)
                await refuses(client, blob, monkeypatch, uses=service != "propeller")
                await admin.publish(subjects.blob_chunks("seen"), b"a part")
                await admin.flush()
                await client.flush()
                assert uploads.pending_msgs == 0
        assert {each.digest for each in await store.list()} == {kept, added}
        assert await store.get(kept) == b"a bundle"
        assert await store.get(added) == b"a resolution"


async def refuses(
    client: Client, blob: StoredBlob, monkeypatch: pytest.MonkeyPatch, *, uses: bool
) -> None:
    """Check that the server refuses deletions of blobs, and uses of them where they are given.

    A server that refuses a request does not respond to it.
    """
    store, jetstream = JetStreamBlobStore(client), client.jetstream(timeout=0.1)
    message = json.dumps({"seq": blob.revision}).encode()
    calls = [
        store.list(),
        store.delete(blob),
        client.request(f"$JS.API.STREAM.MSG.DELETE.{subjects.BLOBS_STREAM}", message, timeout=0.1),
        jetstream.purge_stream(subjects.BLOBS_STREAM),
        jetstream.delete_stream(subjects.BLOBS_STREAM),
    ]
    if uses:
        direct = jetstream.get_msg(subjects.BLOBS_STREAM, seq=blob.revision, direct=True)
        calls += [store.put(b"from a service"), store.refresh(blob.digest)]
        calls += [store.get(blob.digest), store.has(blob.digest), direct]
    with monkeypatch.context() as patched:
        patched.setattr(bus, "TIMEOUT_SECONDS", 0.1)
        found = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, Unavailable | TimeoutError) for each in found), found
