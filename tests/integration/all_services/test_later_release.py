"""The wire format of a later release next to this one: nothing is lost, and nothing stops."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from nats.aio.client import Client as Nats

from tests.integration.all_services.conftest import DOMAIN, PROJECT
from tests.integration.all_services.test_order import ended
from tests.servers import PATIENCE_SECONDS
from tests.system import System
from trimtab.api.executions import ExecutionCreate, WorkflowBody
from trimtab.client import Client
from trimtab.messages import subjects
from trimtab.messages.events import EVENT_TYPE, NamespaceStatus
from trimtab.messages.executions import Request, UnknownEvent, logged_event
from trimtab.runtime import bus
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.connection import connect
from trimtab.testing import AT
from trimtab.workflows.graphs.graph import Node, Task, Workflow
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab_admin.executions.projection import new_row
from trimtab_admin.storage import tables

SOURCE = f"""
import time
from trimtab import task
@task
def gate():
    time.sleep({PATIENCE_SECONDS / 30})
    return "went"
"""
NEXT: dict[str, dict[str, object]] = {
    "trimtab.sites.batch": {"name": "batch", "weight": {"cpu": 2}, "until": None},
    "trimtab.sites.old": {"name": "old", "deleted": True},
    "trimtab.projects.later": {"name": "later", "state": "frozen", "owners": ["ann"]},
    "trimtab.projects.extra": {"name": "extra", "description": "", "owners": ["ann"], "layer": 3},
    "trimtab.attributes.colour.development.-.-.-": {
        **{"kind": "colour", "domain": "development", "project": ""},
        **{"workflow": "", "launch_plan": ""},
        "document": {"shade": "red"},
        "layer": 3,
    },
    "trimtab.attributes.execution_queue.staging.-.-.-": {
        **{"kind": "execution_queue", "domain": "staging", "project": ""},
        **{"workflow": "", "launch_plan": ""},
        "document": [{"tags": ["a"]}],
    },
}
"""The changes of the next release: the body of each subject."""


def gated() -> Workflow:
    nodes = (Node(id="n0", task="gate", inputs={}),)
    tasks = {"gate": Task(name="gate")}
    return Workflow(name="gated", version="1", tasks=tasks, nodes=nodes, module=SOURCE)


@pytest.fixture
async def nats(system: System, api: Client) -> AsyncIterator[Nats]:
    """A connection to the streams as the next release has extended them."""
    await api.workflows.create(WorkflowBody(project=PROJECT, domain=DOMAIN, workflow=gated()))
    user = {"nats_user": system.nats.user, "nats_password": system.nats.password}
    config = ServiceConfig.model_validate({"nats_url": system.nats.url, **user})
    async with connect(config, "next") as client:
        declared = (await client.jetstream().stream_info(subjects.SETTINGS)).config
        wanted = [*(declared.subjects or []), "trimtab.sites.*"]
        await client.jetstream().update_stream(declared.evolve(subjects=wanted))
        yield client


def event_type(subject: str) -> str:
    family = subject.split(".")[1]
    name = "record" if family == "attributes" else family.removesuffix("s")
    return f"trimtab.{name}_changed.v1"


def commit(system: System) -> int:
    """Commit the changes of the next release as its admin does, and return the commit."""
    with (
        closing(
            sqlite3.connect(system.directory / "admin.db", timeout=PATIENCE_SECONDS)
        ) as database,
        database,
    ):
        database.execute("BEGIN IMMEDIATE")
        [[revision]] = database.execute("SELECT value FROM revision").fetchall()
        last = revision + len(NEXT)
        for number, (subject, body) in enumerate(NEXT.items(), revision + 1):
            text = json.dumps(body)
            row = (number, last, subject, f"next-{number}", event_type(subject), text, "")
            columns = "revision, commit_revision, subject, event_id, event_type, body, traceparent"
            marks = ", ".join("?" * len(row))
            database.execute(f"INSERT INTO outbox ({columns}) VALUES ({marks})", row)
            if not body.get("deleted"):
                live = (subject, number, text)
                database.execute(
                    "INSERT INTO settings (subject, revision, body) VALUES (?, ?, ?)", live
                )
        database.execute("UPDATE revision SET value = ?", (last,))
    return last


def create(system: System, request: Request) -> None:
    """Store an execution as the admin of the next release does before it publishes the request."""
    row = new_row(request, datetime.now(UTC)) | {"request": extended(request)}
    engine = sa.create_engine(f"sqlite:///{system.directory / 'admin.db'}")
    with engine.begin() as connection:
        connection.execute(tables.executions.insert(), row)
    engine.dispose()


async def until_views_have(system: System, revision: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            await system.until_ready()
            found = system.views()
            if len(set(map(str, found))) == 1 and int(str(found[0]["revision"])) >= revision:
                return
            await asyncio.sleep(0.1)


async def test_settings_of_a_later_release_are_in_every_view_and_in_a_resync(
    system: System, api: Client, nats: Nats
) -> None:
    await until_views_have(system, (await api.resync()).revision)
    before = int(str(system.views()[0]["count"]))
    await until_views_have(system, commit(system))
    assert system.views()[0]["count"] == before + len(NEXT) - 1
    assert "extra" in {project.name for project in await api.projects.list()}
    for name in ("admin", "clusterres", "propeller", "resmgr"):
        system.kill(name)
        system.start(name)
    await system.until_ready()
    await until_views_have(system, (await api.resync()).revision)
    [[kept]] = [
        [message.body]
        for message in await bus.read_all(nats, subjects.SETTINGS, "trimtab.sites.batch")
    ]
    assert json.loads(kept) == NEXT["trimtab.sites.batch"]
    assert system.views()[0]["count"] == before + len(NEXT) - 1


def extended(request: Request) -> str:
    """Return a request as a later release writes it, with a field more in each of its objects."""
    content = json.loads(request.model_dump_json())
    workflow = content["workflow"]
    for each in (content, content["launch_plan"], workflow, *workflow["nodes"]):
        each["timeout"] = {"seconds": 60}
    workflow["tasks"]["gate"]["config"]["timeout"] = None
    return json.dumps(content)


async def test_an_execution_of_a_later_release_is_claimed_shown_and_run(
    system: System, api: Client, nats: Nats
) -> None:
    plan = LaunchPlan(name="gated", workflow="gated", version="1")
    names = {"project": PROJECT, "domain": DOMAIN}
    wanted = Request(execution="later1", **names, workflow=gated(), launch_plan=plan)
    content = extended(wanted)
    # Its admin has stored it, and may have published it before this one does.
    await nats.jetstream().publish(
        subjects.requested(DOMAIN, PROJECT), f'{{"request": {content}}}'.encode()
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        while "later1" not in {each.id for each in await api.executions.list()}:
            await asyncio.sleep(0.1)
    body = await ended(api, "later1")
    assert (body.phase, body.output) == ("succeeded", None), body.error
    create(system, wanted.model_copy(update={"execution": "later2"}))
    body = await ended(api, "later2")
    assert (body.phase, [*body.nodes]) == ("succeeded", ["n0"]), body.error


async def test_an_execution_finishes_with_an_event_of_a_later_release_in_its_log(
    system: System, api: Client, nats: Nats
) -> None:
    wanted = ExecutionCreate(project=PROJECT, domain=DOMAIN, workflow="gated")
    execution = (await api.executions.create(wanted)).id
    subject, jetstream = subjects.events(execution), nats.jetstream()
    async with asyncio.timeout(PATIENCE_SECONDS):
        stored: list[bus.StoredMessage] = []
        while not any(b"node_running" in message.body for message in stored):
            stored = await bus.read_all(nats, subjects.EXECUTION_EVENTS, subject)
    last = json.loads(stored[-1].body)
    later = {**last, "index": last["index"] + 1, "type": "node_measured", "usage": {"cpu": 1.5}}
    await jetstream.publish(subject, json.dumps(later).encode())
    body = await ended(api, execution)
    assert (body.phase, body.output) == ("succeeded", None), body.error
    events = [
        logged_event(each.subject, each.body)
        for each in await bus.read_all(nats, subjects.EXECUTION_EVENTS, subject)
    ]
    assert [event.type for event in events if isinstance(event, UnknownEvent)] == ["node_measured"]


async def test_an_execution_that_a_later_release_ended_is_ended_here(
    api: Client, nats: Nats
) -> None:
    wanted = ExecutionCreate(project=PROJECT, domain=DOMAIN, workflow="gated")
    execution = (await api.executions.create(wanted)).id
    subject = subjects.events(execution)
    async with asyncio.timeout(PATIENCE_SECONDS):
        stored: list[bus.StoredMessage] = []
        while not any(b"node_running" in message.body for message in stored):
            stored = await bus.read_all(nats, subjects.EXECUTION_EVENTS, subject)
    last = json.loads(stored[-1].body)
    later = {**last, "index": last["index"] + 1, "type": "cancelled", "ends": True, "error": "ann"}
    await nats.jetstream().publish(subject, json.dumps(later).encode())
    body = await ended(api, execution)
    assert (body.phase, body.error.endswith(": ann")) == ("failed", True)


async def test_a_status_of_a_later_release_is_left_out_and_those_behind_it_are_read(
    api: Client, nats: Nats
) -> None:
    status = NamespaceStatus(
        cluster="embedded", namespace="n", project="p", domain="d", revision=1, state="ready", at=AT
    )
    headers = {"ce-id": "1", EVENT_TYPE: status.event_type, "ce-source": "trimtab"}
    headers["ce-specversion"] = "1.0"
    content = json.loads(status.body())
    for later in ({"state": "suspended", "layer": 3}, {"namespace": "behind"}):
        body = {**content, **later}
        subject = subjects.namespace("embedded", body["namespace"])
        await nats.jetstream().publish(subject, json.dumps(body).encode(), headers=headers)
    # clusterres marks it as removed, because no project has it; such ones are listed by state only.
    found: set[str] = set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while "behind" not in found:
            for state in (None, "removed"):
                found |= {each.namespace for each in await api.namespaces.list(state=state)}
            await asyncio.sleep(0.1)
    assert "n" not in found
