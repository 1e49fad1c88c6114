"""Bundles of code: their upload, the versions that name them, and their collection."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.aio.client import Client as NatsClient
from starlette.types import Message

from tests.integration.admin.callers import bearer, grant, token_headers
from tests.integration.admin.running import (
    SCOPE,
    TOKEN,
    execute,
    register,
    registration,
    running,
    settings_for,
    until,
    workflow,
)
from tests.integration.admin.test_requests import DISCONNECT, app_of, never
from tests.servers import PATIENCE_SECONDS, NatsServer
from trimtab.blobs.directory import DirectoryBlobStore
from trimtab.blobs.jetstream import JetStreamBlobStore
from trimtab.blobs.port import StoredBlob
from trimtab.errors import Unavailable
from trimtab.messages import subjects
from trimtab_admin.config import AdminConfig
from trimtab_admin.executions.blob_collection import BlobCollection
from trimtab_admin.executions.projection import stored_until
from trimtab_admin.storage.database import searching_sessions_of

BUNDLE = b"PK: two modules"
DIGEST = hashlib.sha256(BUNDLE).hexdigest()
BYTES = {"Content-Type": "application/octet-stream"}
PATH = f"/blobs/shop/development/{DIGEST}"


@pytest.fixture
def settings(tmp_path: Path, nats_server: NatsServer, database_url: str) -> AdminConfig:
    return settings_for(
        tmp_path, nats_server.url, database_url=database_url, max_bundle_bytes=100_000
    )


@pytest.fixture
async def admin(settings: AdminConfig) -> AsyncIterator[httpx.AsyncClient]:
    """A running admin that is connected to NATS, with two projects."""
    async with connected(settings) as admin:
        await admin.post("/projects", json={"name": "lab"})
        yield admin


@asynccontextmanager
async def connected(settings: AdminConfig) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings) as admin:
        await admin.post("/projects", json={"name": "shop"})
        await until(lambda: is_reachable(admin))
        yield admin


async def is_reachable(admin: httpx.AsyncClient) -> bool:
    return (await admin.get(PATH)).status_code == 404


async def put(admin: httpx.AsyncClient, content: Any = BUNDLE, **more: Any) -> httpx.Response:
    headers = {**BYTES, **more.pop("headers", {})}
    return await admin.put(more.pop("path", PATH), content=content, headers=headers, **more)


async def is_stored(admin: httpx.AsyncClient) -> bool:
    response = await admin.get(PATH)
    assert response.status_code in (200, 404), response.text
    return response.status_code == 200


async def test_an_uploaded_bundle_is_stored_and_its_content_is_never_returned(
    admin: httpx.AsyncClient,
) -> None:
    assert (await admin.get(PATH)).json()["path"] == "blob"
    dry = await put(admin, params={"dry_run": "true"})
    assert dry.json() == {"digest": DIGEST, "size": len(BUNDLE)}
    assert not await is_stored(admin)
    for _ in range(2):
        response = await put(admin)
        assert (response.status_code, response.json()) == (
            200,
            {"digest": DIGEST, "size": len(BUNDLE)},
        )
    response = await admin.get(PATH)
    assert (response.status_code, response.json()) == (
        200,
        {"digest": DIGEST, "size": len(BUNDLE)},
    )


WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"content": b"another"}, 400, "the SHA-256 of the body"),
    ({"content": b"x" * 100_001}, 413, "at most 100000 bytes"),
    ({"path": PATH.replace(DIGEST, DIGEST.upper())}, 400, "digest"),
    ({"path": PATH[:-1]}, 400, "digest"),
    ({"path": PATH.replace("shop", "shpo")}, 404, "did you mean 'shop'"),
    ({"headers": {"Content-Type": "application/json"}}, 415, "application/octet-stream"),
    ({"headers": {"Content-Type": "text/plain"}}, 415, "application/octet-stream"),
    ({"headers": {"Origin": "http://evil.example"}}, 403, "not allowed"),
    ({"params": {"force": "true"}}, 400, "dry_run; there is no parameter"),
]


async def test_a_wrong_upload_is_refused_and_stores_nothing(admin: httpx.AsyncClient) -> None:
    for more, status, message in WRONG:
        response = await put(admin, **more)
        assert response.status_code == status, response.text
        assert message in response.text
        assert not await is_stored(admin)


async def test_only_a_caller_who_may_register_there_uploads_and_a_refusal_reads_no_body(
    admin: httpx.AsyncClient,
) -> None:
    of_workflow = {**SCOPE, "workflow": "nightly"}
    callers = {
        "viewer": await token_headers(admin, "v", grant("viewer", project="shop")),
        "other": await token_headers(admin, "o", grant("editor", project="lab")),
        "plan": await token_headers(admin, "p", grant("editor", **of_workflow, launch_plan="p")),
        "domain": await token_headers(
            admin, "d", grant("editor", **{**of_workflow, "domain": "staging"})
        ),
        "kind": await token_headers(admin, "k", grant("editor", "task_resource")),
        "unknown": bearer("none"),
    }
    for name, headers in callers.items():
        async with asyncio.timeout(PATIENCE_SECONDS):
            response = await put(admin, never(), headers=headers)
        assert response.status_code == (401 if name == "unknown" else 403), name
    for name, scope in {"project": {"project": "shop"}, "own": of_workflow, "all": {}}.items():
        editor = await token_headers(admin, name, grant("editor", **scope))
        assert (await put(admin, headers=editor)).status_code == 200
    assert (await admin.get(PATH, headers=callers["viewer"])).status_code == 200
    assert (await admin.get(PATH, headers=callers["other"])).status_code == 403


class Upload:
    """An upload that sends parts, and then nothing until the test sends its end."""

    def __init__(self, app: Any, *received: Message) -> None:
        self._app = app
        self._received = asyncio.Queue[Message]()
        self.read = 0
        self.sent: list[Message] = []
        for message in received:
            self.send(message)

    def send(self, message: Message) -> None:
        self._received.put_nowait(message)

    async def run(self) -> None:
        headers = {"host": "127.0.0.1", "authorization": f"Bearer {TOKEN}"}
        headers["content-type"] = BYTES["Content-Type"]
        path = f"/api/v2{PATH}"
        scope = {
            "type": "http",
            "method": "PUT",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        await self._app(scope, self._receive, self._send)

    async def until_read(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.read < count:
                await asyncio.sleep(0)

    async def _receive(self) -> Message:
        message = await self._received.get()
        self.read += 1
        return message

    async def _send(self, message: Message) -> None:
        self.sent.append(message)


def part(content: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": content, "more_body": more}


async def test_an_upload_that_ends_early_stores_nothing_and_frees_its_memory(
    admin: httpx.AsyncClient,
) -> None:
    for _ in range(3):  # each takes a third of the memory
        upload = Upload(app_of(admin), part(b"x" * 90_000), part(b"x" * 9_000), DISCONNECT)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await upload.run()
        assert upload.sent == []
    assert not await is_stored(admin)
    assert (await put(admin)).status_code == 200


async def test_slow_uploads_hold_up_no_others_and_their_memory_is_bounded(
    admin: httpx.AsyncClient,
) -> None:
    app = app_of(admin)
    async with asyncio.TaskGroup() as group:
        slow = [Upload(app, part(b"x" * 99_999)) for _ in range(4)]
        for upload in slow:
            group.create_task(upload.run())
            await upload.until_read(1)
        assert (await put(admin, b"", path=empty())).status_code == 200
        response = await put(admin)
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert "too many bundles are uploaded at once" in response.text
        slow[0].send(DISCONNECT)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await put(admin)).status_code != 200:
                await asyncio.sleep(0)
        for upload in slow[1:]:
            upload.send(DISCONNECT)


def empty() -> str:
    return PATH.replace(DIGEST, hashlib.sha256(b"").hexdigest())


async def test_an_upload_that_pauses_or_lasts_too_long_is_refused(
    settings: AdminConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = settings.model_copy(update={"request_seconds": 0.05})
    async with connected(short) as admin:
        pauses = Upload(app_of(admin), part(b"PK"))
        monkeypatch.setattr("trimtab_admin.api.blobs._UPLOAD_SECONDS", 0.0)
        lasts = Upload(app_of(admin), part(b"PK"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await lasts.run()
            monkeypatch.undo()
            await pauses.run()
        assert not await is_stored(admin)
    assert [upload.sent[0]["status"] for upload in (pauses, lasts)] == [408, 408]
    assert b"a pause of 0.05 s" in pauses.sent[1]["body"]
    assert b"a complete body within 0 s" in lasts.sent[1]["body"]


async def test_a_version_is_registered_only_once_its_bundle_is_stored(
    admin: httpx.AsyncClient,
) -> None:
    bundled = workflow(module="", bundle=DIGEST)
    body = registration(bundled)
    response = await admin.post("/workflows", json=body)
    assert response.status_code == 404
    assert f"bundle '{DIGEST}' does not exist; `trimtab register` uploads it" in response.text
    assert (await admin.get("/workflows")).json() == []
    dry = await admin.post("/workflows", json=body, params={"dry_run": "true"})
    assert dry.status_code == 200, dry.text
    await put(admin)
    await register(admin, bundled)


async def test_a_wiped_or_damaged_bundle_is_uploaded_and_registered_again(
    admin: httpx.AsyncClient, client: NatsClient
) -> None:
    await put(admin)
    body = registration(workflow(module="", bundle=DIGEST))
    assert (await admin.post("/workflows", json=body)).status_code == 201
    jetstream = client.jetstream()
    for subject in (subjects.blob_chunks("*"), ">"):
        await jetstream.purge_stream(subjects.BLOBS_STREAM, subject=subject)
        assert not await is_stored(admin)
        assert (await put(admin)).status_code == 200
        assert await is_stored(admin)
        assert (await admin.post("/workflows", json=body)).status_code == 200
    await jetstream.purge_stream(subjects.BLOBS_STREAM)
    assert (await admin.post("/workflows", json=body)).status_code == 404


async def test_bundles_are_uploaded_again_after_the_storage_of_nats_was_lost(
    admin: httpx.AsyncClient, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.runtime.bus.TIMEOUT_SECONDS", 0.5)
    await put(admin)
    nats_server.wipe()
    await until(lambda: is_reachable(admin))
    assert (await put(admin)).status_code == 200
    assert await is_stored(admin)


async def test_an_upload_during_an_outage_of_nats_is_unavailable(
    admin: httpx.AsyncClient, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.runtime.bus.TIMEOUT_SECONDS", 0.5)
    await put(admin)
    nats_server.stop()
    bundled = registration(workflow(module="", bundle=DIGEST))
    for response in (
        await put(admin),
        await admin.get(PATH),
        await admin.post("/workflows", json=bundled),
    ):
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    # Workflows of one module need no blob.
    await register(admin, workflow())
    nats_server.start()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await put(admin)).status_code != 200:
            await asyncio.sleep(0.02)


@pytest.fixture
async def collection(
    admin: httpx.AsyncClient, client: NatsClient, settings: AdminConfig
) -> AsyncIterator[BlobCollection]:
    sessions = searching_sessions_of(settings.database_url)
    yield BlobCollection(
        lambda: JetStreamBlobStore(client), sessions, 7, lambda: stored_until(client)
    )
    await sessions.kw["bind"].dispose()


async def test_a_bundle_that_no_version_and_no_execution_names_is_deleted_after_the_days(
    admin: httpx.AsyncClient, client: NatsClient, collection: BlobCollection
) -> None:
    store = JetStreamBlobStore(client)
    await put(admin)
    named = await store.put(b"named by an execution")
    for version in range(2, 23):  # a whole page before the one that names the bundle
        await register(admin, workflow(str(version), module=f"# {version}"))
    await register(admin, workflow(module="", bundle=DIGEST))
    overrides = {"trainer": {"environment": {"BLOB": named}}}
    response = await execute(admin, version="2", overrides=overrides)
    assert response.status_code == 201, response.text
    unnamed = await store.put(b"unnamed")
    ages = {blob.digest: blob.stored_at for blob in await store.list()}
    assert await collection.collect(datetime.now(UTC) - timedelta(days=7)) == 0
    assert await collection.collect(datetime.now(UTC) + timedelta(seconds=1)) == 1
    left = {blob.digest: blob.stored_at for blob in await store.list()}
    assert left.keys() == {DIGEST, named} == ages.keys() - {unnamed}
    # What is named is not looked up again for the days.
    assert all(left[digest] > ages[digest] for digest in left)


async def test_a_bundle_that_is_registered_during_a_collection_stays(
    admin: httpx.AsyncClient, client: NatsClient, settings: AdminConfig
) -> None:
    bundled = workflow(module="", bundle=DIGEST)

    class RegisteredMeanwhile(JetStreamBlobStore):
        """A store that deletes only after others have registered what it deletes."""

        async def delete(self, blob: StoredBlob) -> bool:
            await register(admin, bundled)
            return await super().delete(blob)

    await put(admin)
    sessions = searching_sessions_of(settings.database_url)
    collection = BlobCollection(
        lambda: RegisteredMeanwhile(client), sessions, 7, lambda: stored_until(client)
    )
    assert await collection.collect(datetime.now(UTC) + timedelta(seconds=1)) == 0
    assert await is_stored(admin)
    await sessions.kw["bind"].dispose()


async def test_a_collection_without_a_store_deletes_nothing_and_is_repeated(
    nats_server: NatsServer, collection: BlobCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.runtime.bus.TIMEOUT_SECONDS", 0.5)
    nats_server.stop()
    with pytest.raises(Unavailable):
        await collection.collect(datetime.now(UTC))


async def test_blobs_of_a_directory_need_no_nats(
    settings: AdminConfig, tmp_path: Path, nats_server: NatsServer
) -> None:
    directory = tmp_path / "blobs"
    nats_server.stop()
    async with running(settings.model_copy(update={"blobs": f"file://{directory}"})) as admin:
        await admin.post("/projects", json={"name": "shop"})
        assert (await put(admin)).status_code == 200
        await register(admin, workflow(module="", bundle=DIGEST))
    store = DirectoryBlobStore(directory)
    assert await store.get(DIGEST) == BUNDLE
    store.close()
