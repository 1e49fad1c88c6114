"""Executions: validated, requested, projected from their logs, and restored after a wipe."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from tests.databases import BOTH
from tests.integration.admin.callers import grant, token_headers
from tests.integration.admin.logs import append, events_of
from tests.integration.admin.running import (
    FORCE,
    SCOPE,
    execute,
    register,
    rows,
    running,
    workflow,
)
from tests.servers import PATIENCE_SECONDS, NatsServer
from trimtab.messages import subjects
from trimtab.messages.events import ExecutionsWaiting
from trimtab.messages.executions import ExecutionRequested, Request
from trimtab.runtime import bus
from trimtab.runtime.connection import connect
from trimtab_admin.config import AdminConfig
from trimtab_admin.executions.retention import LogPurge
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import reading_sessions_of


@pytest.fixture
async def client(admin: httpx.AsyncClient, settings: AdminConfig) -> AsyncIterator[Client]:
    """A connection to NATS, once admin has created the streams."""
    await register(admin, workflow())
    async with connect(settings, "test") as client:
        await until(lambda: consumer_exists(client))
        yield client


async def until(holds: Callable[[], Awaitable[Any]]) -> Any:
    """Call ``holds`` until its result is true, and return the result."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (result := await holds()):
            await asyncio.sleep(0.02)
        return result


async def consumer_exists(client: Client) -> bool:
    try:
        await client.jetstream().consumer_info(subjects.EXECUTION_EVENTS, subjects.ADMIN)
    except Exception:  # noqa: BLE001  # The stream or the server may be missing.
        return False
    return True


async def requests(client: Client) -> list[Request]:
    """Return every request in the stream; a work queue cannot be followed."""
    jetstream = client.jetstream()
    state = (await jetstream.stream_info(subjects.EXECUTIONS)).state
    bodies = [
        (await jetstream.get_msg(subjects.EXECUTIONS, sequence)).data or b""
        for sequence in range(max(1, state.first_seq), state.last_seq + 1)
    ]
    return [ExecutionRequested.model_validate_json(body).request for body in bodies]


async def log_of(client: Client, execution: str) -> list[bytes]:
    subject = subjects.events(execution)
    return [m.body for m in await bus.read_all(client, subjects.EXECUTION_EVENTS, subject)]


async def create(admin: httpx.AsyncClient, **more: Any) -> str:
    answer = await execute(admin, **more)
    assert answer.status_code == 201, answer.text
    execution: str = answer.json()["id"]
    return execution


async def phase(admin: httpx.AsyncClient, execution: str) -> str:
    found: str = (await admin.get(f"/executions/{execution}")).json()["phase"]
    return found


async def test_the_request_of_an_execution_is_complete(
    admin: httpx.AsyncClient, client: Client
) -> None:
    version = (
        await admin.put("/records/task_resource", params=FORCE, json={"limits": {"cpu": "2"}})
    ).json()["version"]
    execution = await create(admin, overrides={"trainer": {"retries": 0}})
    [request] = await until(lambda: requests(client))
    assert (request.execution, request.revision) == (execution, version)
    assert request.workflow == workflow()
    assert request.inputs == {"day": "monday", "limit": 10}
    assert request.overrides["trainer"].retries == 0
    assert str(request.target) == "workflow shop/development/nightly"


async def test_a_request_records_whether_an_admin_of_the_platform_made_it(
    admin: httpx.AsyncClient, client: Client
) -> None:
    """Grants of a project, or of some kinds of record only, are not those of such an admin."""
    grants = {
        "editor": grant("editor", project="shop"),
        "owner": grant("admin", project="shop"),
        "records": grant("admin", "task_resource"),
        "platform": grant("admin"),
    }
    made = {"root": await create(admin)}
    for name, given in grants.items():
        more = [grant("editor", project="shop")] if name == "records" else []
        headers = await token_headers(admin, name, given, *more)
        body = {**SCOPE, "workflow": "nightly", "inputs": {"day": "monday"}}
        answer = await admin.post("/executions", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        made[name] = answer.json()["id"]
    found = await until(lambda: all_requests(client, len(made)))
    assert all(each.created_at is not None for each in found)
    by_admin = {each.execution for each in found if each.by_platform_admin}
    assert by_admin == {made["root"], made["platform"]}


async def all_requests(client: Client, count: int) -> list[Request]:
    found = await requests(client)
    return found if len(found) == count else []


async def test_a_created_execution_is_listed_and_read(
    admin: httpx.AsyncClient, client: Client
) -> None:
    ids = [await create(admin) for _ in range(3)]
    listed = (await admin.get("/executions", params=SCOPE | {"limit": 2})).json()
    assert [body["id"] for body in listed] == [ids[2], ids[1]]
    body = (await admin.get(f"/executions/{ids[0]}")).json()
    assert (body["phase"], body["version"], body["launch_plan"]) == ("requested", "1", "nightly")
    assert {node: state["task"] for node, state in body["nodes"].items()} == {
        "n0": "load",
        "n1": "train",
    }
    assert (await admin.get("/executions/x0")).status_code == 404


@pytest.mark.parametrize("limit", [0, 1001])
async def test_a_list_is_bounded(admin: httpx.AsyncClient, limit: int) -> None:
    answer = await admin.get("/executions", params={"limit": limit})
    assert (answer.status_code, answer.json()["path"]) == (400, "limit")


async def test_ids_can_be_part_of_a_dns_name(admin: httpx.AsyncClient, client: Client) -> None:
    execution = await create(admin)
    assert len(execution) == 16
    assert execution[0] == "x"
    assert execution.isalnum()
    assert execution == execution.lower()


@pytest.mark.parametrize(
    ("wrong", "status", "path", "allowed"),
    [
        ({"overrides": {"trianer": {}}}, 400, "overrides.trianer", "the hooks trainer"),
        ({"overrides": {"trainer": {"cpu": 1}}}, 400, "overrides.trainer.cpu", ""),
        ({"inputs": {}}, 400, "inputs.day", "nightly requires day"),
        ({"inputs": {"day": 1, "dya": 2}}, 400, "inputs.dya", "day, limit"),
        ({"execution_cluster_label": "gpu"}, 400, "execution_cluster_label", "labels of clusters"),
        ({"workflow": "nightyl"}, 404, "workflow", "nightly"),
        ({"version": "2"}, 404, "version of workflow 'nightly'", "1"),
        ({"launch_plan": "weekly"}, 404, "launch plan of workflow nightly", ""),
        ({"project": "shpo"}, 404, "project", "shop"),
        ({"domain": "dev"}, 404, "domain", "staging"),
    ],
)
async def test_a_body_that_cannot_be_executed_is_rejected_and_creates_nothing(
    admin: httpx.AsyncClient, wrong: dict[str, Any], status: int, path: str, allowed: str
) -> None:
    await register(admin, workflow())
    answer = await execute(admin, **wrong)
    problem = answer.json()
    assert (answer.status_code, problem["path"]) == (status, path)
    assert allowed in problem.get("allowed", "")
    assert (await admin.get("/executions")).json() == []


async def test_nothing_can_be_executed_in_an_archived_project(admin: httpx.AsyncClient) -> None:
    await register(admin, workflow())
    await admin.put("/projects/shop", json={"name": "shop", "state": "archived"})
    answer = await execute(admin)
    assert (answer.status_code, "archived" in answer.json()["detail"]) == (409, True)


async def test_an_execution_has_the_inputs_and_the_version_of_its_launch_plan(
    admin: httpx.AsyncClient, client: Client
) -> None:
    plan = {"name": "weekly", "workflow": "nightly", "version": "1", "inputs": {"day": "sunday"}}
    await admin.post("/launch_plans", json={**SCOPE, "launch_plan": plan})
    await register(admin, workflow("2"))
    body = (await execute(admin, launch_plan="weekly", inputs={"limit": 1})).json()
    assert (body["version"], body["inputs"]) == ("1", {"day": "sunday", "limit": 1})
    [request] = await until(lambda: requests(client))
    assert str(request.target) == "launch-plan shop/development/nightly/weekly"


async def test_the_log_is_stored_and_sets_the_state_of_the_execution(
    admin: httpx.AsyncClient, client: Client
) -> None:
    execution = await create(admin)
    await append(client, *events_of(execution))

    async def ended() -> bool:
        return await phase(admin, execution) == "succeeded"

    await until(ended)
    body = (await admin.get(f"/executions/{execution}")).json()
    assert (body["output"], body["resolution"]["executor"]) == ({"score": 0.9}, "process")
    assert {node: state["phase"] for node, state in body["nodes"].items()} == {
        "n0": "succeeded",
        "n1": "succeeded",
    }
    assert body["updated_at"] == events_of(execution)[-1].at.isoformat().replace("+00:00", "Z")


@BOTH
async def test_events_that_are_delivered_three_times_in_any_order_lead_to_the_same_state(
    admin: httpx.AsyncClient, client: Client, settings: AdminConfig
) -> None:
    ordered, shuffled = await create(admin), await create(admin)
    await append(client, *events_of(ordered))
    deliveries = events_of(shuffled) * 3
    random.Random(7).shuffle(deliveries)
    await append(client, *deliveries)

    async def handled() -> bool:
        info = await client.jetstream().consumer_info(subjects.EXECUTION_EVENTS, subjects.ADMIN)
        return not info.num_pending and not info.num_ack_pending

    await until(handled)
    one, other = (
        {name: value for name, value in row.items() if name in ("phase", "output", "updated_at")}
        for row in await rows(settings, tables.executions)
    )
    assert one == other
    assert one["phase"] == "succeeded"
    stored = [row["execution"] for row in await rows(settings, tables.execution_events)]
    assert stored.count(ordered) == stored.count(shuffled) == len(events_of(ordered))


async def test_an_event_after_a_gap_has_no_effect_until_the_gap_is_filled(
    admin: httpx.AsyncClient, client: Client, settings: AdminConfig
) -> None:
    execution = await create(admin)
    events = events_of(execution)
    await append(client, *events[1:])

    async def stored() -> bool:
        return len(await rows(settings, tables.execution_events)) == len(events) - 1

    await until(stored)
    assert await phase(admin, execution) == "requested"
    await append(client, events[0])

    async def ended() -> bool:
        return await phase(admin, execution) == "succeeded"

    await until(ended)


async def test_an_execution_that_the_database_lacks_is_restored_from_its_log(
    admin: httpx.AsyncClient, client: Client
) -> None:
    request = Request.model_validate(
        {
            **SCOPE,
            "execution": "xlost",
            "workflow": workflow().model_dump(),
            "launch_plan": {"name": "nightly", "workflow": "nightly", "version": "1"},
        }
    )
    await append(client, *events_of("xlost", request))

    async def restored() -> bool:
        answer = await admin.get("/executions/xlost")
        return answer.status_code == 200 and answer.json()["phase"] == "succeeded"

    await until(restored)


@pytest.mark.parametrize("deleted", ["consumer", "stream"])
async def test_a_deleted_consumer_or_stream_is_created_again_and_used(
    admin: httpx.AsyncClient, client: Client, deleted: str
) -> None:
    execution = await create(admin)
    jetstream = client.jetstream()
    if deleted == "consumer":
        await jetstream.delete_consumer(subjects.EXECUTION_EVENTS, subjects.ADMIN)
    else:
        await jetstream.delete_stream(subjects.EXECUTION_EVENTS)
    await until(lambda: consumer_exists(client))
    await append(client, *events_of(execution))

    async def ended() -> bool:
        return await phase(admin, execution) == "succeeded"

    await until(ended)


async def test_after_a_wipe_unfinished_executions_are_requested_again_with_their_logs_restored(
    admin: httpx.AsyncClient, client: Client, settings: AdminConfig, nats_server: NatsServer
) -> None:
    done, begun, fresh = [await create(admin) for _ in range(3)]
    await append(client, *events_of(done), *events_of(begun)[:4])

    async def stored() -> bool:
        return len(await rows(settings, tables.execution_events)) == len(events_of(done)) + 4

    await until(stored)
    logs = await log_of(client, begun)
    nats_server.wipe()

    async def requested_again() -> bool:
        if not await consumer_exists(client):
            return False
        return {request.execution for request in await requests(client)} == {begun, fresh}

    await until(requested_again)
    assert await log_of(client, begun) == logs
    assert await log_of(client, done) == []
    await append(client, *events_of(begun)[4:])

    async def ended() -> bool:
        return await phase(admin, begun) == "succeeded"

    await until(ended)


async def test_the_log_of_an_ended_execution_is_purged_and_the_execution_stays_readable(
    admin: httpx.AsyncClient, client: Client, settings: AdminConfig
) -> None:
    done, begun = [await create(admin) for _ in range(2)]
    await append(client, *events_of(done), *events_of(begun)[:4])

    async def stored() -> bool:
        return len(await rows(settings, tables.execution_events)) == len(events_of(done)) + 4

    await until(stored)
    sessions = reading_sessions_of(settings.database_url)
    log_purge = LogPurge(client, sessions, days=1)
    await log_purge.purge(events_of(done)[-1].at)
    assert len(await log_of(client, done)) == len(events_of(done))
    await log_purge.purge(datetime.now(UTC))
    await sessions.kw["bind"].dispose()
    assert await log_of(client, done) == []
    assert len(await log_of(client, begun)) == 4
    body = (await admin.get(f"/executions/{done}")).json()
    assert (body["phase"], body["nodes"]["n1"]["phase"]) == ("succeeded", "succeeded")


async def test_a_wipe_while_admin_did_not_run_is_noticed_at_its_start(
    settings: AdminConfig, nats_server: NatsServer
) -> None:
    async with running(settings) as admin, connect(settings, "test") as client:
        await admin.post("/projects", json={"name": "shop"})
        await register(admin, workflow())
        execution = await create(admin)
        await until(lambda: consumer_exists(client))
        await append(client, *events_of(execution)[:3])

        async def stored() -> bool:
            return len(await rows(settings, tables.execution_events)) == 3

        await until(stored)
    nats_server.wipe()
    async with running(settings), connect(settings, "test") as client:
        await until(lambda: consumer_exists(client))
        [request] = await until(lambda: requests(client))
        assert request.execution == execution
        assert len(await log_of(client, execution)) == 3


async def test_an_execution_has_the_reason_why_it_is_not_claimed_until_it_is(
    admin: httpx.AsyncClient, client: Client
) -> None:
    execution = (await execute(admin)).json()["id"]
    waiting = ExecutionsWaiting(owner="p", **SCOPE, reason="namespace shop-x is not ready")
    subject = subjects.waiting(SCOPE["domain"], SCOPE["project"])

    async def reason() -> str | None:
        # Until admin has subscribed, a report is lost.
        await client.publish(subject, b"no report")
        await client.publish(subject, waiting.body())
        found = (await admin.get(f"/executions/{execution}")).json().get("reason")
        return None if found is None else str(found)

    assert await until(reason) == waiting.reason
    [listed] = (await admin.get("/executions")).json()
    assert (listed["reason"], listed["position"]) == (waiting.reason, 1)
    await append(client, *events_of(execution)[:1])

    async def is_claimed() -> bool:
        found = (await admin.get(f"/executions/{execution}")).json()
        return "position" not in found and "reason" not in found

    await until(is_claimed)
