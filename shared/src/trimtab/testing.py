"""Builders with defaults, for tests: a test sets only the fields that matter. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import JsonValue

from trimtab.levels import Scope
from trimtab.messages.events import RecordChanged
from trimtab.messages.executions import LogEvent, Request
from trimtab.workflows.graphs.graph import Constant, FromNode, Hook, Node, Task, Workflow
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab.workflows.graphs.node_overrides import NodeOverrides

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
"""The time of all events that are built here."""

DOMAIN = Scope(domain="development")

MODULE = """\
def count(start):
    return start + 1


def double(number):
    return 2 * number
"""
"""The source of the tasks of `workflow`."""

L = TypeVar("L", bound=LogEvent)


def record(
    document: Mapping[str, Any] | None = None,
    *,
    kind: str = "task_resource",
    scope: Scope = DOMAIN,
) -> RecordChanged:
    """Build a record; by default one that limits tasks to two cores."""
    return RecordChanged.at(scope, kind, {"limits": {"cpu": "2"}} if document is None else document)


def deleted(kind: str = "task_resource", scope: Scope = DOMAIN) -> RecordChanged:
    """Build the deletion of a record."""
    return RecordChanged.at(scope, kind, None)


def workflow(
    name: str = "train", *, version: str = "v1", hook: NodeOverrides | None = None
) -> Workflow:
    """Build a workflow: ``n0`` counts; ``n1``, with the hook ``trainer``, doubles its result."""
    return Workflow(
        name=name,
        version=version,
        tasks={"count": Task(name="count"), "double": Task(name="double")},
        nodes=(
            Node(id="n0", task="count", inputs={"start": Constant(value=1)}),
            Node(
                id="n1",
                task="double",
                inputs={"number": FromNode(node="n0")},
                hook=Hook(name="trainer", default=hook or NodeOverrides()),
            ),
        ),
        output=FromNode(node="n1"),
        module=MODULE,
    )


def request(
    execution: str = "e1",
    *,
    workflow_: Workflow | None = None,
    inputs: Mapping[str, JsonValue] | None = None,
    overrides: Mapping[str, NodeOverrides] | None = None,
    revision: int = 0,
) -> Request:
    """Build a request of the default launch plan in project flyteexamples, domain development."""
    graph = workflow_ or workflow()
    return Request(
        execution=execution,
        project="flyteexamples",
        domain="development",
        workflow=graph,
        launch_plan=LaunchPlan(name=graph.name, workflow=graph.name, version=graph.version),
        inputs=dict(inputs or {}),
        overrides=dict(overrides or {}),
        revision=revision,
    )


def entry(event: type[L], index: int, **fields: Any) -> L:  # fields of any of the log's events
    """Build an event of the log of execution ``e1``, appended by its first owner."""
    common = {"execution": "e1", "owner": "propeller-0000beef", "epoch": 1, "at": AT}
    return event.model_validate({**common, "index": index, **fields})
