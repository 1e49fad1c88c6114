"""Resolutions in blobs: what admin shows of them, and for how long it keeps them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from nats.aio.client import Client
from pydantic_core import to_json

from tests.integration.admin.logs import append, events_of
from tests.integration.admin.running import execute, register, running, settings_for, workflow
from tests.servers import NatsServer
from trimtab.blobs.directory import DirectoryBlobStore
from trimtab.messages import subjects
from trimtab.messages.executions import Admitted, AnyEvent
from trimtab.messages.resolutions import Resolution, ResolutionBlob, ResolvedValue, pack
from trimtab_admin.config import AdminConfig
from trimtab_admin.executions.blob_collection import BlobCollection
from trimtab_admin.executions.projection import Projection, stored_until
from trimtab_admin.executions.retention import LogDeletion
from trimtab_admin.messaging import streams
from trimtab_admin.storage.database import searching_sessions_of, sessions_of

VALUE = ResolvedValue(path="retries", value=3, source="engine")
RESOLUTION = Resolution(revision=1, executor="process", nodes={"n0": (VALUE,)})
PACKED = pack(to_json(RESOLUTION.content()))


@pytest.fixture
def settings(tmp_path: Path, nats_server: NatsServer, database_url: str) -> AdminConfig:
    blobs = str(tmp_path / "blobs")
    return settings_for(tmp_path, nats_server.url, database_url=database_url, blobs=blobs)


@pytest.fixture
async def admin(settings: AdminConfig) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings) as admin:
        await admin.post("/projects", json={"name": "shop"})
        yield admin


def log_of(execution: str, digest: str) -> list[AnyEvent]:
    """Return a log whose resolution is in a blob."""
    log = events_of(execution)
    assert isinstance(log[1], Admitted)
    blob = ResolutionBlob(digest=digest, size=1)
    log[1] = log[1].model_copy(update={"resolution": None, "blob": blob})
    return log


async def test_the_resolution_in_a_blob_is_shown_and_kept_for_as_long_as_its_execution(
    admin: httpx.AsyncClient, settings: AdminConfig, tmp_path: Path
) -> None:
    store = DirectoryBlobStore(tmp_path / "blobs")
    named, unnamed = await store.put(PACKED), await store.put(b"put, and never appended")
    await register(admin, workflow())
    execution = (await execute(admin)).json()["id"]
    sessions, searching = (
        make(settings.database_url) for make in (sessions_of, searching_sessions_of)
    )
    for event in log_of(execution, named):
        await Projection(sessions).on_event(event)
    await LogDeletion(sessions, days=1).delete(datetime.now(UTC))

    times = [datetime.now(UTC) - timedelta(days=1)]

    async def until() -> datetime:
        return times[-1]

    collection = BlobCollection(lambda: store, searching, 7, until)
    later = datetime.now(UTC) + timedelta(seconds=1)
    # The database lacks events that may name them.
    assert await collection.collect(later) == 0
    times.append(later)
    assert await collection.collect(later) == 1
    assert [blob.digest for blob in await store.list()] == [named] != [unnamed]

    body = (await admin.get(f"/executions/{execution}")).json()
    assert body["resolution"]["nodes"]["n0"][0]["value"] == 3
    assert "resolution_problem" not in body
    for content, problem in ((b"other", "another SHA-256"), (None, "it is not stored")):
        path = tmp_path / "blobs" / named
        path.unlink() if content is None else path.write_bytes(content)
        response = await admin.get(f"/executions/{execution}")
        body = response.json()
        assert (response.status_code, body["resolution"], body["phase"]) == (200, None, "succeeded")
        assert body["resolution_problem"].startswith(f"the resolution, in blob {named}, cannot be")
        assert problem in body["resolution_problem"]
    for each in (sessions, searching):
        await each.kw["bind"].dispose()
    store.close()


async def test_the_database_has_all_events_until_the_first_one_that_was_not_delivered(
    client: Client,
) -> None:
    await streams.bootstrap(client)
    before = datetime.now(UTC)
    assert await stored_until(client) >= before
    await append(client, *events_of("e1")[:3])
    jetstream = client.jetstream()
    times = [
        (await jetstream.get_msg(subjects.EXECUTION_EVENTS, seq=number)).time
        for number in (1, 2, 3)
    ]
    assert await stored_until(client) == times[0]
    subscription = await jetstream.pull_subscribe_bind(
        durable=subjects.ADMIN, stream=subjects.EXECUTION_EVENTS
    )
    delivered = await subscription.fetch(3)
    await delivered[0].ack_sync()
    await delivered[2].ack_sync()
    assert await stored_until(client) == times[1]
    await delivered[1].ack_sync()
    assert await stored_until(client) not in times
