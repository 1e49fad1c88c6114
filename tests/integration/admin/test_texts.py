"""Control characters are refused in all written texts, and stored ones stay readable."""

from typing import Any

import httpx
import pytest

from tests.integration.admin.running import FORCE, SCOPE, workflow
from trimtab.levels import PLATFORM
from trimtab.messages import subjects
from trimtab.messages.events import Event, ProjectChanged, RecordChanged
from trimtab_admin.config import AdminConfig
from trimtab_admin.storage import outbox
from trimtab_admin.storage.database import sessions_of, transaction
from trimtab_admin.storage.outbox import Write

ESC = "a\x1b[2Jb"
LABEL, RESOURCE = "/records/execution_cluster_label", "/records/cluster_resource"
WRITES: list[tuple[str, str, Any, str]] = [
    ("PUT", LABEL, {"value": ESC}, "value"),
    ("PATCH", LABEL, {"value": ESC}, "value"),
    ("PUT", RESOURCE, {"attributes": {"a": ESC}}, "attributes.a"),
    ("PUT", RESOURCE, {"attributes": {ESC: "a"}}, "attributes.a\\x1b[2Jb"),
    ("PUT", RESOURCE, {"unset": [f"attributes.{ESC}"]}, "unset.0"),
    ("POST", "/projects", {"name": "new", "description": ESC}, "description"),
    ("PUT", "/projects/shop", {"name": "shop", "description": ESC}, "description"),
    ("PATCH", "/projects/shop", {"description": ESC}, "description"),
    ("PUT", "/clusters/local", {"name": "local", "labels": ["a", ESC]}, "labels.1"),
    (
        "POST",
        "/tokens",
        {"name": "ci", "grants": [{"role": "viewer", "kinds": [ESC]}]},
        "grants.0.kinds.0",
    ),
    (
        "POST",
        "/workflows",
        {**SCOPE, "workflow": workflow().model_copy(update={"version": ESC}).model_dump()},
        "workflow.version",
    ),
    ("POST", "/executions", {**SCOPE, "workflow": "w", "version": ESC}, "version"),
    (
        "POST",
        "/executions",
        {**SCOPE, "workflow": "w", "environment": {"A": ESC}},
        "environment.A",
    ),
    (
        "POST",
        "/apply",
        {"documents": [{"kind": "cluster_resource", "document": {"attributes": {"a": ESC}}}]},
        "documents.0.document.attributes.a",
    ),
    (
        "POST",
        "/apply",
        {"documents": [{"kind": "project", "name": "n", "document": {"description": ESC}}]},
        "documents.0.document.description",
    ),
]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("method", "path", "body", "field"), WRITES)
async def test_a_control_character_is_refused_with_its_field_and_what_is_allowed(
    shared: httpx.AsyncClient, method: str, path: str, body: Any, field: str
) -> None:
    params = FORCE if path.startswith(("/records", "/projects/", "/clusters")) else {}
    refused = await shared.request(method, path, params=params, json=body)
    problem = refused.json()
    assert (refused.status_code, problem["path"]) == (400, field)
    assert problem["allowed"].startswith("text without U+001B; ")
    assert "\x1b" not in problem["detail"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_reason_is_text_in_utf_8_without_control_characters(
    shared: httpx.AsyncClient,
) -> None:
    path, body = "/records/workflow_priority", {"priority": 1}
    for reason, status in (("für À 数", 200), ("a\x1b", 400)):
        headers = {"X-Trimtab-Reason": reason.encode()}
        answer = await shared.put(path, params=FORCE, headers=headers, json=body)
        assert answer.status_code == status
    assert answer.json()["path"] == "x-trimtab-reason"
    [change] = (await shared.get(f"{path}/history")).json()
    assert change["reason"] == "für À 数"


@pytest.mark.asyncio(loop_scope="module")
async def test_texts_of_several_lines_are_stored_as_they_are(shared: httpx.AsyncClient) -> None:
    document = {"attributes": {"a": "one\n\ttwo"}}
    written = await shared.put(RESOURCE, params=FORCE, json=document)
    assert written.json()["document"] == document


async def stored(settings: AdminConfig, subject: str, event: Event) -> None:
    """Store a change as an earlier release did, which accepted every character."""
    sessions = sessions_of(settings.database_url)
    async with transaction(sessions) as session:
        await outbox.append(session, [Write(subject, event, False)])
    await sessions.kw["bind"].dispose()


async def test_texts_of_an_earlier_release_stay_readable_and_can_be_replaced(
    admin: httpx.AsyncClient, settings: AdminConfig
) -> None:
    kind = "cluster_resource"
    document = {"attributes": {"a": ESC, "b": "1"}}
    event = RecordChanged.at(PLATFORM, kind, document)
    await stored(settings, subjects.attributes(kind, PLATFORM), event)
    await stored(settings, subjects.project("old"), ProjectChanged(name="old", description=ESC))
    assert (await admin.get(RESOURCE)).json()["document"] == document
    effective = (await admin.get(f"/effective/{kind}", params=SCOPE)).json()
    assert effective["document"] == document
    assert (await admin.get("/projects/old")).json()["description"] == ESC
    repaired = await admin.patch(RESOURCE, params=FORCE, json={"attributes": {"a": None}})
    assert repaired.json()["document"] == {"attributes": {"b": "1"}}
    archived = await admin.patch("/projects/old", json={"description": "", "state": "archived"})
    assert archived.json()["state"] == "archived"
