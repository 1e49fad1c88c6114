"""The settings of one target, which do not change while a thread reads them. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from trimtab import kinds
from trimtab.levels import Scope
from trimtab.settings.fold import Effective
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.expansion import Registry
from trimtab.workflows.graphs.launch_plans import target

_OF_PARTS = (
    "execution_queue",
    "plugin_override",
    "quality_of_service",
    "task_resource",
    "workflow_execution_config",
    "workflow_priority",
)
"""The kinds of which a called launch plan has values of its own."""


@dataclass(frozen=True)
class TargetSettings:
    """The effective value of each kind at a target, and the labels of its project."""

    revision: int
    effective: Mapping[str, Effective]
    """By the name of the kind."""
    project_labels: Mapping[str, str]
    called: Mapping[Scope, "TargetSettings"] = field(default_factory=dict)
    """The same of the launch plans that are called, by their targets."""

    @classmethod
    def of(
        cls, settings: Settings, target: Scope, called: Collection[Scope] = ()
    ) -> "TargetSettings":
        """Raises `Unreadable` where a record that applies to one of the targets is not readable."""
        return cls(
            settings.revision,
            {kind: settings.effective(kind, target) for kind in kinds.registered()},
            _project_labels(settings, target),
            {each: cls._of_part(settings, each) for each in called},
        )

    @classmethod
    def _of_part(cls, settings: Settings, target: Scope) -> "TargetSettings":
        effective = {kind: settings.effective(kind, target) for kind in _OF_PARTS}
        return cls(settings.revision, effective, _project_labels(settings, target))


def called_targets(registry: Registry) -> frozenset[Scope]:
    """Return the targets of the launch plans that a workflow calls, or those that it calls."""
    return frozenset(
        target(key.project, key.domain, plan.workflow, plan.name)
        for key, found in registry.items()
        if (plan := found.launch_plan) is not None
    )


def _project_labels(settings: Settings, of: Scope) -> Mapping[str, str]:
    project = settings.projects.get(of.project)
    return dict(project.labels if project else {})
