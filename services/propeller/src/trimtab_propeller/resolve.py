"""An execution's request and the settings, folded into everything its nodes run with. Pure.

Done once, at admission: what the settings become later is for later executions.
"""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from trimtab.errors import Invalid, NotFound, Unreadable
from trimtab.messages.executions import Request, Resolution, Resolved
from trimtab.settings.fold import Leaf
from trimtab.settings.state import Settings
from trimtab.workflows.graph import Node, NodeOverrides
from trimtab_propeller import configuration
from trimtab_propeller.limits import Refusal, settle

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
"""Of executions and nodes, because executors make directories and pods of them."""
_ENGINE: Mapping[str, JsonValue] = {"retries": 0, "interruptible": False}


@dataclass(frozen=True)
class Capabilities:
    """What an executor is called and what it cannot do."""

    name: str
    ignores: tuple[str, ...] = ()
    """Paths, with everything below them."""

    def note(self, value: Resolved) -> Resolved:
        """The value, saying so where the executor does not apply it."""
        if not any(value.path == p or value.path.startswith(p + ".") for p in self.ignores):
            return value
        ignored = f"ignored by the {self.name} executor"
        return value.model_copy(update={"note": "; ".join(filter(None, [value.note, ignored]))})


def resolve(request: Request, settings: Settings, executor: Capabilities) -> Resolution:
    """What every node runs with, and where each value is from. Raises `Refusal`."""
    try:
        _check(request)
        whole = {value.path: value for value in configuration.of_execution(request, settings)}
        shared = [
            *configuration.of_nodes(request, settings),
            *_placement(request, settings),
            *_priority(request, settings),
        ]
        nodes = {node.id: _node(node, request, settings, shared) for node in request.workflow.nodes}
    except Invalid as error:
        raise Refusal(error.path, error.value, str(error)) from error
    except Unreadable as error:
        raise Refusal("settings", None, str(error)) from error
    return Resolution(
        revision=settings.revision,
        executor=executor.name,
        execution=_noted(whole, executor),
        nodes={node: _noted(values, executor) for node, values in nodes.items()},
    )


def _noted(values: Mapping[str, Resolved], executor: Capabilities) -> tuple[Resolved, ...]:
    return tuple(executor.note(values[path]) for path in sorted(values))


def _node(
    node: Node, request: Request, settings: Settings, shared: list[Resolved]
) -> dict[str, Resolved]:
    values = {
        path: Resolved(path=path, value=value, source="engine") for path, value in _ENGINE.items()
    }
    values |= {value.path: value for value in shared}
    for source, given in reversed(list(_sources(node, request))):
        for path, value in _flat(given.model_dump(exclude_none=True)).items():
            values[path] = Resolved(path=path, value=value, source=source)
    values |= {value.path: value for value in _pool(node, request, settings)}
    try:
        _check_environment(values)
        return settle(values, settings.effective("task_resource", request.target))
    except Refusal as refusal:
        refusal.node = node.id
        raise


def _sources(node: Node, request: Request) -> Iterator[tuple[str, NodeOverrides]]:
    """Who may say something of a node, the most specific first."""
    plan = request.launch_plan
    if node.hook is not None:
        hook = node.hook.name
        yield "execution override", request.overrides.get(hook, NodeOverrides())
        yield "launch plan override", plan.runtime_override.get(hook, NodeOverrides())
        yield "hook default", node.hook.default
    yield "execution", configuration.of_every_node(request)
    yield "launch plan", configuration.of_every_node(plan)
    yield "with_overrides", node.overrides
    yield "task", request.workflow.tasks[node.task].config


def _flat(document: Mapping[str, JsonValue], prefix: str = "") -> dict[str, JsonValue]:
    """Values by dotted path; a key of the environment may hold dots itself."""
    flat: dict[str, JsonValue] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _check_environment(values: Mapping[str, Resolved]) -> None:
    """What the operating system would refuse when the task starts."""
    for path, value in values.items():
        name = path.removeprefix("environment.")
        if name != path and (not name or "=" in name or "\0" in f"{name}{value.value}"):
            message = f"{path} ({value.source}) cannot be an environment variable"
            raise Refusal(path, value.value, message)


def _pool(node: Node, request: Request, settings: Settings) -> Iterator[Resolved]:
    task = request.workflow.tasks[node.task]
    if task.pool is None:
        return
    try:
        pool = settings.pool(task.pool)
    except NotFound as error:
        raise Refusal("pool", task.pool, str(error), node=node.id) from error
    yield Resolved(path="pool", value=task.pool, source="task")
    yield Resolved(path="weight", value=task.weight, source="task")
    yield Resolved(path="cohort", value=pool.cohort, source="pool")


def _priority(request: Request, settings: Settings) -> Iterator[Resolved]:
    leaf = _leaf(settings, "workflow_priority", "priority", request)
    if leaf is not None:
        yield _of_record("priority", leaf.value, "workflow_priority.priority", leaf)


def _placement(request: Request, settings: Settings) -> Iterator[Resolved]:
    """The cluster, the same one for all nodes, and the label that it was chosen by."""
    source = "execution_cluster_label.value"
    leaf = _leaf(settings, "execution_cluster_label", "value", request)
    cluster = _cluster(request.execution, settings, leaf)
    if leaf is not None:
        yield _of_record("execution_cluster_label", leaf.value, source, leaf)
        yield _of_record("cluster", cluster, source, leaf)
    elif cluster is not None:
        yield Resolved(path="cluster", value=cluster, source="engine")


def _cluster(execution: str, settings: Settings, label: Leaf | None) -> str | None:
    """Weighted, and the same again for the same execution. Raises `Refusal`."""
    enabled = [cluster for _, cluster in sorted(settings.clusters.items()) if cluster.enabled]
    fitting = [c for c in enabled if label is None or label.value in c.labels]
    weighted = [cluster for cluster in fitting if cluster.weight > 0]
    if weighted:
        weights = [cluster.weight for cluster in weighted]
        return random.Random(execution).choices(weighted, weights)[0].name
    if label is None:
        return None
    known = ", ".join(sorted({label for cluster in enabled for label in cluster.labels})) or "none"
    raise Refusal(
        "execution_cluster_label.value",
        label.value,
        f"no enabled cluster carries the label {label.value!r}, which execution_cluster_label of "
        f"{label.scope} asks for; the labels there are: {known}",
        scope=str(label.scope),
    )


def _leaf(settings: Settings, kind: str, path: str, request: Request) -> Leaf | None:
    """Raises `Unreadable`."""
    leaf = settings.effective(kind, request.target).leaves.get(path)
    return None if leaf is None or leaf.value is None else leaf


def _of_record(path: str, value: JsonValue, source: str, leaf: Leaf) -> Resolved:
    return Resolved(
        path=path, value=value, source=source, scope=str(leaf.scope), revision=leaf.revision
    )


def _check(request: Request) -> None:
    """What admin has checked too, held again because the request came over the wire."""
    request.workflow.check()
    request.workflow.check_hooks("overrides", request.overrides)
    request.workflow.check_hooks(
        "launch_plan.runtime_override", request.launch_plan.runtime_override
    )
    for name in (request.execution, *(node.id for node in request.workflow.nodes)):
        if not _NAME.fullmatch(name):
            raise Invalid("id", name, "letters, digits and _ . - behind a letter or digit")
