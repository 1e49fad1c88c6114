"""The overrides of hooks by launch plans and executions, with the fields that hold them. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from trimtab.workflows.graphs.graph import Hook
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab.workflows.graphs.node_overrides import NodeOverrides

FIELDS = {
    "execution override": "overrides",
    "launch plan override": "launch_plan.runtime_override",
}
"""The fields of requests by source, as `trimtab.resolution.sources` names it."""

Overrides = Mapping[str, NodeOverrides]
"""Overrides by name of hook, or ``path/name``."""


@dataclass(frozen=True)
class HookOverrides:
    """Some of the overrides of a launch plan and an execution: those that set certain fields."""

    by_source: Mapping[str, Overrides]

    @classmethod
    def setting(
        cls, plan: LaunchPlan, overrides: Overrides, is_set: Callable[[NodeOverrides], bool]
    ) -> "HookOverrides":
        """Select the overrides for which ``is_set`` is true."""
        return cls(
            {
                source: {name: each for name, each in of.items() if is_set(each)}
                for source, of in zip(FIELDS, (overrides, plan.runtime_override), strict=True)
            }
        )

    def __bool__(self) -> bool:
        return any(self.by_source.values())

    def of(self, hook: Hook) -> Iterator[tuple[str, str, NodeOverrides]]:
        """Yield source, field and overrides for a node, the most specific first."""
        for source, overrides in self.by_source.items():
            for name in dict.fromkeys((hook.full_name, hook.name)):
                if name in overrides:
                    yield source, f"{FIELDS[source]}.{name}", overrides[name]
