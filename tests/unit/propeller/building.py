"""Builders of requests, graphs and settings, whose defaults leave a test only what matters."""

from collections.abc import Mapping
from typing import Any

from trimtab.levels import Scope
from trimtab.messages.events import Event, RecordChanged
from trimtab.messages.executions import Request
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.graph import Binding, FromNode, Hook, Node, Task, Workflow
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab.workflows.graphs.node_overrides import NodeOverrides

PROJECT_DOMAIN = Scope("development", "shop")
MODULE = "the text of a module"


def resources(requests: Mapping[str, str] = {}, limits: Mapping[str, str] = {}) -> NodeOverrides:
    return overrides(resources={"requests": dict(requests), "limits": dict(limits)})


def overrides(**fields: Any) -> NodeOverrides:
    return NodeOverrides.model_validate(fields)


def node(
    name: str = "n0",
    *,
    after: tuple[str, ...] = (),
    compiled: NodeOverrides | None = None,
    hook: str = "",
    default: NodeOverrides | None = None,
) -> Node:
    inputs: dict[str, Binding] = {f"from_{other}": FromNode(node=other) for other in after}
    hooked = Hook(name=hook, default=default or NodeOverrides()) if hook else None
    return Node(
        id=name, task="train", inputs=inputs, overrides=compiled or NodeOverrides(), hook=hooked
    )


def request(
    *nodes: Node,
    task: NodeOverrides | None = None,
    pool: str | None = None,
    output: Binding | None = None,
    plan: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Request:
    trains = Task(name="train", config=task or NodeOverrides(), pool=pool)
    workflow = Workflow(
        name="nightly",
        version="1",
        tasks={"train": trains},
        nodes=nodes or (node(),),
        output=output,
        module=MODULE,
    )
    content = {"name": "nightly", "workflow": "nightly", "version": "1", **(plan or {})}
    return Request(
        execution=fields.pop("execution", "e1"),
        project="shop",
        domain="development",
        workflow=workflow,
        launch_plan=LaunchPlan.model_validate(content),
        **fields,
    )


def settings(*events: Event) -> Settings:
    """Return the settings after these changes, with revisions from 1."""
    after = Settings()
    for revision, event in enumerate(events, 1):
        after.apply(event, revision)
    return after


def record(kind: str, document: Mapping[str, Any], scope: Scope = PROJECT_DOMAIN) -> RecordChanged:
    return RecordChanged.at(scope, kind, document)
