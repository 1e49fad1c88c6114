"""Nothing that was acknowledged is lost, whichever container restarts or crashes under load."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

import pytest

from tests.e2e.stack import Stack
from tests.servers import PATIENCE_SECONDS
from trimtab.api.entities import PoolBody, ProjectBody
from trimtab.api.executions import ExecutionBody, ExecutionCreate, WorkflowBody
from trimtab.client import Client
from trimtab.errors import Retryable
from trimtab.levels import Scope
from trimtab.messages.executions import ENDED
from trimtab.workflows.graphs.graph import FromNode, Node, Task, Workflow

PROJECT, DOMAIN = "load", "development"
SCOPE = Scope(DOMAIN, PROJECT)
POOL, QUOTA = "busy", 2
MANY = 1000
"""The most executions that admin lists at once."""
MODULE = """
import time
from trimtab import task
@task(pool="busy")
def hold(): time.sleep(0.3)
@task
def work(first, second): time.sleep(0.3)
"""
T = TypeVar("T")


class Load:
    """Writes settings and creates executions, through whichever admin responds."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self._clients = clients
        self.written: list[int] = []
        """The acknowledged values of the quota, in order."""
        self.executions: list[str] = []
        """The executions whose creation was acknowledged."""
        self.most_held = 0

    async def call(self, operation: Callable[[Client], Awaitable[T]]) -> T:
        """Call one admin after the other until one responds."""
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            for client in itertools.cycle(self._clients):
                try:
                    return await operation(client)
                except Retryable:
                    await asyncio.sleep(0.1)
        raise AssertionError("unreachable")

    async def prepare(self) -> None:
        await self.call(lambda api: api.projects.create(ProjectBody(name=PROJECT)))
        await self.call(lambda api: api.pools.put(PoolBody(name=POOL, quota=QUOTA)))
        body = WorkflowBody(project=PROJECT, domain=DOMAIN, workflow=workflow())
        await self.call(lambda api: api.workflows.create(body))

    async def write(self) -> None:
        for number in itertools.count(1):
            document = {"attributes": {"projectQuotaCpu": str(number)}}
            await self.call(
                lambda api, document=document: api.records.put(  # type: ignore[misc]
                    "cluster_resource", SCOPE, document, force=True
                )
            )
            self.written.append(number)
            await asyncio.sleep(0.02)

    async def execute(self) -> None:
        wanted = ExecutionCreate(project=PROJECT, domain=DOMAIN, workflow="load")
        while True:
            created = await self.call(lambda api: api.executions.create(wanted))
            self.executions.append(created.id)
            await asyncio.sleep(1.5)

    async def watch_pool(self) -> None:
        while True:
            usage = await self.call(lambda api: api.pools.usage(POOL))
            self.most_held = max(self.most_held, usage.held)
            await asyncio.sleep(0.2)

    async def ended(self) -> list[ExecutionBody]:
        """Wait until every execution has ended, and return them."""
        async with asyncio.timeout(3 * PATIENCE_SECONDS):
            while True:
                found = await self.call(lambda api: api.executions.list(PROJECT, DOMAIN, MANY))
                assert len(found) < MANY
                if all(body.phase in ENDED for body in found):
                    return list(found)
                await asyncio.sleep(0.5)


def workflow() -> Workflow:
    """Build a workflow of two tasks with a token, and one that waits for both."""
    tasks = {"hold": Task(name="hold", pool=POOL), "work": Task(name="work")}
    nodes = (
        Node(id="n0", task="hold", inputs={}),
        Node(id="n1", task="hold", inputs={}),
        Node(
            id="n2",
            task="work",
            inputs={"first": FromNode(node="n0"), "second": FromNode(node="n1")},
        ),
    )
    return Workflow(name="load", version="1", tasks=tasks, nodes=nodes, module=MODULE)


@pytest.fixture
async def clients(stack: Stack) -> AsyncIterator[Sequence[Client]]:
    """A client of each admin."""
    async with AsyncExitStack() as opened:
        yield [await opened.enter_async_context(Client(url, stack.token)) for url in stack.urls]


async def test_nothing_is_lost_when_each_container_restarts_and_crashes_under_load(
    stack: Stack, clients: Sequence[Client]
) -> None:
    load = Load(clients)
    await load.prepare()
    async with asyncio.TaskGroup() as running:
        tasks = [running.create_task(run()) for run in (load.write, load.execute, load.watch_pool)]
        for container in stack.containers():
            for fault in (stack.restart, stack.kill):
                before = len(load.written)
                await asyncio.to_thread(fault, container)
                await asyncio.to_thread(stack.wait_until_healthy)
                await asyncio.to_thread(
                    stack.eventually, lambda n=before: len(load.written) > n + 5
                )
        for task in tasks:
            task.cancel()

    executions = await load.ended()
    by_id = {body.id: body for body in executions}
    assert set(load.executions) <= set(by_id)
    assert {(body.phase, body.error) for body in executions} == {("succeeded", "")}
    await check_settings(load)
    await asyncio.to_thread(stack.eventually, lambda: are_equal(stack.views()))
    last = load.written[-1]
    # The write that was cancelled at the end may have been committed too.
    await asyncio.to_thread(stack.eventually, lambda: quota(stack) in (last, last + 1))
    assert 0 < load.most_held <= QUOTA
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await load.call(lambda api: api.pools.usage(POOL))).held:
            await asyncio.sleep(0.2)


async def check_settings(load: Load) -> None:
    """Check that the history has every acknowledged value, in the order of the writes."""
    changes = await load.call(lambda api: api.records.history("cluster_resource", SCOPE))
    numbers = [
        int(change.after["attributes"]["projectQuotaCpu"]) for change in changes if change.after
    ][::-1]
    assert numbers == sorted(numbers)
    assert set(load.written) <= set(numbers)


def quota(stack: Stack) -> int:
    """Return the CPU quota in the manifest; 0 where it cannot be read."""
    manifest = stack.manifest(f"{PROJECT}-{DOMAIN}", "ResourceQuota-project-quota")
    found = re.search(r"limits\.cpu: \D?(\d+)", manifest)
    return int(found[1]) if found else 0


def are_equal(views: list[object]) -> bool:
    return all(view == views[0] for view in views)
