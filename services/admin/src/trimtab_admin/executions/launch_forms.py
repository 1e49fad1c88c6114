"""Make the launch form of a workflow: its inputs, and the values that its hooks can override. Pure.

The defaults are what `trimtab.resolution` gives an execution without overrides. Placeholders in
values of the settings are not filled in, because they may name the execution.
"""

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import NamedTuple

from pydantic import JsonValue

from trimtab.api.launch_forms import FormField, FormHook, FormInput, FormLimit, LaunchForm
from trimtab.levels import Scope
from trimtab.messages.resolutions import ResolvedValue
from trimtab.resolution.limits import Refusal, bounds, complete_resources
from trimtab.resolution.sources import CALLED_PLAN, ENGINE_DEFAULTS, node_sources
from trimtab.settings.fold import Leaf
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.graph import Node, Workflow
from trimtab.workflows.graphs.launch_plans import ExecutionConfig, LaunchPlan
from trimtab.workflows.graphs.node_overrides import NodeOverrides, flat_overrides, merge_overrides
from trimtab_admin import steps
from trimtab_admin.executions.override_fields import EXECUTION_FIELDS, FIELDS, OverrideField
from trimtab_admin.steps import Steps

_CONFIG = "workflow_execution_config"
_LABEL = "execution_cluster_label"
_GROUPED = 1000
"""How many nodes are looked at in one slice, some milliseconds."""
_MADE = 10
"""How many hooks are made in one slice, some milliseconds."""


class Page(NamedTuple):
    """The part of the hooks that a form has."""

    after: int
    """How many hooks come before it."""
    limit: int


def launch_form(
    workflow: Workflow, plan: LaunchPlan, scope: Scope, settings: Settings, page: Page
) -> Steps[LaunchForm]:
    """Return the form of a launch plan, whose workflow is expanded.

    ``scope`` is the project and domain. Raises `trimtab.errors.Unreadable`.
    """
    own_name = plan.name if plan.name != workflow.name else ""
    target = Scope(scope.domain, scope.project, workflow.name, own_name)
    # Settings change while other tasks run between the slices.
    revision, defaults = settings.revision, _Defaults(workflow, plan, settings, target)
    groups = yield from _groups(workflow, plan)
    shown = groups[page.after : page.after + page.limit]
    hooks = yield from steps.each(defaults.hook, shown, _MADE)
    end = page.after + page.limit
    return LaunchForm(
        project=scope.project,
        domain=scope.domain,
        workflow=workflow.name,
        version=workflow.version,
        launch_plan=plan.name,
        revision=revision,
        inputs=tuple(_inputs(workflow, plan)),
        execution=tuple(_execution_fields(plan, settings, target)),
        hooks=tuple(hooks),
        hooks_next=end if end < len(groups) else None,
    )


def _inputs(workflow: Workflow, plan: LaunchPlan) -> Iterator[FormInput]:
    for name, value in workflow.inputs.items():
        required = name in workflow.required and name not in plan.inputs
        yield FormInput(
            name=name,
            json_schema=workflow.schema_of(name),
            required=required,
            default=plan.inputs.get(name, value),
            source="" if required else "launch plan" if name in plan.inputs else "workflow",
        )


def _groups(workflow: Workflow, plan: LaunchPlan) -> Steps[list[list[Node]]]:
    """Return the nodes that have a hook: those of one hook with equal sources together."""
    groups: dict[object, list[Node]] = {}
    for number, node in enumerate(workflow.nodes, 1):
        if node.hook is not None:
            own = node.hook.full_name if node.hook.full_name in plan.runtime_override else ""
            sources = (node.overrides.model_dump_json(), node.hook.default.model_dump_json())
            key = (node.hook.name, own, node.task, *sources, *_part(workflow, node))
            groups.setdefault(key, []).append(node)
        if number % _GROUPED == 0:
            yield
    return list(groups.values())


def _part(workflow: Workflow, node: Node) -> tuple[object, ...]:
    """Return what the called launch plan that a node is in adds to its sources."""
    if not node.plan:
        return ()
    call = workflow.plans[node.plan]
    return call.target, call.config.model_dump_json()


class _Defaults:
    """The values of nodes without overrides of an execution, and the limits for all of them."""

    def __init__(
        self, workflow: Workflow, plan: LaunchPlan, settings: Settings, target: Scope
    ) -> None:
        """Raises `Unreadable`."""
        self._workflow = workflow
        self._plan = plan
        self._target = target
        called = (call.target for call in workflow.plans.values())
        self._of_targets = {
            each: _TargetDefaults(settings, each) for each in dict.fromkeys((target, *called))
        }

    def hook(self, nodes: list[Node]) -> FormHook:
        """Return the hook of nodes with equal sources."""
        node = nodes[0]
        task = self._workflow.tasks[node.task]
        sources = list(reversed(list(node_sources(node, self._workflow, self._plan, {}))))
        merged = reduce(merge_overrides, (overrides for _, overrides in sources))
        target = self._workflow.plans[node.plan].target if node.plan else self._target
        return FormHook(
            name=node.hook.name if node.hook else "",
            paths=tuple(each.hook.full_name for each in nodes if each.hook),
            task=task.name,
            task_type=task.type,
            task_config_type=merged.task_config_type or "",
            fields=tuple(self._of_targets[target].fields(sources, merged)),
        )


class _TargetDefaults:
    """The defaults and limits of nodes that the settings of one target apply to."""

    def __init__(self, settings: Settings, target: Scope) -> None:
        """Raises `Unreadable`."""
        self._target = target
        self._task_resource = settings.effective("task_resource", target)
        self._shared = [
            *(_engine_value(path, value) for path, value in ENGINE_DEFAULTS.items()),
            *(
                value
                for value in _config_values(settings, target)
                if value.path == "interruptible" or value.path.startswith("environment.")
            ),
        ]

    def fields(
        self, sources: list[tuple[str, NodeOverrides]], merged: NodeOverrides
    ) -> Iterator[FormField]:
        """Yield the fields of a hook; ``sources`` come with the most specific one last."""
        return self._fields(self._values(sources), merged)

    def _values(self, sources: list[tuple[str, NodeOverrides]]) -> dict[str, ResolvedValue]:
        values = {value.path: value for value in self._shared}
        for source, overrides in sources:
            scope = str(self._target) if source == CALLED_PLAN else ""
            for path, value in flat_overrides(overrides).items():
                values[path] = ResolvedValue(path=path, value=value, source=source, scope=scope)
        return values

    def _fields(
        self, values: dict[str, ResolvedValue], merged: NodeOverrides
    ) -> Iterator[FormField]:
        problems: dict[str, str] = {}
        try:
            values = complete_resources(values, self._task_resource)
        except Refusal as refusal:
            problems[refusal.path] = str(refusal)
        for field in FIELDS:
            if field.is_map:
                yield from _map_fields(field, values, getattr(merged, field.path))
            else:
                yield self._field(field, values.get(field.path), problems.get(field.path, ""))

    def _field(self, field: OverrideField, value: ResolvedValue | None, problem: str) -> FormField:
        found = _with_default(field, value)
        if not field.resource:
            return found
        return found.model_copy(update={**self._limits(field.resource), "problem": problem})

    def _limits(self, resource: str) -> Mapping[str, object]:
        found = bounds(resource, self._task_resource)
        if not found:
            return {}
        return {
            "limits": tuple(
                FormLimit(
                    amount=bound.amount,
                    name=bound.name,
                    scope=bound.scope,
                    revision=bound.revision or 0,
                )
                for bound in found
            ),
            "over_limit": self._task_resource.flat.get("over_limit") or "refuse",
        }


def _engine_value(path: str, value: JsonValue) -> ResolvedValue:
    return ResolvedValue(path=path, value=value, source="engine")


def _config_values(settings: Settings, target: Scope) -> Iterator[ResolvedValue]:
    """Yield the values of the settings that a launch plan or a request can replace."""
    label = settings.effective(_LABEL, target).leaves.get("value")
    if label is not None and label.value is not None:
        yield _recorded(_LABEL, f"{_LABEL}.value", label)
    for path, leaf in settings.effective(_CONFIG, target).leaves.items():
        replaced = path.replace("envs.", "environment.", 1)
        if leaf.value is not None and replaced.partition(".")[0] in ExecutionConfig.model_fields:
            yield _recorded(replaced, f"{_CONFIG}.{path}", leaf)


def _recorded(path: str, source: str, leaf: Leaf) -> ResolvedValue:
    return ResolvedValue(
        path=path, value=leaf.value, source=source, scope=str(leaf.scope), revision=leaf.revision
    )


def _execution_fields(plan: LaunchPlan, settings: Settings, target: Scope) -> Iterator[FormField]:
    labels = _project_labels(settings, target.project)
    values = {value.path: value for value in (*labels, *_config_values(settings, target))}
    for path, value in _plan_values(plan):
        values[path] = ResolvedValue(path=path, value=value, source="launch plan")
    for field in EXECUTION_FIELDS:
        if field.is_map:
            yield from _map_fields(field, values)
        else:
            yield _with_default(field, values.get(field.path))


def _project_labels(settings: Settings, name: str) -> Iterator[ResolvedValue]:
    project = settings.projects.get(name)
    for key, value in (project.labels if project else {}).items():
        yield ResolvedValue(
            path=f"labels.{key}", value=value, source="project", scope=f"project {name}"
        )


def _plan_values(plan: LaunchPlan) -> Iterator[tuple[str, JsonValue]]:
    for name in ExecutionConfig.model_fields:
        value = getattr(plan, name)
        if isinstance(value, Mapping):
            yield from ((f"{name}.{key}", each) for key, each in value.items())
        elif value is not None:
            yield name, value


def _map_fields(
    field: OverrideField,
    values: Mapping[str, ResolvedValue],
    content: Mapping[str, JsonValue] | None = None,
) -> Iterator[FormField]:
    """Yield the field of a map, then one for each key: only these have sources.

    ``content`` is the map where its values are maps themselves: in the paths, a dot may be part of
    a key too.
    """
    prefix = f"{field.path}."
    keys = [path for path in values if path.startswith(prefix)]
    flat = {path.removeprefix(prefix): values[path].value for path in keys}
    whole = content if field.path == "task_config" else flat or None
    yield field.form_field().model_copy(update={"default": whole})
    for path in keys:
        yield _with_default(field.entry(path), values[path])


def _with_default(field: OverrideField, value: ResolvedValue | None) -> FormField:
    if value is None:
        return field.form_field()
    return field.form_field().model_copy(
        update={
            "default": value.value,
            "source": value.source,
            "scope": value.scope,
            "revision": value.revision,
        }
    )
