"""One system for the stories of a module, and a client of it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.system import System
from trimtab.amounts import ResourceSpec
from trimtab.api.entities import ProjectBody
from trimtab.api.executions import WorkflowBody
from trimtab.client import Client
from trimtab.workflows.graphs.graph import Node as GraphNode
from trimtab.workflows.graphs.graph import Task, Workflow
from trimtab.workflows.graphs.node_overrides import NodeOverrides, ResourceOverrides

PROJECT, DOMAIN = "flyteexamples", "development"


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with System(tmp_path / "system") as system:
        yield system


@pytest.fixture
async def api(system: System) -> AsyncIterator[Client]:
    """A client of a ready system with a project and a workflow that requests too much CPU."""
    await system.until_ready()
    async with Client(system.url, system.token) as client:
        await client.projects.create(ProjectBody(name=PROJECT))
        await client.workflows.create(
            WorkflowBody(project=PROJECT, domain=DOMAIN, workflow=oversized())
        )
        yield client


def oversized() -> Workflow:
    """Build a workflow whose task requests 1000 CPUs, so that its error names the limit."""
    requested = ResourceOverrides(requests=ResourceSpec(cpu="1000"))
    task = Task(name="take", config=NodeOverrides(resources=requested))
    return Workflow(
        name="oversized",
        version="1",
        tasks={"take": task},
        nodes=(GraphNode(id="n0", task="take", inputs={}),),
        module="def take(): ...",
    )
