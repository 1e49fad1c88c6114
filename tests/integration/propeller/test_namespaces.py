"""An execution is claimed once its namespace can be used; those of other projects do not wait."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from nats.aio.client import Client

from tests.integration.propeller.conftest import Start
from tests.integration.propeller.harness import Executions, request
from tests.servers import PATIENCE_SECONDS
from tests.settings_stream import SettingsStream
from trimtab.messages import subjects
from trimtab.messages.events import (
    ClusterChanged,
    ExecutionsWaiting,
    NamespaceStatus,
    ProjectChanged,
)
from trimtab.runtime import bus
from trimtab.testing import AT

MODULE = """
@task
def one() -> int: return 1
@workflow
def job() -> int: return one()
"""
SHOP, BANK = "flyteexamples", "bank"


async def publish_status(
    client: Client, project: str, *, usable: bool, error: str = "", cluster: str = "east"
) -> None:
    status = NamespaceStatus(
        cluster=cluster,
        namespace=f"{project}-development",
        project=project,
        domain="development",
        revision=1,
        state="failed",
        usable=usable,
        error=error,
        at=AT,
    )
    subject = subjects.namespace(status.cluster, status.namespace)
    await bus.publish(client, subjects.NAMESPACES, subject, status)


async def report(client: Client) -> ExecutionsWaiting:
    """Return the next report of a wait."""
    subscription = await client.subscribe(subjects.ALL_WAITING)
    try:
        message = await subscription.next_msg(timeout=PATIENCE_SECONDS)
        return ExecutionsWaiting.model_validate_json(message.data)
    finally:
        await subscription.unsubscribe()


async def test_an_execution_waits_for_its_namespace_and_its_reason_is_reported(
    start: Start,
    executions: Executions,
    client: Client,
    settings_stream: SettingsStream,
    module: Callable[[str], Path],
) -> None:
    await settings_stream.announce(
        ClusterChanged(name="east"), ProjectChanged(name=SHOP), ProjectChanged(name=BANK)
    )
    await publish_status(client, SHOP, usable=False, error="ResourceQuota/q: forbidden")
    await publish_status(client, BANK, usable=True)
    wanted = request(module(MODULE))
    start(TRIMTAB_NAMESPACE_CLUSTER="east", TRIMTAB_MAX_EXECUTIONS="1")
    async with asyncio.timeout(3 * PATIENCE_SECONDS):
        waiting = await executions.request(wanted)
        other = wanted.model_copy(update={"execution": "other", "project": BANK})
        assert (await executions.ended(await executions.request(other))).state.phase == "succeeded"
        reported = await report(client)
        assert (reported.project, reported.domain, reported.reason) == (
            SHOP,
            "development",
            f"namespace {SHOP}-development on cluster east is not ready: "
            "ResourceQuota/q: forbidden",
        )
        assert (await executions.read(waiting)).events == []
        await publish_status(client, SHOP, usable=True)
        assert (await executions.ended(waiting)).state.phase == "succeeded"


async def test_an_execution_waits_for_no_namespace_of_a_cluster_that_was_deleted(
    start: Start,
    executions: Executions,
    client: Client,
    settings_stream: SettingsStream,
    module: Callable[[str], Path],
) -> None:
    await settings_stream.announce(ClusterChanged(name="east"), ProjectChanged(name=SHOP))
    start(TRIMTAB_NAMESPACE_CLUSTER="east")
    async with asyncio.timeout(2 * PATIENCE_SECONDS):
        waiting = await executions.request(request(module(MODULE)))
        assert "has not published its status" in (await report(client)).reason
        await settings_stream.announce(ClusterChanged(name="east", deleted=True))
        assert (await executions.ended(waiting)).state.phase == "succeeded"


async def test_an_execution_runs_on_a_cluster_whose_namespace_can_be_used(
    start: Start,
    executions: Executions,
    client: Client,
    settings_stream: SettingsStream,
    module: Callable[[str], Path],
) -> None:
    await settings_stream.announce(
        ClusterChanged(name="east", labels=("any", "east")),
        ClusterChanged(name="west", labels=("any",)),
        ProjectChanged(name=SHOP),
    )
    await publish_status(client, SHOP, usable=False, error="ResourceQuota/q: forbidden")
    await publish_status(client, SHOP, usable=True, cluster="west")
    wanted = request(module(MODULE))
    start(TRIMTAB_NAMESPACE_CLUSTER="*", TRIMTAB_MAX_EXECUTIONS="1")
    async with asyncio.timeout(3 * PATIENCE_SECONDS):
        waiting = await executions.request(
            wanted.model_copy(update={"execution": "first", "execution_cluster_label": "east"})
        )
        assert "on cluster east is not ready: Resource" in (await report(client)).reason
        # It is of the same project and domain, behind the one that waits.
        any_cluster = wanted.model_copy(update={"execution_cluster_label": "any"})
        ended = await executions.ended(await executions.request(any_cluster))
        assert ended.state.resolution is not None
        [cluster] = [v for v in ended.state.resolution.nodes["n0"] if v.path == "cluster"]
        assert cluster.value == "west"
        assert "skipped east: namespace flyteexamples-development on" in cluster.note
        assert (await executions.read(waiting)).events == []
        await publish_status(client, SHOP, usable=True)
        assert (await executions.ended(waiting)).state.phase == "succeeded"
