"""Executions: created once for each idempotency key, and listed with their position."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.databases import BOTH
from tests.integration.admin.logs import events_of
from tests.integration.admin.running import SCOPE, execute, register, rows, running, workflow
from trimtab.testing import request
from trimtab_admin.config import AdminConfig
from trimtab_admin.executions.projection import Projection
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import sessions_of

KEY = {"Idempotency-Key": "nightly/2026-01-02"}


@pytest.fixture
async def projection(settings: AdminConfig) -> AsyncIterator[Projection]:
    sessions = sessions_of(settings.database_url)
    yield Projection(sessions)
    await sessions.kw["bind"].dispose()


@pytest.fixture
async def registered(admin: httpx.AsyncClient) -> httpx.AsyncClient:
    await register(admin, workflow())
    return admin


async def create(admin: httpx.AsyncClient, key: str | None, **more: Any) -> httpx.Response:
    body = {**SCOPE, "workflow": "nightly", "inputs": {"day": "monday"}, **more}
    headers = {} if key is None else {"Idempotency-Key": key}
    return await admin.post("/executions", json=body, headers=headers)


@BOTH
async def test_calls_with_one_key_create_one_execution(
    registered: httpx.AsyncClient, settings: AdminConfig
) -> None:
    async with running(settings) as other:
        admins = (registered, other) * 4
        answers = await asyncio.gather(*(create(admin, "k1") for admin in admins))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(await rows(settings, tables.executions)) == 1


async def test_a_key_is_remembered_in_every_state_and_for_any_version(
    registered: httpx.AsyncClient, projection: Projection
) -> None:
    execution = (await create(registered, "k1")).json()["id"]
    for event in events_of(execution):
        await projection.on_event(event)
    await register(registered, workflow("2"))
    await registered.put("/projects/shop", json={"name": "shop", "state": "archived"})
    again = await create(registered, "k1")
    body = again.json()
    assert (again.status_code, body["id"], body["phase"]) == (200, execution, "succeeded")
    assert (body["version"], body["inputs"]["day"]) == ("1", "monday")


async def test_a_repeated_call_returns_the_position_of_its_execution(
    registered: httpx.AsyncClient,
) -> None:
    for key in (None, "k1"):
        await create(registered, key)
    assert (await create(registered, "k1")).json()["position"] == 2


async def test_a_body_has_the_same_hash_in_each_release(
    registered: httpx.AsyncClient, settings: AdminConfig
) -> None:
    """A later release has more fields, and a call may be repeated after an upgrade."""
    await create(registered, "k1")
    body = {**SCOPE, "inputs": {"day": "monday"}, "workflow": "nightly"}
    text = json.dumps(body, sort_keys=True)
    [row] = await rows(settings, tables.executions)
    assert row["body_hash"] == hashlib.sha256(text.encode()).hexdigest()


async def test_a_key_with_another_body_is_a_conflict_that_names_it(
    registered: httpx.AsyncClient, settings: AdminConfig
) -> None:
    execution = (await create(registered, "k1")).json()["id"]
    answer = await create(registered, "k1", inputs={"day": "tuesday"})
    assert answer.status_code == 409
    assert "Idempotency-Key 'k1'" in answer.json()["detail"]
    assert execution in answer.json()["detail"]
    assert len(await rows(settings, tables.executions)) == 1


async def test_a_key_belongs_to_a_project_and_domain(registered: httpx.AsyncClient) -> None:
    await registered.post(
        "/workflows",
        json={
            "project": "shop",
            "domain": "staging",
            "workflow": workflow().model_dump(mode="json"),
        },
    )
    one, other = [await create(registered, "k1", domain=d) for d in ("development", "staging")]
    assert (one.status_code, other.status_code) == (201, 201)
    assert one.json()["id"] != other.json()["id"]


async def test_calls_without_a_key_each_create_an_execution(
    registered: httpx.AsyncClient, settings: AdminConfig
) -> None:
    for _ in range(3):
        assert (await create(registered, None)).status_code == 201
    assert len(await rows(settings, tables.executions)) == 3


@pytest.mark.parametrize("key", ["", "two words", "x" * 201, "caf\u00e9"])
async def test_a_key_that_is_not_visible_ascii_is_rejected(
    registered: httpx.AsyncClient, settings: AdminConfig, key: str
) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    body = {**SCOPE, "workflow": "nightly", "inputs": {"day": "monday"}}
    answer = await registered.post("/executions", json=body, headers=headers)
    problem = answer.json()
    assert (answer.status_code, problem["path"]) == (400, "idempotency-key")
    assert problem["allowed"] == "1 to 200 visible ASCII characters"
    assert await rows(settings, tables.executions) == []


async def test_overrides_over_a_limit_are_refused_or_a_warning(
    registered: httpx.AsyncClient, settings: AdminConfig
) -> None:
    override = {"trainer": {"resources": {"requests": {"cpu": "3"}}}}
    plan = {"name": "p", "workflow": "nightly", "version": "1", "runtime_override": override}
    calls = (
        ("overrides", "/executions", {"workflow": "nightly", "overrides": override}),
        ("launch_plan.runtime_override", "/launch_plans", {"launch_plan": plan}),
    )
    inputs = {"inputs": {"day": "monday"}}
    path = "/records/task_resource?project=shop&domain=development&force=true"
    await registered.put(path, json={"limits": {"cpu": "2"}})
    for field, url, body in calls:
        more = inputs if url == "/executions" else {}
        refused = (await registered.post(url, json={**SCOPE, **more, **body})).json()
        assert (refused["status"], refused["path"], refused["value"]) == (
            400,
            f"{field}.trainer.resources.requests.cpu",
            "3",
        )
        assert "limits.cpu of project-domain shop/development" in refused["allowed"]
    assert await rows(settings, tables.executions) == []
    await registered.put(path, json={"limits": {"cpu": "2"}, "over_limit": "clamp"})
    for field, url, body in calls:
        more = inputs if url == "/executions" else {}
        lowered = await registered.post(url, json={**SCOPE, **more, **body})
        assert lowered.status_code == 201
        assert lowered.headers["x-trimtab-warning"].startswith(f"{field}.trainer.resources")


@BOTH
async def test_unclaimed_executions_have_a_position_in_their_project_and_domain(
    registered: httpx.AsyncClient, projection: Projection
) -> None:
    await registered.post("/projects", json={"name": "lab"})
    body = {**SCOPE, "project": "lab", "workflow": workflow().model_dump(mode="json")}
    await registered.post("/workflows", json=body)
    lab = (await create(registered, None, project="lab")).json()["id"]
    ids = [(await execute(registered)).json()["id"] for _ in range(4)]

    async def positions() -> dict[str, int | None]:
        listed = (await registered.get("/executions")).json()
        return {body["id"]: body.get("position") for body in listed}

    assert await positions() == {lab: 1, **dict(zip(ids, (1, 2, 3, 4), strict=True))}
    await projection.on_event(events_of(ids[1], request(ids[1]))[0])
    expected = {lab: 1, ids[0]: 1, ids[1]: None, ids[2]: 2, ids[3]: 3}
    assert await positions() == expected
    last = (await registered.get("/executions", params={"limit": 1})).json()
    assert [(body["id"], body["position"]) for body in last] == [(ids[3], 3)]
    single = [(await registered.get(f"/executions/{id_}")).json() for id_ in ids]
    assert [body.get("position") for body in single] == [1, None, 2, 3]
