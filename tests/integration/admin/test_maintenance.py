"""Dead letters are listed and replayed; a resync publishes everything live again."""

import asyncio
import json
from typing import Any

import asyncpg
import httpx
import pytest
from nats.aio.client import Client

from tests.databases import BOTH
from tests.integration.admin.callers import grant, token_headers
from tests.integration.admin.running import (
    FORCE,
    execute,
    register,
    until,
    until_connected,
    workflow,
)
from tests.servers import PATIENCE_SECONDS, NatsServer
from trimtab.messages import subjects
from trimtab.messages.events import EVENT_ID, REVISION
from trimtab.messages.executions import ExecutionRequested
from trimtab.runtime import bus
from trimtab_admin.config import AdminConfig
from trimtab_admin.storage import outbox
from trimtab_admin.storage.database import sessions_of, transaction

REQUESTED = subjects.requested("development", "shop")
ADMIN, PROPELLER = "admin", subjects.PROPELLER


@pytest.fixture(autouse=True)
async def connected(admin: httpx.AsyncClient) -> None:
    await until_connected(admin)


async def dead_letter(client: Client, reason: str, consumer: str = PROPELLER, **more: str) -> int:
    """Publish a dead letter as `trimtab.runtime.deliveries` does, and return its sequence."""
    headers = {EVENT_ID: f"id of {reason}", "ce-type": "trimtab.execution_requested.v1"}
    headers |= {"trimtab-reason": reason, "trimtab-subject": REQUESTED, **more}
    subject = subjects.dead(subjects.EXECUTIONS, consumer)
    body = json.dumps({"why": reason}).encode()
    return (await client.jetstream().publish(subject, body, headers=headers)).seq


async def requests(client: Client) -> list[Any]:
    """Return the messages in the work queue."""
    jetstream = client.jetstream()
    state = (await jetstream.stream_info(subjects.EXECUTIONS)).state
    numbers = range(max(1, state.first_seq), state.last_seq + 1)
    return [await jetstream.get_msg(subjects.EXECUTIONS, number) for number in numbers]


async def test_a_dead_letter_is_listed_with_the_reason_and_its_origin(
    admin: httpx.AsyncClient, client: Client
) -> None:
    sequence = await dead_letter(client, "no such pool")
    [letter] = (await admin.get("/dead")).json()
    assert {**letter, "at": ""} == {
        "sequence": sequence,
        "stream": subjects.EXECUTIONS,
        "consumer": PROPELLER,
        "subject": REQUESTED,
        "reason": "no such pool",
        "event_id": "id of no such pool",
        "event_type": "trimtab.execution_requested.v1",
        "at": "",
        "body": None,
    }
    shown = (await admin.get(f"/dead/{sequence}")).json()
    assert json.loads(shown["body"]) == {"why": "no such pool"}


async def test_dead_letters_are_filtered_and_listed_in_pages(
    admin: httpx.AsyncClient, client: Client
) -> None:
    for number in range(5):
        await dead_letter(client, f"reason {number}")
    await dead_letter(client, "another", consumer=ADMIN)
    first = await admin.get("/dead", params={"consumer": PROPELLER, "limit": 3})
    assert [letter["reason"] for letter in first.json()] == ["reason 0", "reason 1", "reason 2"]
    second = await admin.get(first.links["next"]["url"].removeprefix("/api/v2"))
    assert [letter["reason"] for letter in second.json()] == ["reason 3", "reason 4"]
    assert "next" not in second.links
    assert (await admin.get("/dead", params={"stream": "SETTINGS"})).json() == []


async def test_a_replayed_message_is_on_its_original_subject_and_no_dead_letter(
    admin: httpx.AsyncClient, client: Client
) -> None:
    sequence = await dead_letter(
        client, "too early", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    )
    answer = await admin.post(f"/dead/{sequence}/replay", json={})
    assert (answer.json()["stream"], answer.json()["subject"]) == (subjects.EXECUTIONS, REQUESTED)
    [message] = await requests(client)
    assert (message.subject, json.loads(message.data)) == (REQUESTED, {"why": "too early"})
    assert message.headers[EVENT_ID] == "id of too early"
    assert message.headers["traceparent"].startswith("00-aaaa")
    assert "trimtab-reason" not in message.headers
    assert (await admin.get("/dead")).json() == []


async def test_a_replay_after_one_that_ended_before_the_deletion_publishes_nothing(
    admin: httpx.AsyncClient, client: Client
) -> None:
    sequence = await dead_letter(client, "twice")
    jetstream = client.jetstream()
    headers = {"Nats-Msg-Id": f"id of twice-replayed-{sequence}"}
    await jetstream.publish(REQUESTED, b"{}", headers=headers)
    assert (await admin.post(f"/dead/{sequence}/replay", json={})).status_code == 200
    assert len(await requests(client)) == 1
    assert (await admin.post(f"/dead/{sequence}/replay", json={})).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/dead/7", 404),
        ("POST", "/dead/7/replay", 404),
        ("GET", "/dead/0", 400),
        ("GET", "/dead?token=W10", 400),
        ("GET", "/dead?limit=0", 400),
    ],
)
async def test_an_unknown_dead_letter_or_an_invalid_parameter_is_an_error(
    admin: httpx.AsyncClient, client: Client, method: str, path: str, status: int
) -> None:
    body = {"json": {}} if method == "POST" else {}
    answer = await admin.request(method, path, **body)  # type: ignore[arg-type]
    assert answer.status_code == status, answer.text


async def test_a_dead_letter_without_an_original_subject_is_not_replayed(
    admin: httpx.AsyncClient, client: Client
) -> None:
    sequence = await dead_letter(client, "strange", **{"trimtab-subject": ""})
    assert (await admin.post(f"/dead/{sequence}/replay", json={})).status_code == 409
    assert len((await admin.get("/dead")).json()) == 1


@BOTH
async def test_a_resync_publishes_all_live_settings_and_a_tombstone_for_any_other_subject(
    admin: httpx.AsyncClient, client: Client
) -> None:
    await admin.put("/records/task_resource", params=FORCE, json={"limits": {"cpu": "2"}})
    explained = (await admin.get("/explain/task_resource")).json()
    stray = subjects.domain("stray")
    await until(lambda: caught_up(admin))
    revision = (await admin.get("/status")).json()["revision"]
    await client.jetstream().publish(stray, b"{}", headers={REVISION: str(revision)})
    expected = (await admin.post("/resync", params={"dry_run": "true"}, json={})).json()
    answer = (await admin.post("/resync", json={})).json()
    assert answer == expected
    await until(lambda: caught_up(admin))
    messages = await bus.read_all(client, subjects.SETTINGS, "trimtab.>")
    published = {m.subject: m for m in messages if m.subject != subjects.WATERMARK}
    assert answer["settings"] == len(published)
    newest = sorted(int(message.headers[REVISION]) for message in published.values())
    assert newest == list(range(answer["revision"] - len(published) + 1, answer["revision"] + 1))
    assert b'"deleted":true' in published[stray].body
    after = (await admin.get("/explain/task_resource")).json()
    assert after["document"] == explained["document"]
    setters = [step["setter"] for step in explained["chain"]]
    assert any(setters)
    assert [step["setter"] for step in after["chain"]] == setters


async def caught_up(admin: httpx.AsyncClient) -> bool:
    status = (await admin.get("/status")).json()
    return bool(status["revision"] == status["sent_revision"])


@BOTH
async def test_a_dry_run_of_a_resync_holds_up_no_write_and_waits_for_none(
    admin: httpx.AsyncClient, settings: AdminConfig
) -> None:
    sessions = sessions_of(settings.database_url)
    async with asyncio.timeout(PATIENCE_SECONDS), transaction(sessions) as session:
        await outbox.lock(session)
        answer = await admin.post("/resync", params={"dry_run": "true"}, json={})
    await sessions.kw["bind"].dispose()
    assert answer.status_code == 200


@BOTH
async def test_a_resync_requests_unfinished_executions_again(
    admin: httpx.AsyncClient, client: Client
) -> None:
    await register(admin, workflow())
    execution = (await execute(admin)).json()["id"]
    await until(lambda: requests(client))
    answer = (await admin.post("/resync", json={})).json()
    assert answer["executions"] == 1

    async def twice() -> bool:
        return len(await requests(client)) == 2

    await until(twice)
    bodies = [message.data for message in await requests(client)]
    ids = {ExecutionRequested.model_validate_json(body).request.execution for body in bodies}
    assert ids == {execution}


@pytest.mark.parametrize("backend", ["postgresql"])
async def test_a_resync_during_a_request_causes_another_request(
    admin: httpx.AsyncClient, client: Client, database_url: str
) -> None:
    await register(admin, workflow())
    await execute(admin)

    async def requested(times: int) -> bool:
        return len(await requests(client)) == times

    await until(lambda: requested(1))
    mark = "UPDATE executions SET requested_in = 'before {}'"
    connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
    await connection.execute(mark.format(1))
    async with connection.transaction():
        await connection.execute(mark.format(2))
        # admin updates the row after the second request, and has to wait for this transaction.
        await until(lambda: requested(2))
    await connection.close()
    await until(lambda: requested(3))


async def test_a_resync_without_nats_fails_and_changes_nothing(
    admin: httpx.AsyncClient, client: Client, nats_server: NatsServer
) -> None:
    before = (await admin.get("/status")).json()["revision"]
    nats_server.kill()
    for path in ("/resync", "/dead/1/replay"):
        assert (await admin.post(path, json={})).status_code == 503
    assert (await admin.get("/status")).json()["revision"] == before
    nats_server.start()


@BOTH
async def test_the_status_names_servers_versions_and_what_is_not_published(
    admin: httpx.AsyncClient, client: Client
) -> None:
    await register(admin, workflow())
    await execute(admin)
    await until(lambda: requests(client))
    await until(lambda: caught_up(admin))
    status = (await admin.get("/status")).json()
    assert (status["unsent"], status["unsent_since"], status["requests"]) == (0, None, 1)
    assert status["version"] == (await admin.get("http://127.0.0.1/readyz")).json()["version"]
    url = client.connected_url
    assert url is not None
    assert status["nats"] == f"{url.hostname}:{url.port}"
    assert status["nats_version"].count(".") == 2
    scheme, _, address = status["database"].partition("://")
    assert scheme in ("sqlite", "postgresql")
    assert "@" not in address
    assert status["database_version"]


async def test_only_a_viewer_of_the_platform_sees_the_addresses_of_servers(
    admin: httpx.AsyncClient,
) -> None:
    names = ("nats", "database")
    for headers, sees in (
        (await token_headers(admin, "viewer", grant("viewer")), True),
        (await token_headers(admin, "shop", grant("viewer", project="shop")), False),
    ):
        status = (await admin.get("/status", headers=headers)).json()
        assert [bool(status[name]) for name in names] == [sees, sees]
