"""The launch form of a workflow or a launch plan: what an execution of it can be given. Pure."""

from operator import not_
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from trimtab.models import Model
from trimtab.texts import DATA


class FormInput(Model, extra="ignore"):
    """One input of the workflow."""

    name: str
    json_schema: Annotated[dict[str, JsonValue], DATA] = {}
    """The type, as a JSON Schema; without keywords it allows every value."""
    required: bool
    """Whether an execution has to give a value."""
    default: Annotated[JsonValue, DATA] = None
    source: Literal["", "workflow", "launch plan"]
    """The source of the default; empty for a required input."""


class FormLimit(Model, extra="ignore"):
    """A bound that no value may exceed."""

    amount: str
    """A Kubernetes quantity."""
    name: str
    """The field of the settings, such as ``task_resource.limits.cpu``."""
    scope: str
    """The scope of the record that set it."""
    revision: int


class FormField(Model, extra="ignore"):
    """One value of a hook that an execution can override."""

    path: str
    """The path in the override, such as ``resources.requests.cpu``. The fields that are maps,
    ``environment`` and ``task_config``, are followed by a field for each key that has a default."""
    help: str = Field(default="", exclude_if=not_)
    json_schema: Annotated[dict[str, JsonValue], DATA] = {}
    """The type, as a JSON Schema."""
    default: Annotated[JsonValue, DATA] = None
    """The value that applies without an override; null where there is none."""
    source: str = ""
    """The source of the default: ``launch plan override``, ``hook default``, ``launch plan``,
    ``with_overrides``, ``task``, a field of the settings, ``engine``, or ``limit`` and ``request``
    where it is derived from the other one. Empty where there is none, and for a map."""
    scope: str = Field(default="", exclude_if=not_)
    """The scope of the record that set the default, where it is from the settings."""
    revision: int | None = Field(default=None, exclude_if=lambda revision: revision is None)
    limits: tuple[FormLimit, ...] = Field(default=(), exclude_if=not_)
    """The bounds of the value, the lowest first."""
    over_limit: Literal["refuse", "clamp"] | None = Field(
        default=None, exclude_if=lambda policy: policy is None
    )
    """Whether a value above the lowest bound is refused, or lowered to it."""
    problem: str = Field(default="", exclude_if=not_)
    """Why an execution without an override of the value would be refused."""


class FormHook(Model, extra="ignore"):
    """Nodes with equal defaults that one override steers.

    A hook of a sub-workflow is listed once for each group of nodes that differ in their defaults.
    """

    name: str
    """The key of the override, which steers the nodes of all its groups."""
    paths: tuple[str, ...]
    """The same with the path to each node, such as ``n1/trainer``: a key that steers only this
    node."""
    task: str
    task_type: str
    """The type of the task, which no override can change."""
    task_config_type: str = Field(default="", exclude_if=not_)
    """The class of the task's configuration, which no override can change."""
    fields: tuple[FormField, ...]


class LaunchForm(Model, extra="ignore"):
    """Inputs and hooks of one version, with defaults and limits as the settings are now."""

    project: str
    domain: str
    workflow: str
    version: str
    launch_plan: str
    """The name of the workflow, where the form is that of its default launch plan."""
    revision: int
    """The revision of the settings that defaults and limits are from."""
    inputs: tuple[FormInput, ...]
    execution: tuple[FormField, ...]
    """Values of the execution as a whole; those that are values of nodes too, such as
    ``interruptible``, apply where no override of the node sets them."""
    hooks: tuple[FormHook, ...]
    hooks_next: int | None = Field(default=None, exclude_if=lambda number: number is None)
    """The ``hooks_after`` of the next page; absent if this is the last one."""
