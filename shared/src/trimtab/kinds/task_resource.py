"""Requests and limits of tasks: what is assumed, and what may not be exceeded.

Flyte's files have our shape; their ``storage`` is taken for ``ephemeral_storage``, with a warning.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, JsonValue

from trimtab import quantities
from trimtab.kinds.flyte import FlyteKind
from trimtab.kinds.kind import Kind, Problem, Value
from trimtab.levels import Level


def _quantity(text: str) -> str:
    try:
        amount = quantities.parse(text)
    except quantities.InvalidQuantity as error:
        # pydantic reports ValueErrors with their path.
        raise ValueError(quantities.ALLOWED) from error
    if amount < 0:
        raise ValueError("a quantity that is not negative")
    return text


def _whole(text: str) -> str:
    amount = quantities.parse(_quantity(text))
    if amount != amount.to_integral_value():
        raise ValueError("a whole number of GPUs")
    return text


Quantity = Annotated[str, AfterValidator(_quantity)]
WholeQuantity = Annotated[str, AfterValidator(_whole)]


class ResourceSpec(BaseModel):
    """Kubernetes quantities by resource."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    cpu: Quantity | None = None
    """Cores."""
    gpu: WholeQuantity | None = None
    """Whole devices."""
    memory: Quantity | None = None
    """Bytes."""
    ephemeral_storage: Quantity | None = None
    """Bytes."""


RESOURCES = tuple(ResourceSpec.model_fields)


class TaskResource(Value):
    """Requests and limits of the tasks in a scope."""

    defaults: ResourceSpec | None = None
    """Request and limit of a task that gives neither."""
    limits: ResourceSpec | None = None
    """What no request and no limit of a task may exceed."""
    ceiling: ResourceSpec | None = None
    """What no limit of any narrower scope may exceed."""
    over_limit: Literal["refuse", "clamp"] | None = None
    """What happens to a task over the limit: refused (the default), or lowered and recorded."""
    mirror_limits_request: bool | None = None
    """Whether a task that gives only a request gets it as its limit too."""


_BOUNDS = tuple(
    (f"{lower}.{resource}", f"{upper}.{resource}")
    for resource in RESOURCES
    for lower, upper in (("defaults", "limits"), ("defaults", "ceiling"), ("limits", "ceiling"))
)
"""Paths of a value, and of what it may not exceed."""


def _problems(flat: Mapping[str, JsonValue]) -> Iterator[Problem]:
    for path, limit in _BOUNDS:
        # Most of them are not given.
        if not isinstance(value := flat.get(path), str):
            continue
        if not isinstance(bound := flat.get(limit), str):
            continue
        if quantities.parse(value) > quantities.parse(bound):
            yield Problem(path, value, f"at most {limit}, which is {bound}", limit)


_BROAD = frozenset({Level.PLATFORM})

KIND = Kind(
    name="task_resource",
    value=TaskResource,
    levels=frozenset(Level) - {Level.SETTINGS},
    noun="task-resource-attribute",
    summary="Default requests of tasks, and the limits that none may exceed",
    flyte=FlyteKind(
        number=0,
        message="TaskResourceAttributes",
        native_fields=frozenset({"ceiling", "over_limit", "mirror_limits_request"}),
    ),
    field_levels={"ceiling": _BROAD | {Level.SETTINGS}},
    # Flyte has two names for the same thing, and reads only the longer one.
    deprecated={
        f"{group}.storage": f"{group}.ephemeral_storage"
        for group in ("defaults", "limits", "ceiling")
    },
    validate=_problems,
)
