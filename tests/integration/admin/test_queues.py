"""Queues: their operations, and warnings about settings that need one."""

from pathlib import Path

import httpx
import pytest

from tests.integration.admin.running import FORCE, SCOPE, running, settings_for
from tests.servers import NatsServer
from trimtab.errors import Invalid
from trimtab_admin.app import prepare

BATCH = {"name": "batch", "attributes": ["critical", "gpu"], "clusters": [], "system": "kueue"}
WARNING = "X-Trimtab-Warning"


async def test_a_queue_is_declared_changed_and_deleted_with_preconditions(
    admin: httpx.AsyncClient,
) -> None:
    assert (await admin.put("/queues/batch", json=BATCH)).status_code == 428
    create = {"If-None-Match": "*"}
    dry = await admin.put("/queues/batch", json=BATCH, headers=create, params={"dry_run": "true"})
    assert (dry.json()["changes"][0]["action"], (await admin.get("/queues")).json()) == (
        "create",
        [],
    )
    made = await admin.put("/queues/batch", json=BATCH, headers=create)
    assert made.json() == {**BATCH, "version": made.json()["version"]}
    assert (await admin.put("/queues/batch", json=BATCH, headers=create)).status_code == 412
    version = {"If-Match": f'"{made.json()["version"]}"'}
    wrong = await admin.put("/queues/fast", json=BATCH, headers=create)
    assert (wrong.status_code, wrong.json()["path"]) == (400, "name")
    assert (await admin.delete("/queues/batch")).status_code == 428
    deleted = await admin.delete(
        "/queues/batch", headers={**version, "X-Trimtab-Reason": "not used any more"}
    )
    assert (deleted.status_code, deleted.headers.get(WARNING)) == (204, None)
    gone = await admin.get("/queues/batch")
    assert (gone.status_code, gone.json()["path"]) == (404, "queue")
    history = (await admin.get("/history", params={"kind": "queue"})).json()
    assert [(entry["action"], entry["reason"]) for entry in history] == [
        ("delete", "not used any more"),
        ("create", ""),
    ]


async def test_settings_that_need_a_queue_have_warnings_wherever_they_are_written(
    admin: httpx.AsyncClient,
) -> None:
    path, target = "/records/execution_queue", SCOPE | FORCE
    for dry_run in ({"dry_run": "true"}, {}):
        answer = await admin.put(path, params=target | dry_run, json={"tags": ["gpu"]})
        body = answer.json()
        [warning] = body["changes"][0]["warnings"] if dry_run else body["warnings"]
        assert "no queue has all of gpu" in warning
    await admin.put("/queues/batch", params=FORCE, json=BATCH)
    again = await admin.patch(path, params=target, json={"tags": ["gpu", "critical"]})
    assert again.json()["warnings"] == []
    needed = (
        "no queue fits execution_queue of these scopes any more: project-domain shop/development"
    )
    dry = await admin.delete("/queues/batch", params=FORCE | {"dry_run": "true"})
    assert dry.json()["changes"][0]["warnings"] == [needed]
    narrowed = {**BATCH, "attributes": ["gpu"]}
    changed = await admin.put("/queues/batch", params=FORCE, json=narrowed)
    assert changed.headers[WARNING] == needed


async def test_queues_of_the_settings_file_are_declared_at_start(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    declared = {**BATCH, "clusters": ["embedded"]}
    queues = {"clusters": [{"name": "embedded"}], "queues": [declared]}
    async with running(settings_for(tmp_path, nats_server.url, **queues)) as admin:
        [queue] = (await admin.get("/queues")).json()
        assert queue["clusters"] == ["embedded"]
    unknown = {"queues": [{**BATCH, "name": "new", "clusters": ["embeded"]}]}
    with pytest.raises(Invalid, match=r"queues\.new\.clusters\.0.*did you mean 'embedded'"):
        await prepare(settings_for(tmp_path, nats_server.url, **unknown))
