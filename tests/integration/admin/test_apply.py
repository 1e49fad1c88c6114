"""Apply and export: many documents in one transaction, pruning by label, and the round trip."""

from pathlib import Path
from typing import Any

import httpx

from tests.databases import BOTH
from tests.integration.admin.running import FORCE, SCOPE, running, settings_for
from tests.servers import NatsServer

OWNER = {"prune": "owner=team-a"}


def record(document: Any, kind: str = "task_resource", **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "document": document, **fields}


def project(name: str, **document: Any) -> dict[str, Any]:
    return {"kind": "project", "name": name, "document": document}


async def apply(admin: httpx.AsyncClient, *documents: Any, **params: str) -> httpx.Response:
    return await admin.post("/apply", params=params, json={"documents": list(documents)})


async def applied(admin: httpx.AsyncClient, *documents: Any, **params: str) -> Any:
    answer = await apply(admin, *documents, **params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def export(admin: httpx.AsyncClient) -> list[Any]:
    documents: list[Any] = (await admin.get("/export")).json()["documents"]
    return documents


async def test_five_hundred_documents_are_one_transaction(admin: httpx.AsyncClient) -> None:
    documents = [
        record({"priority": number}, "workflow_priority", **SCOPE, workflow=f"w{number}")
        for number in range(500)
    ]
    body = await applied(admin, *documents)
    history = (await admin.get("/history", params={"limit": "1000"})).json()
    commits = {row["commit"] for row in history if row["kind"] == "workflow_priority"}
    assert commits == {body["revision"]}
    assert [change["index"] for change in body["changes"]] == list(range(500))
    assert len((await admin.get("/records")).json()) == 500


@BOTH
async def test_an_invalid_document_changes_nothing_and_is_named_with_its_field(
    admin: httpx.AsyncClient,
) -> None:
    before = await export(admin)
    documents = [
        record({"limits": {"cpu": "1"}}, **SCOPE, workflow=f"w{number}") for number in range(500)
    ]
    documents[400]["document"] = {"limits": {"cpu": "1Kib"}}
    answer = await apply(admin, *documents)
    assert (answer.status_code, answer.json()["path"]) == (400, "documents.400.document.limits.cpu")
    assert answer.json()["value"] == "1Kib"
    assert await export(admin) == before


async def test_each_mistake_in_or_next_to_a_document_is_named(admin: httpx.AsyncClient) -> None:
    for document, path in (
        (record({}, project="shpo"), "documents.1.project"),
        (record({}, workflow="w"), "documents.1.project"),
        (record({}, "task_resources"), "documents.1.kind"),
        (record({}, name="x"), "documents.1.name"),
        (record({"a": "1"}, "cluster_resource", **SCOPE, workflow="w"), "documents.1.level"),
        (record({"nothing": 1}), "documents.1.document.nothing"),
        (record({}, labels={"a b": "c"}), "documents.1.labels.a b"),
        (record({}), "documents.1.kind"),
        (project("shop", domain="x"), "documents.1.document.domain"),
        (project("Shop"), "documents.1.name"),
        (project("shop", labels={"k": "not a value"}), "documents.1.document.labels.k"),
        ({**project("lab"), "domain": "staging"}, "documents.1.domain"),
    ):
        answer = await apply(admin, record({}), document)
        problem = answer.json()
        assert (answer.status_code, problem["path"].removesuffix(".[key]")) == (400, path), problem


async def test_the_order_of_documents_does_not_matter(admin: httpx.AsyncClient) -> None:
    await applied(admin, record({"ceiling": {"cpu": "2"}}))
    await applied(
        admin,
        record({"limits": {"cpu": "8"}}, project="new"),
        record({"ceiling": {"cpu": "16"}}),
        project("new"),
    )
    effective = (await admin.get("/effective/task_resource", params={"project": "new"})).json()
    assert effective["document"] == {"limits": {"cpu": "8"}, "ceiling": {"cpu": "16"}}


async def test_documents_that_contradict_each_other_are_rejected_naming_one(
    admin: httpx.AsyncClient,
) -> None:
    answer = await apply(
        admin,
        record({"priority": 1}, "workflow_priority"),
        record({"limits": {"cpu": "1"}}, domain="development"),
        record({"defaults": {"cpu": "2"}}, project="shop"),
    )
    assert answer.status_code == 400
    assert answer.json()["path"] == "documents.2.document.defaults.cpu"
    assert "at project-domain shop/development" in answer.json()["detail"]
    assert (await admin.get("/records")).json() == []


async def test_a_stale_version_of_one_document_rejects_all(admin: httpx.AsyncClient) -> None:
    await applied(admin, record({"limits": {"cpu": "1"}}))
    answer = await apply(admin, record({"priority": 1}, "workflow_priority"), record({}, version=0))
    assert answer.status_code == 412
    assert "documents.1" in answer.json()["detail"]
    assert len((await admin.get("/records")).json()) == 1


async def test_applying_again_changes_nothing(admin: httpx.AsyncClient) -> None:
    documents = (project("lab", description="x"), record({"limits": {"cpu": "1"}}, project="lab"))
    first = await applied(admin, *documents)
    again = await applied(admin, *documents)
    assert again["revision"] == first["revision"]
    assert [change["action"] for change in again["changes"]] == ["none", "none"]


async def test_an_apply_may_be_larger_than_other_requests(
    admin: httpx.AsyncClient,
) -> None:
    values = {"attributes": {"size": "x" * 400_000}}
    documents = [record(values, "cluster_resource", domain=d) for d in ("staging", "production")]
    await applied(admin, *documents)
    path, document = "/records/cluster_resource", {"attributes": {"size": "x" * 600_000}}
    assert (await admin.put(path, params=FORCE, json=document)).status_code == 413


async def test_prune_deletes_the_records_of_its_label_and_no_others(
    admin: httpx.AsyncClient,
) -> None:
    ours, others = record({"limits": {"cpu": "1"}}), record({"priority": 1}, "workflow_priority")
    await applied(admin, ours, record({"limits": {"cpu": "1"}}, **SCOPE), **OWNER)
    await applied(admin, others, prune="owner=team-b")
    await admin.put("/records/cluster_resource", params=FORCE, json={"attributes": {"a": "1"}})
    body = await applied(admin, ours, **OWNER)
    pruned = [(c["action"], c["scope"]["level"]) for c in body["changes"] if c["index"] is None]
    assert pruned == [("delete", "project-domain")]
    left = {(r["kind"], r["labels"].get("owner")) for r in (await admin.get("/records")).json()}
    assert left == {
        ("task_resource", "team-a"),
        ("workflow_priority", "team-b"),
        ("cluster_resource", None),
    }


async def test_everything_of_a_label_is_pruned_only_where_the_request_allows_it(
    admin: httpx.AsyncClient,
) -> None:
    await applied(admin, record({"limits": {"cpu": "1"}}), **OWNER)
    for documents in ((), (project("lab"),)):
        for more in ({}, {"dry_run": "true"}):
            answer = await apply(admin, *documents, **OWNER, **more)
            assert answer.status_code == 400, documents
            assert "allow_empty=true" in answer.json()["detail"]
    assert len((await admin.get("/records")).json()) == 1
    body = await applied(admin, **OWNER, allow_empty="true")
    assert [change["action"] for change in body["changes"]] == ["delete"]


async def test_a_record_of_another_owner_is_not_taken_over(admin: httpx.AsyncClient) -> None:
    await applied(admin, record({"limits": {"cpu": "1"}}), prune="owner=team-b")
    answer = await apply(admin, record({"limits": {"cpu": "2"}}), **OWNER)
    assert (answer.status_code, "owner=team-b" in answer.json()["detail"]) == (409, True)


async def test_a_put_keeps_the_labels_of_the_record(admin: httpx.AsyncClient) -> None:
    await applied(admin, record({"limits": {"cpu": "1"}}), **OWNER)
    await admin.put("/records/task_resource", params=FORCE, json={"limits": {"cpu": "2"}})
    got = (await admin.get("/records/task_resource")).json()
    assert got["labels"] == {"owner": "team-a"}


async def test_a_dry_run_returns_the_changes_and_the_blast_radius(admin: httpx.AsyncClient) -> None:
    await applied(admin, record({"priority": 1}, "workflow_priority"), **OWNER)
    before = await export(admin)
    body = await applied(
        admin, record({"limits": {"cpu": "1"}}), project("lab"), dry_run="true", **OWNER
    )
    actions = {(change["kind"], change["action"]) for change in body["changes"]}
    assert actions == {
        ("task_resource", "create"),
        ("project", "create"),
        ("workflow_priority", "delete"),
    }
    assert body["radius"]["rendered"] == ["lab-development", "lab-production", "lab-staging"]
    assert await export(admin) == before


async def test_records_of_an_archived_project_change_only_together_with_its_activation(
    admin: httpx.AsyncClient,
) -> None:
    stored = record({"priority": 1}, "workflow_priority", **SCOPE)
    changed = record({"priority": 2}, "workflow_priority", **SCOPE)
    await applied(admin, stored, project("shop", state="archived"))
    [change] = (await applied(admin, stored))["changes"]
    assert change["action"] == "none"
    refused = await apply(admin, stored | {"workflow": "w"}, project("shop", description="Shop"))
    assert refused.status_code == 409
    assert refused.json()["detail"].startswith("documents.0: project 'shop' is archived")
    body = await applied(admin, changed, project("shop", state="active"))
    assert [change["action"] for change in body["changes"]] == ["update", "update"]


@BOTH
async def test_an_export_applied_here_or_elsewhere_restores_the_same_settings(
    admin: httpx.AsyncClient, tmp_path: Path
) -> None:
    await applied(
        admin,
        {"kind": "domain", "name": "canary", "document": {}},
        {"kind": "pool", "name": "gpus", "document": {"quota": 4, "project_cap": 2}},
        {"kind": "queue", "name": "batch", "document": {"clusters": ["local"]}},
        {"kind": "cluster", "name": "local", "document": {"labels": ["a"], "weight": 0.5}},
        project("lab", description="Trials", labels={"team": "ml"}, state="archived"),
        record({"limits": {"cpu": "1"}, "unset": ["limits.gpu"]}, **SCOPE, labels={"a": "b"}),
        record({"priority": 1}, "workflow_priority", project="lab"),
        record({"unset": ["attributes"], "attributes": {"a": "1"}}, "cluster_resource"),
    )
    body = (await admin.get("/export")).json()
    again = await admin.post("/apply", json=body)
    assert {change["action"] for change in again.json()["changes"]} == {"none"}
    with NatsServer(tmp_path / "other") as nats:
        async with running(settings_for(tmp_path / "other", nats.url)) as other:
            await applied(other, *body["documents"])
            assert (await other.get("/export")).json() == body
