"""Check overrides of hooks against the limits of the settings, before propeller does. Pure.

Propeller checks each value of each node when it admits the execution, on the settings of that time.
Here the author of an override gets the error at once, with the field that has to be changed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from trimtab import quantities
from trimtab.errors import Invalid
from trimtab.levels import Scope
from trimtab.messages.resolutions import ResolvedValue
from trimtab.resolution.limits import NOT_OVERCOMMITTED, Refusal, complete_resources
from trimtab.resolution.sources import node_sources
from trimtab.settings.fold import Effective
from trimtab.workflows.graphs.graph import Hook, Node, Workflow
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab.workflows.graphs.node_overrides import NodeOverrides, flat_overrides
from trimtab_admin.executions.hook_overrides import FIELDS, HookOverrides, Overrides
from trimtab_admin.executions.target_settings import TargetSettings

MAX_WARNINGS = 20
_KIND = "task_resource"


class Limits(NamedTuple):
    """The effective ``task_resource`` of an execution, and that of each called launch plan."""

    own: Effective
    called: Mapping[Scope, Effective] = {}
    """By the targets of the launch plans."""

    def of(self, node: Node, workflow: Workflow) -> Effective:
        return self.called[workflow.plans[node.plan].target] if node.plan else self.own


def limits_of(settings: TargetSettings) -> Limits:
    called = {target: each.effective[_KIND] for target, each in settings.called.items()}
    return Limits(settings.effective[_KIND], called)


def check(
    workflow: Workflow, plan: LaunchPlan, overrides: Overrides, limits: Limits
) -> tuple[str, ...]:
    """Check the nodes whose hooks are overridden in an expanded workflow.

    Return the warnings about values that will be lowered or raised. Raises `Invalid`, which names
    the override, for a value over a limit.
    """
    given = HookOverrides.setting(plan, overrides, lambda each: each.resources is not None)
    if not given:
        return ()
    checks = _Checks(workflow, plan, given, limits)
    for node in workflow.nodes:
        checks.add(node)
    others = len(checks.warnings) - MAX_WARNINGS
    listed = list(checks.warnings)[:MAX_WARNINGS]
    return (*listed, f"{others} more values are changed") if others > 0 else tuple(listed)


@dataclass
class _Checks:
    workflow: Workflow
    plan: LaunchPlan
    given: HookOverrides
    """The overrides that set resources."""
    limits: Limits
    warnings: dict[str, None] = field(default_factory=dict)
    _checked: set[object] = field(default_factory=set)

    def add(self, node: Node) -> None:
        """Raise `Invalid` for a value over a limit; nodes with the same values are checked once."""
        if node.hook is None:
            return
        fields = tuple(field for _, field, _ in self.given.of(node.hook))
        limits = self.limits.of(node, self.workflow)
        key = (node.task, fields, _text(node.overrides), _text(node.hook.default), id(limits))
        if not fields or key in self._checked:
            return
        self._checked.add(key)
        values = self._values(node)
        try:
            completed = complete_resources(values, limits)
        except Refusal as refusal:
            self._refuse(node.hook, values, refusal)
            return
        for path, value in completed.items():
            if value.note and path in values and values[path].source in FIELDS:
                given, bound = str(values[path].value), str(value.value)
                is_lower = quantities.parse(given) < quantities.parse(bound)
                relation, change = ("below", "raised") if is_lower else ("over", "lowered")
                where = f"the {value.source} of {value.scope or 'the node itself'}"
                self.warnings.setdefault(
                    f"{self._field(node.hook, values[path])}: {given} is {relation} {bound}, "
                    f"{where}, and will be {change} to it"
                )

    def _values(self, node: Node) -> dict[str, ResolvedValue]:
        """Return the requests and limits that the sources of the node set, by path."""
        values = {}
        of_execution = self.given.by_source["execution override"]
        # No record of the settings sets any, except for the defaults of `task_resource`.
        sources = node_sources(node, self.workflow, self.plan, of_execution)
        for source, overrides in reversed(list(sources)):
            for path, value in flat_overrides(overrides).items():
                if path.startswith("resources."):
                    values[path] = ResolvedValue(path=path, value=value, source=source)
        return values

    def _refuse(self, hook: Hook, values: Mapping[str, ResolvedValue], refusal: Refusal) -> None:
        """Raise `Invalid`, unless no override is the cause: then propeller refuses."""
        for path in (refusal.path, _counterpart(refusal.path)):
            value = values.get(path)
            if value is not None and value.source in FIELDS:
                allowed = f"at most {refusal.bound}"
                if path != refusal.path:
                    allowed = f"another value, because {refusal}"
                if not refusal.scope and path.rpartition(".")[2] in NOT_OVERCOMMITTED:
                    allowed += f"; {_counterpart(path)} has to be set to the same amount"
                raise Invalid(self._field(hook, value), value.value, allowed) from refusal

    def _field(self, hook: Hook, value: ResolvedValue) -> str:
        """Return the field of the request that has the value."""
        field = next(
            field
            for source, field, overrides in self.given.of(hook)
            if source == value.source and value.path in flat_overrides(overrides)
        )
        return f"{field}.{value.path}"


def _counterpart(path: str) -> str:
    """Return the path of the limit for that of a request, and the other way round."""
    _, which, resource = path.split(".")
    return f"resources.{'limits' if which == 'requests' else 'requests'}.{resource}"


def _text(overrides: NodeOverrides) -> str:
    resources = overrides.resources
    return "" if resources is None else json.dumps(resources.model_dump(), sort_keys=True)
