"""The kinds of customizable resource: one module for each, registered here.

Other distributions register kinds through the entry-point group ``trimtab.kinds``.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType

from trimtab.errors import NotFound
from trimtab.kinds import (
    cluster_assignment,
    cluster_resource,
    execution_cluster_label,
    execution_queue,
    plugin_override,
    pod_policy,
    quality_of_service,
    task_resource,
    workflow_execution_config,
    workflow_priority,
)
from trimtab.kinds.kind import Kind, Problem, Value

__all__ = ["Kind", "Problem", "Value", "by_name", "registered"]

_BUILT_IN = (
    task_resource.KIND,
    cluster_resource.KIND,
    execution_queue.KIND,
    execution_cluster_label.KIND,
    quality_of_service.KIND,
    plugin_override.KIND,
    workflow_execution_config.KIND,
    cluster_assignment.KIND,
    pod_policy.KIND,
    workflow_priority.KIND,
)


@cache
def registered() -> Mapping[str, Kind]:
    """Return every installed kind by name, in the order of registration."""
    kinds: dict[str, Kind] = {}
    for kind in (*_BUILT_IN, *(point.load() for point in entry_points(group="trimtab.kinds"))):
        if kind.name in kinds:
            raise ValueError(f"two kinds are registered as {kind.name!r}")
        if inner := sorted(kind.narrowing.keys() - kind.schema.leaves):
            raise ValueError(f"{kind.name}.{inner[0]} cannot be narrowed: it is folded in parts")
        kinds[kind.name] = kind
    return MappingProxyType(kinds)


def by_name(name: str) -> Kind:
    """Return the kind of that name. Raises `NotFound`, which names the installed kinds."""
    try:
        return registered()[name]
    except KeyError:
        raise NotFound.among("kind", name, registered()) from None
