"""One system for the stories of a module, and a client of it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.system import System
from trimtab.api.entities import ProjectBody
from trimtab.api.executions import WorkflowBody
from trimtab.client import Client
from trimtab.kinds.task_resource import ResourceSpec
from trimtab.workflows.graph import Node as GraphNode
from trimtab.workflows.graph import NodeOverrides, ResourceOverrides, Task, Workflow

PROJECT, DOMAIN = "flyteexamples", "development"


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with System(tmp_path / "system") as system:
        yield system


@pytest.fixture
async def api(system: System) -> AsyncIterator[Client]:
    """Ready, with a project and a workflow that asks for more than any limit."""
    await system.until_ready()
    async with Client(system.url, system.token) as client:
        await client.projects.create(ProjectBody(name=PROJECT))
        await client.workflows.create(
            WorkflowBody(project=PROJECT, domain=DOMAIN, workflow=greedy())
        )
        yield client


def greedy() -> Workflow:
    """Its one task asks for 1000 CPUs, so that a run ends with the limit that it saw."""
    asked = ResourceOverrides(requests=ResourceSpec(cpu="1000"))
    task = Task(name="take", config=NodeOverrides(resources=asked))
    return Workflow(
        name="greedy",
        version="1",
        tasks={"take": task},
        nodes=(GraphNode(id="n0", task="take", inputs={}),),
        module="def take(): ...",
    )
