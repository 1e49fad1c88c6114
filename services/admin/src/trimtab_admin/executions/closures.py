"""A workflow with everything that it calls: whether it can be registered and executed.

Each function looks at thousands of nodes: an event loop calls it in a thread.
"""

import time

from pydantic import TypeAdapter, ValidationError

from trimtab.errors import Invalid
from trimtab.models import Name
from trimtab.workflows.graphs.expansion import Registry, expand
from trimtab.workflows.graphs.graph import MAX_NODES, Workflow
from trimtab.workflows.graphs.targets import Function
from trimtab.wrong_values import allowed_instead
from trimtab_admin.executions import interfaces
from trimtab_admin.storage.changes import MAX_EVENT_BYTES

MAX_REFERENCES = 200
"""The most versions that a workflow refers to, directly or through those that it refers to."""

_NAME = TypeAdapter[str](Name)
_MAX_COMPARISON_SECONDS = 2.0
"""How long types are compared; those of honest workflows take milliseconds."""


def check_registration(workflow: Workflow, registry: Registry) -> Workflow:
    """Return the expanded workflow. Raises `Invalid` where it cannot be executed."""
    _check_numbers(workflow)
    _check_reserved(workflow)
    _check_names(workflow)
    workflow.check()
    ends_at = time.monotonic() + _MAX_COMPARISON_SECONDS
    interfaces.check(workflow, registry, lambda: time.monotonic() > ends_at)
    expanded = expand_checked(workflow, registry)
    size = len(expanded.model_dump_json().encode())
    if size > MAX_EVENT_BYTES:
        allowed = f"at most {MAX_EVENT_BYTES} bytes, with all that it calls"
        raise Invalid("workflow", f"{size} bytes", allowed)
    return expanded


def expand_checked(workflow: Workflow, registry: Registry) -> Workflow:
    """Return the workflow with calls of tasks only. Raises `Invalid`."""
    expanded = expand(workflow, registry)
    if expanded is not workflow:
        expanded.check()
        expanded.check_plans()
    return expanded


def _check_numbers(workflow: Workflow) -> None:
    """Raise `Invalid` for more than any execution could need, called or not."""
    for name, number, most in (
        # The calls of sub-workflows are no nodes once they are expanded.
        ("nodes", sum(len(graph.nodes) for graph in workflow.graphs.values()), 2 * MAX_NODES),
        ("tasks", len(workflow.tasks), MAX_NODES),
        ("references", len(workflow.references), MAX_REFERENCES),
    ):
        if number > most:
            raise Invalid(name, f"{number} {name}", f"at most {most} {name}")


def _check_names(workflow: Workflow) -> None:
    """Raise `Invalid` for a name of a task that no reference can have."""
    for name in workflow.tasks:
        try:
            _NAME.validate_python(name)
        except ValidationError as error:
            raise Invalid("tasks", name, allowed_instead(error.errors()[0])) from error


def _check_reserved(workflow: Workflow) -> None:
    """Raise `Invalid` for what only the expansion of a workflow writes."""
    nothing = "nothing: it is written when the workflow is expanded"
    if workflow.sources:
        raise Invalid("sources", ", ".join(workflow.sources), nothing)
    if workflow.plans:
        raise Invalid("plans", ", ".join(workflow.plans), nothing)
    for name, task in workflow.tasks.items():
        if isinstance(task.target, Function) and task.target.code:
            raise Invalid(f"tasks.{name}.target.code", task.target.code, nothing)
    for graph in workflow.graphs.values():
        for node in graph.nodes:
            if node.plan:
                raise Invalid(f"node {node.id}.plan", node.plan, nothing)
            if node.hook is not None and node.hook.path:
                raise Invalid(f"hook {node.hook.name}.path", node.hook.path, nothing)
