"""Statuses over restarts and lost settings, and differences on request, on a real NATS."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from operator import eq
from pathlib import Path
from typing import Any, cast

import pytest
from nats.aio.client import Client

from tests.integration.clusterres.conftest import WORLD, Serving, Statuses
from tests.integration.clusterres.test_rendering import values
from tests.servers import PATIENCE_SECONDS
from tests.settings_stream import SettingsStream
from trimtab.api.namespaces import NamespaceDifferenceBody
from trimtab.errors import Rejected, Unavailable
from trimtab.messages import subjects
from trimtab.messages.events import ClusterChanged
from trimtab.runtime import replies
from trimtab_clusterres.clusters.port import Difference
from trimtab_clusterres.replies.differences import DifferenceReplies

SECRET = """\
apiVersion: v1
kind: Secret
metadata: {name: s, annotations: {trimtab.io/drift: "off"}}
stringData: {password: hunter2, user: unchanging}
"""


async def difference(
    client: Client, cluster: str, namespace: str, timeout: float = PATIENCE_SECONDS
) -> NamespaceDifferenceBody:
    return await replies.request(
        client,
        subjects.difference(cluster, namespace),
        NamespaceDifferenceBody,
        service="clusterres",
        timeout=timeout,
        headers={},
    )


async def test_namespaces_that_the_settings_lost_do_not_stay_ready(
    serving: Serving, settings_stream: SettingsStream, statuses: Statuses
) -> None:
    clusters = [ClusterChanged(name=name) for name in ("east", "west")]
    await settings_stream.announce(*WORLD, *clusters, values(cpu="4"))
    async with serving():
        for cluster in ("east", "west"):
            await statuses.until(settings_stream.revision, cluster=cluster)
        await settings_stream.put(ClusterChanged(name="west", enabled=False))
        assert await statuses.until(0, "removed", "west") == "cluster 'west' is disabled"
    await settings_stream.put(ClusterChanged(name="east", deleted=True))
    async with serving():  # also where it happened before the start
        reason = await statuses.until(0, "removed")
    assert reason == "cluster 'east' does not exist any longer"
    assert not statuses.seen[-1].usable


async def test_a_failure_after_a_restart_leaves_a_namespace_usable(
    serving: Serving, settings_stream: SettingsStream, statuses: Statuses, templates: Path
) -> None:
    await settings_stream.announce(*WORLD, values(cpu="4"))
    async with serving():
        await statuses.until(settings_stream.revision)
    (templates / "quota.yaml").write_text("broken: {{ unknown }}")
    async with serving():
        await statuses.until(settings_stream.revision, "failed")
    assert [status.usable for status in statuses.seen] == [True, True]


async def test_a_request_gets_the_difference_of_a_namespace_to_its_templates(
    client: Client,
    serving: Serving,
    settings_stream: SettingsStream,
    statuses: Statuses,
    clusters: Path,
    templates: Path,
) -> None:
    (templates / "secret.yaml").write_text(SECRET)

    with pytest.raises(Unavailable, match="no clusterres is running"):
        await difference(client, "east", "alpha-development")
    await settings_stream.announce(*WORLD, values(cpu="4"))
    async with serving():
        await statuses.until(settings_stream.revision)
        assert (await difference(client, "east", "alpha-development")).objects == ()
        file = clusters / "east" / "alpha-development" / "Secret-s.yaml"
        file.write_text(file.read_text().replace("hunter2", "changed"))
        [found] = (await difference(client, "east", "alpha-development")).objects
        text = found.model_dump_json()
        assert found.object == "Secret/s"
        assert found.live != found.desired
        assert not any(value in text for value in ("hunter2", "changed", "unchanging"))
        with pytest.raises(Rejected, match="beta-development"):
            await difference(client, "east", "beta-development")
        (templates / "broken.yaml").write_text("x: {{ unknown }}")
        await statuses.until(settings_stream.revision, "failed")
        with pytest.raises(Rejected, match="unknown"):
            await difference(client, "east", "alpha-development")


async def test_only_the_active_replica_replies(client: Client) -> None:
    class Reconciler:
        name = "east"

        def __init__(self, number: int) -> None:
            self._number = number

        async def compare(self, _namespace: str) -> tuple[int, Sequence[Difference]]:
            return self._number, ()

    active = 2
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        running = []
        for number in range(4):
            reconciler = cast(Any, Reconciler(number))
            one = DifferenceReplies(client, [reconciler], partial(eq, number, active))
            running.append(group.create_task(one.run()))
        found = []
        while len(found) < 4:
            with suppress(Unavailable):  # not all subscribe at once
                found.append((await difference(client, "east", "n", 0.5)).revision)
        assert found == [active] * 4
        for task in running:
            task.cancel()
