"""Objects that nothing renders any longer, on directory clusters and a real NATS."""

from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.integration.clusterres.conftest import WORLD, Serving, Statuses
from tests.integration.clusterres.test_rendering import values
from tests.servers import NatsServer
from tests.settings_stream import SettingsStream
from trimtab.messages.events import NamespaceStatus, ProjectChanged, PruneChanged
from trimtab_clusterres.config import ClusterAccess, ClusterresConfig
from trimtab_clusterres.pruning.policies import PrunePolicies

ARCHIVED = ProjectChanged(name="alpha", state="archived")
QUOTA = "alpha-development/ResourceQuota-quota.yaml"
MAP = "alpha-development/ConfigMap-map.yaml"


@pytest.fixture
def service_config(nats_server: NatsServer, templates: Path, clusters: Path) -> ClusterresConfig:
    (templates / "map.yaml").write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: map}}")
    policies = PrunePolicies(default="confirm", kinds={"ConfigMap": "prune"})
    return ClusterresConfig(
        nats_url=nats_server.url,
        templates=templates,
        clusters={"east": ClusterAccess(directory=clusters / "east", prune=policies)},
    )


def files(clusters: Path) -> set[str]:
    east = clusters / "east"
    return {str(file.relative_to(east)) for file in east.glob("*/*.yaml")}


async def removed(statuses: Statuses, revision: int, *outcomes: str) -> NamespaceStatus:
    """Wait for the status of the removed namespace with exactly these outcomes."""

    def is_expected(status: NamespaceStatus) -> bool:
        found = [detail.outcome for detail in status.details]
        return (status.state, found) == ("removed", list(outcomes)) and status.revision >= revision

    return await statuses.wait_for(is_expected)


async def test_an_archived_project_is_pruned_once_it_is_confirmed_and_restored_again(
    serving: Serving, settings_stream: SettingsStream, statuses: Statuses, clusters: Path
) -> None:
    await settings_stream.announce(*WORLD, values(cpu="4"))
    async with serving():
        await statuses.until(settings_stream.revision)
        revision = await settings_stream.put(ARCHIVED)
        waiting = await removed(statuses, revision, "pruned", "unconfirmed")
        assert (waiting.error, waiting.usable) == ("project 'alpha' is archived", False)
        assert files(clusters) == {QUOTA}
        objects = tuple(one.identity for one in waiting.details if one.identity)
        confirmed = PruneChanged(
            cluster="east",
            namespace="alpha-development",
            digest=waiting.prune_digest,
            objects=objects,
        )
        other = confirmed.model_copy(update={"digest": "0" * 32})
        revision = await settings_stream.put(other)
        again = await removed(statuses, revision, "unconfirmed")
        assert (again.prune_digest, files(clusters)) == (waiting.prune_digest, {QUOTA})
        await removed(statuses, await settings_stream.put(confirmed), "pruned")
        assert files(clusters) == set()
        await statuses.until(await settings_stream.put(ProjectChanged(name="alpha")))
        assert files(clusters) == {QUOTA, MAP}
        # The confirmation is for the objects that were deleted.
        await removed(statuses, await settings_stream.put(ARCHIVED), "pruned", "unconfirmed")
        assert files(clusters) == {QUOTA}


async def test_a_project_that_vanished_while_nothing_ran_is_reported_and_keeps_its_objects(
    client: Client,
    serving: Serving,
    settings_stream: SettingsStream,
    statuses: Statuses,
    clusters: Path,
) -> None:
    await settings_stream.announce(*WORLD, values(cpu="4"))
    async with serving():
        await statuses.until(settings_stream.revision)
    await settings_stream.put(ProjectChanged(name="alpha", deleted=True))
    await client.jetstream().purge_stream("NAMESPACES")
    async with serving():
        found = await removed(statuses, settings_stream.revision, "kept", "kept")
        assert "without being archived" in found.details[0].message
        assert files(clusters) == {QUOTA, MAP}


async def test_a_removed_template_prunes_and_most_of_them_at_once_do_not(
    serving: Serving,
    settings_stream: SettingsStream,
    statuses: Statuses,
    templates: Path,
    clusters: Path,
) -> None:
    (templates / "other.yaml").write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: o}}")
    await settings_stream.announce(*WORLD, values(cpu="4"))
    async with serving():
        await statuses.until(settings_stream.revision)
        (templates / "other.yaml").unlink()
        await statuses.wait_for(lambda _status: files(clusters) == {QUOTA, MAP})
    account = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: o}}"
    (templates / "other.yaml").write_text(account)
    for name in ("map", "quota"):
        (templates / f"{name}.yaml").unlink()
    async with serving():
        await statuses.wait_for(lambda status: bool(status.prune_digest))
    assert {QUOTA, MAP} <= files(clusters)
    outcomes = {detail.object: detail.outcome for detail in statuses.seen[-1].details}
    assert outcomes["ConfigMap/map"] == outcomes["ResourceQuota/quota"] == "unconfirmed"
