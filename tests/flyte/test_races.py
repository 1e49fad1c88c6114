"""Clients that write at the same time, over the port of gRPC, and an admin that is killed."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from flyteidl.admin.project_attributes_pb2 import ProjectAttributesUpdateRequest
from flyteidl.admin.project_domain_attributes_pb2 import (
    ProjectDomainAttributesGetRequest,
    ProjectDomainAttributesUpdateRequest,
)
from flyteidl.admin.workflow_attributes_pb2 import (
    WorkflowAttributesGetRequest,
    WorkflowAttributesUpdateRequest,
)
from flyteidl.service.admin_pb2_grpc import AdminServiceStub
from google.protobuf.json_format import ParseDict

from tests.flyte.admins import TOKEN, Admin
from tests.flyte.test_flytekit import SCOPES
from tests.servers import PATIENCE_SECONDS

Target = Mapping[str, Any]

CLIENTS = 16
AUTHORIZATION = [("authorization", f"Bearer {TOKEN}")]
UPDATES = {
    "Project": ProjectAttributesUpdateRequest,
    "ProjectDomain": ProjectDomainAttributesUpdateRequest,
    "Workflow": WorkflowAttributesUpdateRequest,
}
GETS = {
    "ProjectDomain": ProjectDomainAttributesGetRequest,
    "Workflow": WorkflowAttributesGetRequest,
}
KILLS = 3
OPTIONS = [("grpc.use_local_subchannel_pool", 1)]
"""Gives each client a connection of its own."""


@asynccontextmanager
async def clients(admin: Admin, count: int = CLIENTS) -> AsyncIterator[list[AdminServiceStub]]:
    async with AsyncExitStack() as opened:
        yield [
            AdminServiceStub(
                await opened.enter_async_context(
                    grpc.aio.insecure_channel(admin.grpc, options=OPTIONS)
                )
            )
            for _ in range(count)
        ]


@pytest.fixture(scope="module", autouse=True)
def project(admin: Admin) -> None:
    with admin.client() as client:
        assert client.post("/api/v2/projects", json={"name": "shop"}).status_code == 201


@pytest.mark.parametrize("level", UPDATES)
async def test_first_updates_of_one_row_all_succeed(admin: Admin, level: str) -> None:
    async with clients(admin) as stubs, asyncio.TaskGroup() as group:
        for number, stub in enumerate(stubs):
            group.create_task(update(stub, level, label(f"c{number}")))


@pytest.mark.parametrize("level", ["ProjectDomain", "Workflow"])
async def test_no_merge_of_plugin_overrides_is_lost(admin: Admin, level: str) -> None:
    types = [f"t{number}" for number in range(5 * CLIENTS)]
    async with clients(admin) as stubs:
        async with asyncio.TaskGroup() as group:
            for number, stub in enumerate(stubs):
                group.create_task(update_each(stub, level, types[number::CLIENTS]))
        assert await task_types(stubs[0], level) == {*types}


async def test_every_acknowledged_write_is_there_after_admin_was_killed(
    new_admin: Callable[..., Admin], seed: int
) -> None:
    admin = new_admin()
    with admin.client() as client:
        client.post("/api/v2/projects", json={"name": "shop"})
    draw = random.Random(seed)
    writers = [Writer(f"w{number}") for number in range(CLIENTS)]
    for _ in range(KILLS):
        async with clients(admin) as stubs, asyncio.TaskGroup() as group:
            for writer, stub in zip(writers, stubs, strict=True):
                group.create_task(writer.write(stub))
            enough = sum(writer.acknowledged for writer in writers) + draw.randrange(20, 100)
            while sum(writer.acknowledged for writer in writers) < enough:
                await asyncio.sleep(0.01)
            admin.kill()
        admin.start()
        async with clients(admin, 1) as [stub]:
            for writer in writers:
                await writer.check(stub)


class Writer:
    """A client that writes numbers in turn, each to a row of its own and to one of all writers."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._workflow = {**SCOPES["Workflow"], "workflow": name}
        self.acknowledged = 0
        """The last number that the responses of both writes have arrived for."""

    async def write(self, stub: AdminServiceStub) -> None:
        """Write until admin is gone."""
        with pytest.raises(grpc.aio.AioRpcError) as refused:  # noqa: PT012
            while True:
                number = self.acknowledged + 1
                await update(stub, "Workflow", label(f"c{number}"), **self._workflow)
                await update(stub, "ProjectDomain", override(self._task_type(number)))
                self.acknowledged = number
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE

    async def check(self, stub: AdminServiceStub) -> None:
        """Check that what was acknowledged is stored, and nothing that was not sent."""
        if not self.acknowledged:
            return
        request = {**self._workflow, "resourceType": "EXECUTION_CLUSTER_LABEL"}
        row = await call(stub, "GetWorkflowAttributes", WorkflowAttributesGetRequest, request)
        sent = self.acknowledged, self.acknowledged + 1
        assert row.attributes.matching_attributes.execution_cluster_label.value in {
            f"c{number}" for number in sent
        }
        stored = await task_types(stub, "ProjectDomain")
        assert stored >= {self._task_type(number + 1) for number in range(self.acknowledged)}

    def _task_type(self, number: int) -> str:
        return f"{self._name}-{number}"


def label(value: str) -> Target:
    return {"executionClusterLabel": {"value": value}}


def override(task_type: str) -> Target:
    return {"pluginOverrides": {"overrides": [{"taskType": task_type, "pluginId": ["p"]}]}}


async def update_each(stub: AdminServiceStub, level: str, task_types: Sequence[str]) -> None:
    for task_type in task_types:
        await update(stub, level, override(task_type))


async def update(stub: AdminServiceStub, level: str, target: Target, **scope: str) -> None:
    row = {**SCOPES[level], **scope, "matchingAttributes": target}
    await call(stub, f"Update{level}Attributes", UPDATES[level], {"attributes": row})


async def task_types(stub: AdminServiceStub, level: str) -> set[str]:
    """Return the task types of the plugin overrides of a row."""
    request = {**SCOPES[level], "resourceType": "PLUGIN_OVERRIDE"}
    row = await call(stub, f"Get{level}Attributes", GETS[level], request)
    overrides = row.attributes.matching_attributes.plugin_overrides.overrides
    return {each.task_type for each in overrides}


async def call(stub: AdminServiceStub, rpc: str, request_type: Any, fields: Target) -> Any:
    request = ParseDict(fields, request_type())
    return await getattr(stub, rpc)(request, metadata=AUTHORIZATION, timeout=PATIENCE_SECONDS)
