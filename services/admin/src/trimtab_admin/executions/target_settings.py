"""The settings of one target, which do not change while a thread reads them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from trimtab import kinds
from trimtab.levels import Scope
from trimtab.settings.fold import Effective
from trimtab.settings.state import Settings


@dataclass(frozen=True)
class TargetSettings:
    """The effective value of each kind at a target, and the labels of its project."""

    revision: int
    effective: Mapping[str, Effective]
    """By the name of the kind."""
    project_labels: Mapping[str, str]

    @classmethod
    def of(cls, settings: Settings, target: Scope) -> "TargetSettings":
        """Raises `Unreadable` where a record that applies to the target is not readable."""
        project = settings.projects.get(target.project)
        return cls(
            settings.revision,
            {kind: settings.effective(kind, target) for kind in kinds.registered()},
            dict(project.labels if project else {}),
        )
