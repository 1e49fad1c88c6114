"""The kind `task_resource`: default requests and limits of tasks, and bounds for them.

Flyte's files have the shape of our documents; their ``storage`` is read as ``ephemeral_storage``,
with a warning. A limit of 0 allows none of the resource, with a warning: Flyte reads it as no
limit, which is the path in ``unset``.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import JsonValue

from trimtab import quantities
from trimtab.amounts import ResourceSpec
from trimtab.kinds.flyte import FlyteKind
from trimtab.kinds.kind import Kind, Problem, Value
from trimtab.levels import Level

RESOURCES = tuple(ResourceSpec.model_fields)


class TaskResource(Value):
    """Requests and limits of the tasks in a scope."""

    defaults: ResourceSpec | None = None
    """The request and the limit of a task that sets neither."""
    limits: ResourceSpec | None = None
    """The largest request and the largest limit of a task."""
    ceiling: ResourceSpec | None = None
    """The largest limits that any narrower scope may set."""
    minimum: ResourceSpec | None = None
    """The smallest request of a task: a smaller or missing one is raised to it."""
    over_limit: Literal["refuse", "clamp"] | None = None
    """Whether a task over the limit is refused (default), or lowered to it with a note."""
    mirror_limits_request: bool | None = None
    """Whether the request of a task that sets no limit is its limit too."""


_BOUNDS = tuple(
    (f"{lower}.{resource}", f"{upper}.{resource}")
    for resource in RESOURCES
    for lower, upper in (
        ("defaults", "limits"),
        ("minimum", "limits"),
        ("defaults", "ceiling"),
        ("minimum", "ceiling"),
        ("limits", "ceiling"),
    )
)
"""Paths of a value and of the value that it may not exceed."""


def _problems(flat: Mapping[str, JsonValue]) -> Iterator[Problem]:
    for path, limit in _BOUNDS:
        # The value or the bound of most pairs is not set.
        if not isinstance(value := flat.get(path), str):
            continue
        if not isinstance(bound := flat.get(limit), str):
            continue
        if quantities.parse(value) > quantities.parse(bound):
            yield Problem(path, value, f"at most {limit}, which is {bound}", limit)


def _likely_mistakes(document: Mapping[str, Any]) -> Iterator[str]:
    for name, value in (document.get("limits") or {}).items():
        if value is not None and quantities.parse(value) == 0:
            yield (
                f"limits.{name} is {value!r}, so no task may have any; "
                f"Flyte reads 0 as no limit, which is limits.{name} in unset"
            )


_BROAD = frozenset({Level.PLATFORM})

KIND = Kind(
    name="task_resource",
    value=TaskResource,
    levels=frozenset(Level) - {Level.SETTINGS},
    noun="task-resource-attribute",
    summary="Default requests of tasks, and the limits that no task may exceed",
    flyte=FlyteKind(
        number=0,
        message="TaskResourceAttributes",
        native_fields=frozenset({"ceiling", "minimum", "over_limit", "mirror_limits_request"}),
    ),
    field_levels={"ceiling": _BROAD | {Level.SETTINGS}},
    # Flyte has two names for this resource, and reads only the longer one.
    deprecated={
        f"{group}.storage": f"{group}.ephemeral_storage"
        for group in ("defaults", "limits", "ceiling", "minimum")
    },
    validate=_problems,
    likely_mistakes=_likely_mistakes,
    sample={
        "defaults": {"cpu": "1", "memory": "150Mi"},
        "limits": {"cpu": "2", "memory": "450Mi"},
    },
)
