"""One replica is active, and another one takes over; nothing stale remains."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.integration.clusterres.conftest import WORLD, Process, Statuses
from tests.servers import PATIENCE_SECONDS
from tests.settings_stream import SettingsStream
from trimtab.levels import PLATFORM
from trimtab.messages import subjects
from trimtab.messages.events import NamespaceStatus, RecordChanged
from trimtab.runtime import bus
from trimtab_clusterres.leadership import Leadership

LEASE_SECONDS = 1.0


def values(cpu: int) -> RecordChanged:
    return RecordChanged.at(PLATFORM, "cluster_resource", {"attributes": {"cpu": str(cpu)}})


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def replica(
    client: Client, lease_seconds: float = LEASE_SECONDS
) -> AsyncIterator[Leadership]:
    leadership = Leadership(lease_seconds)
    following = asyncio.create_task(leadership.follow(client, lambda: None))
    try:
        yield leadership
    finally:
        following.cancel()
        await asyncio.wait([following])


async def publish_status(client: Client) -> None:
    """Let it look as if some replica had worked."""
    status = NamespaceStatus(
        cluster="c",
        namespace="n",
        project="p",
        domain="d",
        revision=1,
        state="ready",
        at=datetime.now(UTC),
    )
    await bus.publish(client, subjects.NAMESPACES, subjects.namespace("c", "n"), status)


async def test_a_replica_that_ends_is_replaced_at_once(client: Client) -> None:
    # So long that no lease runs out here.
    async with replica(client, 10 * PATIENCE_SECONDS) as first:
        await until(lambda: first.is_active)
    async with replica(client, 10 * PATIENCE_SECONDS) as second:
        await first.release(client)
        await until(lambda: second.is_active)
        assert not first.is_active


async def test_only_one_of_several_replicas_is_active_also_where_the_claim_is_deleted(
    client: Client,
) -> None:
    jetstream = client.jetstream()
    async with replica(client) as one, replica(client) as other:
        await until(lambda: one.is_active or other.is_active)
        await publish_status(client)
        for delete in (
            lambda: jetstream.purge_stream(subjects.LEADERS),
            lambda: jetstream.delete_stream(subjects.LEADERS),
        ):
            await delete()
            for _ in range(150):  # for longer than a lease
                assert not (one.is_active and other.is_active)
                await asyncio.sleep(0.01)
            await until(lambda: one.is_active or other.is_active)


async def test_a_claim_that_is_missing_is_waited_for_where_replicas_have_worked(
    client: Client,
) -> None:
    await publish_status(client)
    began = asyncio.get_running_loop().time()
    async with replica(client) as found:
        await until(lambda: found.is_active)
    assert asyncio.get_running_loop().time() - began >= LEASE_SECONDS


@pytest.fixture
def pair(process: Process) -> Iterator[tuple[Process, Process]]:
    """Two replicas on the same cluster, of which none runs yet."""
    other = Process(process.environment)
    try:
        yield process, other
    finally:
        if other.running is not None:
            other.end(signal.SIGKILL)


async def role(process: Process, expected: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await process.ready())["role"] != expected:
            await asyncio.sleep(0.02)


async def stored(client: Client) -> NamespaceStatus:
    """Return the only status in the stream."""
    [message] = await bus.read_all(client, subjects.NAMESPACES, subjects.ALL_NAMESPACES)
    return NamespaceStatus.model_validate_json(message.body)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_standby_takes_over_and_nothing_stale_wins(
    pair: tuple[Process, Process],
    settings_stream: SettingsStream,
    statuses: Statuses,
    clusters: Path,
    client: Client,
    end: signal.Signals,
) -> None:
    active, standby = pair
    active.start()
    await settings_stream.announce(*WORLD, values(1))
    await statuses.until(settings_stream.revision)
    standby.start()
    await role(standby, "standby")
    assert active.running is not None
    stopped = active.running
    stopped.send_signal(end)
    try:
        # The suspended replica receives these, and resumes in the middle of them.
        await statuses.until(await settings_stream.put(values(2)))
        await statuses.until(await settings_stream.put(values(3)))
    finally:
        stopped.send_signal(signal.SIGCONT)
    await role(standby, "active")
    if end is signal.SIGSTOP:
        await role(active, "standby")
    await statuses.until(await settings_stream.put(values(4)))
    manifest = clusters / "east/alpha-development/ResourceQuota-quota.yaml"
    assert "limits.cpu: 4" in manifest.read_text()
    # Subscribers can have a message before the stream has it.
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (found := await stored(client)).revision < settings_stream.revision:
            await asyncio.sleep(0.02)
    assert (found.state, found.revision) == ("ready", settings_stream.revision)
    revisions = [status.revision for status in statuses.seen]
    assert revisions == sorted(revisions)
