"""A change of the settings becomes a manifest, on a real NATS."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from nats.aio.client import Client
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from tests.integration.clusterres.conftest import QUOTA, WORLD, Serving, Statuses
from tests.servers import PATIENCE_SECONDS, NatsServer
from tests.settings_stream import SettingsStream
from trimtab.errors import Unavailable
from trimtab.levels import PLATFORM, Scope
from trimtab.messages import subjects
from trimtab.messages.events import ClusterChanged, NamespaceStatus, ProjectChanged, RecordChanged
from trimtab.runtime import bus
from trimtab_admin.messaging import streams

ALPHA = Scope("development", "alpha")


def values(scope: Scope = PLATFORM, /, **attributes: str) -> RecordChanged:
    return RecordChanged.at(scope, "cluster_resource", {"attributes": attributes})


def quota(clusters: Path, namespace: str = "alpha-development", cluster: str = "east") -> Any:
    """Return the CPU limit in the manifest."""
    text = (clusters / cluster / namespace / "ResourceQuota-quota.yaml").read_text()
    return yaml.safe_load(text)["spec"]["hard"]["limits.cpu"]


async def declare(client: Client) -> None:
    """Declare the streams as soon as the connection is back."""
    while True:
        with suppress(Unavailable):
            await streams.bootstrap(client)
            return


async def test_a_change_becomes_a_manifest(
    serving: Serving, settings_stream: SettingsStream, statuses: Statuses, clusters: Path
) -> None:
    await settings_stream.announce(*WORLD, values(cpu="4"))
    async with serving():
        await statuses.until(settings_stream.revision)
        assert quota(clusters) == 4
        await statuses.until(await settings_stream.put(values(ALPHA, cpu="1000")))
        assert quota(clusters) == 1000
        await statuses.until(
            await settings_stream.put(RecordChanged.at(ALPHA, "cluster_resource", None))
        )
        assert quota(clusters) == 4


async def test_an_edit_by_hand_is_repaired(
    serving: Serving, settings_stream: SettingsStream, statuses: Statuses, clusters: Path
) -> None:
    await settings_stream.announce(*WORLD, values(cpu="4"))
    async with serving():
        await statuses.until(settings_stream.revision)
        file = clusters / "east" / "alpha-development" / "ResourceQuota-quota.yaml"
        file.write_text(file.read_text().replace("limits.cpu: 4", "limits.cpu: 400"))
        assert quota(clusters) == 400
        async with asyncio.timeout(PATIENCE_SECONDS):
            while quota(clusters) != 4:
                await asyncio.sleep(0.02)


async def test_a_new_project_gets_a_namespace_and_an_archived_one_keeps_its_manifests(
    serving: Serving, settings_stream: SettingsStream, statuses: Statuses, clusters: Path
) -> None:
    await settings_stream.announce(*WORLD, values(cpu="4"))
    async with serving():
        await statuses.until(settings_stream.revision)
        await settings_stream.put(ProjectChanged(name="alpha", state="archived"))
        await statuses.until(await settings_stream.put(ProjectChanged(name="beta")))
        assert quota(clusters, "beta-development") == 4
        await settings_stream.put(values(cpu="5"))
        await statuses.until(settings_stream.revision)
        assert quota(clusters, "beta-development") == 5
        assert quota(clusters, "alpha-development") == 4


async def test_the_status_of_a_namespace_is_published(
    client: Client, serving: Serving, settings_stream: SettingsStream, statuses: Statuses
) -> None:
    await settings_stream.announce(*WORLD, values(cpu="4"))
    async with serving():
        await statuses.until(settings_stream.revision)
    [stored] = await bus.read_all(client, subjects.NAMESPACES, subjects.ALL_NAMESPACES)
    assert stored.subject == subjects.namespace("east", "alpha-development")
    status = NamespaceStatus.model_validate_json(stored.body)
    assert status == NamespaceStatus(
        cluster="east",
        namespace="alpha-development",
        project="alpha",
        domain="development",
        revision=settings_stream.revision,
        state="ready",
        usable=True,
        objects=("ResourceQuota/quota",),
        counts={"applied": 1},
        details=status.details,
        seconds=status.seconds,
        at=status.at,
    )
    [detail] = status.details
    assert (detail.object, detail.outcome) == ("ResourceQuota/quota", "applied")


async def test_a_burst_of_changes_costs_few_renders(
    serving: Serving, settings_stream: SettingsStream, statuses: Statuses, clusters: Path
) -> None:
    await settings_stream.announce(*WORLD, values(cpu="4"))
    async with serving():
        await statuses.until(settings_stream.revision)
        statuses.seen.clear()
        for number in range(200):
            await settings_stream.put(values(ALPHA, cpu=str(number)))
        await statuses.until(settings_stream.revision)
    assert quota(clusters) == 199
    assert len(statuses.seen) <= 50


async def test_a_value_with_line_breaks_and_colons_stays_one_value(
    serving: Serving,
    settings_stream: SettingsStream,
    statuses: Statuses,
    clusters: Path,
    templates: Path,
) -> None:
    text = "a: b\n  kind: Role\n- {x: [y]} # '\"\n"
    (templates / "quota.yaml").write_text(QUOTA + "note: {{ note }}\n")
    await settings_stream.announce(*WORLD, values(cpu="4", note=text))
    async with serving():
        await statuses.until(settings_stream.revision)
    found = yaml.safe_load(
        (clusters / "east/alpha-development/ResourceQuota-quota.yaml").read_text()
    )
    assert found["note"] == text.strip()  # as around any value without quotes
    assert found["kind"] == "ResourceQuota"


async def test_a_wrong_template_keeps_the_old_manifests_until_it_is_mended(
    serving: Serving,
    settings_stream: SettingsStream,
    statuses: Statuses,
    clusters: Path,
    templates: Path,
) -> None:
    await settings_stream.announce(*WORLD, values(cpu="4"))
    async with serving():
        await statuses.until(settings_stream.revision)
        (templates / "zz.yaml").write_text("apiVersion: v1\nkind: Role\nmetadata: {name: {{ x }}}")
        # No event reports that a template was edited.
        error = await statuses.until(settings_stream.revision, "failed")
        assert error.startswith("template zz.yaml: {{ x }} (line 3) has no value for")
        revision = await settings_stream.put(values(cpu="5"))
        await statuses.until(revision, "failed")
        assert quota(clusters) == 4
        (templates / "zz.yaml").unlink()
        await statuses.until(revision)
        assert quota(clusters) == 5


async def test_an_unreadable_record_fails_its_namespaces_by_name(
    serving: Serving, settings_stream: SettingsStream, statuses: Statuses, clusters: Path
) -> None:
    await settings_stream.announce(*WORLD, values(cpu="4"))
    unreadable = RecordChanged.at(ALPHA, "cluster_resource", {"attributes": {"cpu": 5}})
    async with serving():
        await statuses.until(settings_stream.revision)
        error = await statuses.until(await settings_stream.put(unreadable), "failed")
        assert "cluster_resource record of project-domain alpha/development" in error
        assert quota(clusters) == 4
        await statuses.until(await settings_stream.put(values(ALPHA, cpu="6")))
        assert quota(clusters) == 6


async def test_a_failed_cluster_is_retried_alone(
    serving: Serving, settings_stream: SettingsStream, statuses: Statuses, clusters: Path
) -> None:
    clusters.mkdir()
    (clusters / "west").write_text("in the way")
    await settings_stream.announce(*WORLD, ClusterChanged(name="west"), values(cpu="4"))
    async with serving():
        await statuses.until(settings_stream.revision)
        assert "west" in await statuses.until(settings_stream.revision, "failed", "west")
        (clusters / "west").unlink()
        await statuses.until(settings_stream.revision, "ready", "west")
        assert quota(clusters, cluster="west") == 4
    assert [status.state for status in statuses.seen if status.cluster == "east"] == ["ready"]


@pytest.fixture
def hung_directory(clusters: Path) -> Iterator[Path]:
    """Make the cluster west hang: its manifest is a pipe, so reading it never returns."""
    pipe = clusters / "west/alpha-development/ResourceQuota-quota.yaml"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    yield pipe
    end_hang(pipe)


def end_hang(pipe: Path) -> None:
    """Let the read of the pipe return, after which the manifest replaces the pipe."""
    while pipe.is_fifo():
        with suppress(OSError):  # nothing reads at this moment
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        time.sleep(0.01)


@pytest.mark.parametrize("cluster_timeout_seconds", [2.0])
async def test_a_cluster_that_hangs_delays_no_other(
    hung_directory: Path,
    serving: Serving,
    settings_stream: SettingsStream,
    statuses: Statuses,
    clusters: Path,
) -> None:
    await settings_stream.announce(*WORLD, ClusterChanged(name="west"), values(cpu="4"))
    async with serving():
        for cpu in range(10):
            await statuses.until(await settings_stream.put(values(cpu=str(cpu))))
            assert quota(clusters) == cpu
        error = await statuses.until(1, "failed", "west")
        assert error == "cluster west did not answer within 2 s"
        assert not [s for s in statuses.seen if (s.cluster, s.state) == ("west", "ready")]
        end_hang(hung_directory)
        await statuses.until(settings_stream.revision, "ready", "west")
        assert quota(clusters, cluster="west") == 9


async def test_a_cluster_that_is_enabled_later_gets_every_namespace(
    serving: Serving, settings_stream: SettingsStream, statuses: Statuses, clusters: Path
) -> None:
    off = ClusterChanged(name="west", enabled=False)
    await settings_stream.announce(*WORLD, off, ClusterChanged(name="north"), values(cpu="4"))
    async with serving():
        await statuses.until(settings_stream.revision)
        assert not (clusters / "west").exists()
        revision = await settings_stream.put(ClusterChanged(name="west"))
        await statuses.until(revision, cluster="west")
        assert quota(clusters, cluster="west") == 4
    assert {status.cluster for status in statuses.seen} == {"east", "west"}


async def test_a_cluster_that_is_not_configured_is_reported_once(
    serving: Serving,
    settings_stream: SettingsStream,
    statuses: Statuses,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await settings_stream.announce(*WORLD, ClusterChanged(name="north"), values(cpu="4"))
    async with serving():
        await settings_stream.put(ClusterChanged(name="north", weight=2.0))
        await statuses.until(await settings_stream.put(values(cpu="5")))
    reports = [record for record in caplog.records if record.message == "cluster.not_configured"]
    assert [vars(record)["cluster"] for record in reports] == ["north"]
    assert {status.cluster for status in statuses.seen} == {"east"}


async def test_the_trace_of_a_change_continues_in_the_status(
    serving: Serving, settings_stream: SettingsStream, statuses: Statuses
) -> None:
    await settings_stream.announce(*WORLD, values(cpu="4"))
    put = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    async with serving():
        await statuses.until(settings_stream.revision)
        with trace.use_span(NonRecordingSpan(put)):
            revision = await settings_stream.put(values(cpu="5"))
        await statuses.until(revision)
    assert statuses.traceparents[0] == ""
    assert statuses.traceparents[-1].split("-")[1] == f"{0xABC:032x}"


async def test_a_start_brings_everything_up_to_date(
    serving: Serving, settings_stream: SettingsStream, statuses: Statuses, clusters: Path
) -> None:
    await settings_stream.announce(*WORLD, values(cpu="4"))
    async with serving():
        await statuses.until(settings_stream.revision)
    manifest = clusters / "east/alpha-development/ResourceQuota-quota.yaml"
    manifest.write_text("edited by hand")
    await settings_stream.announce(ProjectChanged(name="beta"), values(ALPHA, cpu="7"))
    async with serving():
        await statuses.until(settings_stream.revision)
        # Two namespaces have this revision, in either order.
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "edited by hand" in manifest.read_text():
                await asyncio.sleep(0.02)
    assert quota(clusters) == 7


async def test_the_view_follows_a_store_that_was_wiped_and_filled_again(
    client: Client,
    nats_server: NatsServer,
    serving: Serving,
    settings_stream: SettingsStream,
    statuses: Statuses,
    clusters: Path,
) -> None:
    await settings_stream.announce(*WORLD, values(cpu="4"))
    async with serving():
        await statuses.until(settings_stream.revision)
        nats_server.wipe()
        await declare(client)
        await settings_stream.refill()
        await statuses.until(settings_stream.revision)
        assert quota(clusters) == 4
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await bus.read_all(client, subjects.NAMESPACES, subjects.ALL_NAMESPACES):
                await asyncio.sleep(0.05)
        await statuses.until(await settings_stream.put(values(cpu="5")))
        assert quota(clusters) == 5
