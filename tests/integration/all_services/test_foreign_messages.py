"""No message that lies in a stream ends a service, or changes what it works with."""

import asyncio
import random
from contextlib import suppress

import pytest

from tests import strays
from tests.integration.all_services.conftest import DOMAIN, PROJECT
from tests.integration.all_services.test_order import ended, limit
from tests.servers import PATIENCE_SECONDS
from tests.strays import Stray
from tests.system import System
from trimtab.api.executions import ExecutionCreate
from trimtab.client import Client
from trimtab.errors import Unavailable
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import (
    COMMIT,
    EVENT_ID,
    EVENT_TYPE,
    REVISION,
    Event,
    Heartbeat,
    NamespaceStatus,
    ProjectChanged,
    Watermark,
)
from trimtab.messages.executions import ExecutionRequested, Owned
from trimtab.testing import AT, entry, record, request
from trimtab.tokens.protocol import TokenGranted

STRAYS = 600
ENDED_AT_ONCE = "trimtab.attributes.hello"
ENDED_EVERYBODY = "trimtab.attributes.task_resource.-.-.train.-"
RELAY = b"\r\ntrimtab-revision: 1\r\ntrimtab-commit: 1"
STATUS = NamespaceStatus(
    cluster="c", namespace="n", project="p", domain="d", revision=1, state="ready", at=AT
)
BODIES = [
    *(b"", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 20_000, b"9" * 6_000, b"NaN", b'"\\ud800"'),
    ProjectChanged(name="stray").body(),
    record().body(),
    Watermark(revision=2**40, count=0, digest="0").body(),
    Watermark(revision=1, count=1, digest="f" * 16).body(),
    Heartbeat(owner="stray").body(),
    ExecutionRequested(request=request("stray")).body(),
    entry(Owned, 0, request=request("stray")).body(),
    TokenGranted(token="stray", pools=("gpu",), claim_seconds=1).model_dump_json().encode(),
    STATUS.body(),
]
NAMES = [
    b"a",
    b"-",
    b"=00",
    b"=ff",
    b"=",
    b"\xff",
    b"a\x00b",
    b"a\x0bb",
    b"x" * 2500,
    b"flyteexamples",
]
SUBJECTS = [
    *(subjects.WATERMARK, ENDED_AT_ONCE, ENDED_EVERYBODY, subjects.HEARTBEATS, subjects.RELAY),
    *(f"trimtab.{family}." for family in ("projects", "domains", "clusters", "pools")),
    *("trimtab.attributes.task_resource.", "trimtab.attributes.", "trimtab.namespaces.embedded."),
    *("trimtab.executions.requested.development.", "trimtab.executions.events."),
    *(
        "trimtab.executions.commands.",
        "trimtab.resmgr.granted.default.",
        "trimtab.resmgr.lost.default.",
    ),
    *("trimtab.resmgr.allocate.", "trimtab.resmgr.renew.", "trimtab.dead.EXECUTIONS."),
]
VALUES = [
    b"",
    b"1",
    b"-1",
    b"NaN",
    b"1e9",
    b"9" * 400,
    b"\xff",
    "\u0661".encode(),
    b"trimtab",
    b"100",
]
HEADERS = [
    *(b"trimtab-revision", b"trimtab-commit", b"ce-id", b"ce-type", b"ce-source", b"Status"),
    *(b"traceparent", b"Nats-Msg-Id", b"a(b)", b"\xff"),
]


def nearly(subject: str, event: Event, **more: str) -> list[Stray]:
    """Return messages that would be Trimtab's, each without one of the headers that make it so."""
    source = {EVENT_ID: "1", EVENT_TYPE: event.event_type, "ce-source": "trimtab"}
    headers = {**source, "ce-specversion": "1.0", **more}
    return [
        Stray(
            subject.encode(),
            "".join(f"\r\n{n}: {v}" for n, v in headers.items() if n != without).encode(),
            event.body(),
        )
        for without in headers
    ]


LATE = {REVISION: "1000000", COMMIT: "1000000"}
"""Headers of a change that no view has seen yet."""
NEARLY = [
    *nearly("trimtab.projects.stray", ProjectChanged(name="stray"), **LATE),
    *nearly(subjects.WATERMARK, Watermark(revision=10**6, count=0, digest="0")),
    *nearly(subjects.namespace("c", "n"), STATUS),
]


def stray(chance: random.Random) -> Stray:
    subject = chance.choice(SUBJECTS).encode()
    if subject.endswith(b"."):
        names = chance.choices(NAMES, k=chance.choice((1, 1, 1, 2, 4)))
        subject += b".".join(names)[:3000]
    return Stray(subject, headers(chance), chance.choice(BODIES))


def headers(chance: random.Random) -> bytes | None:
    match chance.randrange(5):
        case 0:
            return None
        case 1:
            return chance.choice((b" 100", b" 404 No Messages", b" \xff\xff\xff", b""))
        case 2:
            return RELAY
        case _:
            names = chance.sample(HEADERS, k=chance.randint(1, 5))
            return b"".join(b"\r\n%b: %b" % (name, chance.choice(VALUES)) for name in names)


async def until_all_work(system: System, api: Client, cpu: int) -> int:
    """Wait until each service has seen a change made now, and an execution has used it."""
    await system.until_ready()
    version = await limit(api, Scope(DOMAIN, PROJECT), cpu)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            await system.until_ready()
            views = system.views()
            shown = {int(str(view.get("revision", 0))) for view in views}
            if min(shown) >= version and len(set(map(str, views))) == 1:
                break
            await asyncio.sleep(0.1)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while f"{PROJECT}-{DOMAIN}" not in await namespaces(api):
            await asyncio.sleep(0.1)
    wanted = ExecutionCreate(project=PROJECT, domain=DOMAIN, workflow="oversized")
    body = await ended(api, (await api.executions.create(wanted)).id)
    assert (body.phase, f"is over {cpu}," in body.error) == ("refused", True), body.error
    return version


async def namespaces(api: Client) -> set[str]:
    """Return the namespaces whose statuses admin has read."""
    return {each.namespace for each in await api.namespaces.list()}


async def held(api: Client) -> object:
    """Return what admin has, apart from revisions."""
    with suppress(Unavailable):
        found = [await api.projects.list(), await api.domains.list(), await api.pools.list()]
        bodies = [[body.model_dump(exclude={"version"}) for body in each] for each in found]
        return [*bodies, await namespaces(api)]
    raise AssertionError("admin does not answer")


@pytest.mark.parametrize("subject", [ENDED_AT_ONCE, ENDED_EVERYBODY])
async def test_a_message_that_once_ended_services_ends_none(
    system: System, api: Client, subject: str
) -> None:
    body = b'{"kind": "task_resource", "workflow": "train", "document": {}}'
    messages = [Stray(subject.encode(), None, b"{}"), Stray(subject.encode(), RELAY, body)]
    await until_all_work(system, api, 2)
    await strays.publish(system.nats, messages)
    await api.resync()
    await until_all_work(system, api, 3)
    # A service that starts reads them with everything else.
    for name in ("admin", "clusterres", "propeller", "resmgr"):
        system.kill(name)
        system.start(name)
    await until_all_work(system, api, 4)


async def test_random_messages_on_every_stream_end_no_service_and_change_no_view(
    system: System, api: Client, seed: int
) -> None:
    chance = random.Random(seed)
    await until_all_work(system, api, 5)
    before = await held(api)
    for cpu in range(6, 9):
        random_ones = [stray(chance) for _ in range(STRAYS // 3)]
        await strays.publish(system.nats, [*NEARLY, *random_ones])
        await until_all_work(system, api, cpu)
    for name in ("admin", "clusterres", "propeller", "resmgr"):
        system.kill(name)
        system.start(name)
    await until_all_work(system, api, 9)
    assert await held(api) == before
