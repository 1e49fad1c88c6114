"""An admin confirms the list of objects that clusterres may delete from a namespace."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from tests.integration.admin.callers import grant, token_headers
from tests.integration.admin.running import until
from trimtab.messages import subjects
from trimtab.messages.events import NamespaceStatus, ObjectStatus, PruneChanged
from trimtab.runtime import bus

PATH = "/namespaces/east/shop-development/prune"
ROLE, QUOTA = "rbac.authorization.k8s.io/Role/spark u1", "ResourceQuota/quota u2"
OLD, NEW = "0" * 32, "1" * 32
REASON = {"X-Trimtab-Reason": "the shop has closed"}


def status(digest: str, *identities: str) -> NamespaceStatus:
    """Return the status of a namespace in which these objects await a confirmation."""
    unconfirmed = [
        ObjectStatus(object=each, outcome="unconfirmed", identity=each) for each in identities
    ]
    kept = ObjectStatus(object="ConfigMap/a", outcome="kept")
    return NamespaceStatus(
        cluster="east",
        namespace="shop-development",
        project="shop",
        domain="development",
        revision=1,
        state="removed",
        details=(kept, *unconfirmed),
        prune_digest=digest,
        at=datetime.now(UTC),
    )


async def publish(admin: httpx.AsyncClient, client: Client, status: NamespaceStatus) -> None:
    """Publish the status and wait until admin has it."""
    subject = subjects.namespace(status.cluster, status.namespace)
    await bus.publish(client, subjects.NAMESPACES, subject, status)

    async def is_shown() -> bool:
        found = (await admin.get("/namespaces", params={"state": status.state})).json()
        return [one["prune_digest"] for one in found] == [status.prune_digest]

    await until(is_shown)


@pytest.fixture(autouse=True)
async def waiting(admin: httpx.AsyncClient, client: Client) -> None:
    await publish(admin, client, status(OLD, ROLE, QUOTA))


async def stored(client: Client) -> list[PruneChanged]:
    messages = await bus.read_all(client, subjects.SETTINGS, "trimtab.prunes.>")
    return [PruneChanged.model_validate_json(message.body) for message in messages]


async def confirm(admin: httpx.AsyncClient, digest: str, **request: Any) -> httpx.Response:
    return await admin.post(PATH, json={"digest": digest}, **request)


async def test_a_dry_run_returns_the_list_and_stores_nothing(
    admin: httpx.AsyncClient, client: Client
) -> None:
    shown = await admin.post(PATH, json={}, params={"dry_run": "true"})
    expected = {"digest": OLD, "objects": sorted([ROLE, QUOTA]), "count": 2, "version": None}
    assert shown.json() == {
        "cluster": "east",
        "namespace": "shop-development",
        "project": "shop",
        "domain": "development",
        **expected,
    }
    assert await stored(client) == []


async def test_a_confirmation_is_a_record_with_history_and_an_audit_entry_written_once(
    admin: httpx.AsyncClient, client: Client
) -> None:
    first = await confirm(admin, OLD, headers=REASON)
    again = await confirm(admin, OLD, headers=REASON)
    assert (first.status_code, again.json()) == (200, first.json())

    async def is_published() -> bool:
        return bool(await stored(client))

    await until(is_published)
    [event] = await stored(client)
    assert (event.digest, event.objects) == (OLD, tuple(sorted([ROLE, QUOTA])))
    [entry] = [one for one in (await admin.get("/history")).json() if one["kind"] == "prune"]
    assert (entry["name"], entry["action"]) == ("east/shop-development", "create")
    assert (entry["reason"], entry["revision"]) == (
        REASON["X-Trimtab-Reason"],
        first.json()["version"],
    )
    [audited] = (await admin.get("/audit")).json()
    assert f"2 objects of east/shop-development are deleted: {OLD}" in audited["reason"]


async def test_a_digest_of_another_list_is_refused_with_both(
    admin: httpx.AsyncClient, client: Client
) -> None:
    await publish(admin, client, status(NEW, ROLE))
    refused = await confirm(admin, OLD)
    assert refused.status_code == 409
    assert OLD in refused.text
    assert NEW in refused.text
    await publish(admin, client, status(""))
    refused = await confirm(admin, NEW)
    assert (refused.status_code, "awaits a confirmation" in refused.text) == (409, True)


async def test_only_an_admin_of_the_project_and_domain_confirms(admin: httpx.AsyncClient) -> None:
    own = {"project": "shop", "domain": "development"}
    editor = await token_headers(admin, "editor", grant("editor", **own))
    stranger = await token_headers(
        admin, "stranger", grant("admin", project="shop", domain="production")
    )
    owner = await token_headers(admin, "owner", grant("admin", **own))
    assert (await confirm(admin, OLD, headers=editor)).status_code == 403
    assert (await confirm(admin, OLD, headers=stranger)).status_code == 404
    assert (await confirm(admin, OLD, headers=owner)).status_code == 200
    visible = (await admin.get("/history", headers=owner)).json()
    assert "prune" in {entry["kind"] for entry in visible}
