"""Listing history, and rolling a record back to one of its versions."""

from typing import Any

import httpx

from tests.databases import BOTH
from tests.integration.admin.running import FORCE, SCOPE

RECORD = "/records/task_resource"


async def put(admin: httpx.AsyncClient, cpu: str, **params: str) -> int:
    document = {"limits": {"cpu": cpu}}
    headers = {"X-Trimtab-Reason": f"to {cpu}"}
    answer = await admin.put(RECORD, params=params | FORCE, headers=headers, json=document)
    version: int = answer.json()["version"]
    return version


async def history(admin: httpx.AsyncClient, path: str = "/history", **params: Any) -> list[Any]:
    answer = await admin.get(path, params=params)
    assert answer.status_code == 200, answer.text
    rows: list[Any] = answer.json()
    return rows


async def roll_back(admin: httpx.AsyncClient, revision: int, **params: str) -> httpx.Response:
    body = {"revision": revision}
    return await admin.post(f"{RECORD}/rollback", params=params or FORCE, json=body)


async def test_changes_are_listed_newest_first_with_actor_reason_and_documents(
    admin: httpx.AsyncClient,
) -> None:
    first, second = await put(admin, "1", **SCOPE), await put(admin, "2", **SCOPE)
    newest, older = await history(admin, kind="task_resource")
    assert (newest["revision"], older["revision"]) == (second, first)
    assert (newest["actor"], newest["reason"], newest["action"]) != ("", "to 2", "create")
    assert (newest["before"], newest["after"]) == (
        {"limits": {"cpu": "1"}},
        {"limits": {"cpu": "2"}},
    )
    assert (older["action"], older["before"]) == ("create", None)
    assert newest["scope"]["level"] == "project-domain"
    assert newest["request_id"]
    assert newest["commit"] == second


async def test_changes_are_filtered_by_kind_scope_and_revision(admin: httpx.AsyncClient) -> None:
    await put(admin, "1")
    await put(admin, "2", domain="development")
    last = await put(admin, "3", **SCOPE)
    assert len(await history(admin, project="shop", kind="task_resource")) == 1
    assert len(await history(admin, domain="development", kind="task_resource")) == 2
    assert [row["revision"] for row in await history(admin, since=last - 1)] == [last]
    [project] = await history(admin, kind="project")
    assert (project["name"], project["scope"], project["after"]["state"]) == (
        "shop",
        None,
        "active",
    )
    # The history of a record holds the changes of exactly its scope.
    [own] = await history(admin, f"{RECORD}/history")
    assert own["after"] == {"limits": {"cpu": "1"}}


async def test_pages_neither_skip_nor_repeat_changes_during_writes(
    admin: httpx.AsyncClient,
) -> None:
    versions = [await put(admin, str(cpu)) for cpu in range(1, 6)]
    seen: list[int] = []
    path = f"/api/v2{RECORD}/history?limit=2"
    while path:
        answer = await admin.get(f"http://127.0.0.1{path}")
        seen += [row["revision"] for row in answer.json()]
        await put(admin, str(100 + len(seen)))
        path = answer.links.get("next", {}).get("url", "")
    assert seen == versions[::-1]


async def test_a_rollback_is_a_new_write_of_an_earlier_version(
    admin: httpx.AsyncClient,
) -> None:
    first = await put(admin, "1")
    second = await put(admin, "2")
    body = (await roll_back(admin, first)).json()
    [change] = body["changes"]
    assert change["changes"] == [{"path": "limits.cpu", "before": "2", "after": "1"}]
    record = (await admin.get(RECORD)).json()
    assert record["document"] == {"limits": {"cpu": "1"}}
    assert record["version"] == change["revision"] > second


async def test_a_rollback_restores_a_map_that_is_unset_and_has_keys(
    admin: httpx.AsyncClient,
) -> None:
    path, replaced = (
        "/records/cluster_resource",
        {"attributes": {"a": "1"}, "unset": ["attributes"]},
    )
    first = (await admin.put(path, params=FORCE, json=replaced)).json()["version"]
    await admin.put(path, params=FORCE, json={"attributes": {"a": "1"}})
    answer = await admin.post(f"{path}/rollback", params=FORCE, json={"revision": first})
    [change] = answer.json()["changes"]
    assert change["changes"] == [{"path": "unset", "before": None, "after": ["attributes"]}]
    assert (await admin.get(path)).json()["document"] == replaced


async def test_a_rollback_checks_its_precondition(admin: httpx.AsyncClient) -> None:
    first, _second = await put(admin, "1"), await put(admin, "2")
    body, path = {"revision": first}, f"{RECORD}/rollback"
    assert (await admin.post(path, json=body)).status_code == 428
    stale = await admin.post(path, headers={"If-Match": f'"{first}"'}, json=body)
    assert stale.status_code == 412
    dry = await admin.post(path, params={"dry_run": "true"}, json=body)
    assert dry.json()["changes"][0]["action"] == "update"
    assert (await admin.get(RECORD)).json()["document"] == {"limits": {"cpu": "2"}}


@BOTH
async def test_a_rollback_restores_a_deleted_record_with_its_labels_and_can_delete_it_again(
    admin: httpx.AsyncClient,
) -> None:
    document = {"kind": "task_resource", "document": {"limits": {"cpu": "1"}}}
    made = await admin.post("/apply", params={"prune": "owner=a"}, json={"documents": [document]})
    await admin.delete(RECORD, params=FORCE)
    deleted = (await history(admin, f"{RECORD}/history"))[0]["revision"]
    await roll_back(admin, made.json()["revision"])
    assert (await admin.get(RECORD)).json()["labels"] == {"owner": "a"}
    await roll_back(admin, deleted)
    assert (await admin.get(RECORD)).status_code == 404


async def test_a_revision_that_is_not_of_the_record_is_rejected_with_those_that_are(
    admin: httpx.AsyncClient,
) -> None:
    version = await put(admin, "1")
    answer = await roll_back(admin, version - 1)
    assert (answer.status_code, answer.json()["allowed"]) == (404, str(version))


async def test_a_version_that_has_become_invalid_is_rejected(admin: httpx.AsyncClient) -> None:
    old = await put(admin, "8")
    await put(admin, "1")
    await admin.put("/records/task_resource", params=FORCE | {"domain": "staging"}, json={})
    await admin.patch(RECORD, params=FORCE, json={"ceiling": {"cpu": "2"}})
    await admin.put(RECORD, params=FORCE | SCOPE, json={"limits": {"cpu": "2"}})
    answer = await admin.post(f"{RECORD}/rollback", params=FORCE | SCOPE, json={"revision": old})
    assert answer.status_code == 404
    wide = (await history(admin, f"{RECORD}/history", **SCOPE))[0]["revision"]
    await admin.put(RECORD, params=FORCE | SCOPE, json={"limits": {"cpu": "1"}})
    await admin.patch(RECORD, params=FORCE, json={"ceiling": {"cpu": "1"}})
    answer = await admin.post(f"{RECORD}/rollback", params=FORCE | SCOPE, json={"revision": wide})
    assert (answer.status_code, answer.json()["path"]) == (400, "limits.cpu")
