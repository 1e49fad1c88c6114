"""Overrides of tasks and pools, as users of the SDK declare them. Pure."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypedDict, Unpack

from pydantic import Field

from trimtab import names, texts
from trimtab.errors import Invalid, UnknownField
from trimtab.models import MAX_UNITS, Integer, Model, NewPoolName, parse_model
from trimtab.workflows.definitions.containers import K8sPod, variables
from trimtab.workflows.definitions.resources import Amount, Amounts, Resources
from trimtab.workflows.graphs.images import warn_if_mutable
from trimtab.workflows.graphs.node_overrides import NodeOverrides
from trimtab.workflows.graphs.task_configs import task_config_fields


class ValueArguments(TypedDict, total=False):
    """Arguments of all tasks that overrides can replace."""

    cache: bool | None
    cache_serialize: bool | None
    cache_version: str | None
    retries: int | None
    timeout: int | timedelta | None
    interruptible: bool | None
    task_config: object
    accelerator: str | None
    shared_memory: bool | Amount | None


class OverrideArguments(ValueArguments, total=False):
    """Arguments of each call that overrides: the fields of `TaskNodeConfigOverride`."""

    resources: Resources | None
    container_image: str | None
    environment: Mapping[str, str] | None
    pod_template: K8sPod | None


class AmountArguments(OverrideArguments, total=False):
    """The same, and resources by name instead of ``resources``."""

    cpu: Amounts
    mem: Amounts
    gpu: Amounts
    ephemeral_storage: Amounts


@dataclass(frozen=True, kw_only=True)
class TaskNodeConfigOverride:
    """Values that replace those of a node. Raises `Invalid`.

    An absent field, which is ``None``, changes nothing; false, 0 and empty text are values.
    """

    resources: Resources | None = None
    """Merged by resource: a request that is overridden leaves the limit as it is."""
    cache: bool | None = None
    """Whether outputs are cached."""
    cache_serialize: bool | None = None
    """Whether equal attempts wait for each other while outputs are cached."""
    cache_version: str | None = None
    retries: int | None = None
    """The number of further tries after a failed one."""
    timeout: int | timedelta | None = None
    """How long an attempt may run, in whole seconds; 0 is without end."""
    interruptible: bool | None = None
    """Whether the task may run on machines that can be withdrawn at any time."""
    container_image: str | None = None
    environment: Mapping[str, str] | None = None
    """Merged by key."""
    task_config: object = None
    """A dict, or an instance of the class that the task's configuration has; merged by key."""
    pod_template: K8sPod | None = None
    """Replaced as a whole."""
    accelerator: str | None = None
    """The device that the task needs, such as ``nvidia-tesla-t4``; empty is none."""
    shared_memory: bool | Amount | None = None
    """The size of ``/dev/shm``; true leaves it to the limit of the memory."""
    overrides: NodeOverrides = field(init=False, repr=False, compare=False)
    """The model that is sent and stored, with the given fields only."""

    def __post_init__(self) -> None:
        overrides = parse_model(NodeOverrides, _content(self))
        texts.check(overrides)
        object.__setattr__(self, "overrides", overrides)
        if self.container_image is not None:
            warn_if_mutable(self.container_image)


RuntimeOverride = TaskNodeConfigOverride | NodeOverrides


def check_arguments(given: Iterable[str], known: Collection[str]) -> None:
    """Raise `UnknownField` for an argument that does not exist."""
    for name in given:
        if name not in known:
            allowed = f"the arguments {', '.join(known)}{names.question(name, known)}"
            raise UnknownField("argument", name, allowed)


def node_overrides(**arguments: Unpack[OverrideArguments]) -> NodeOverrides:
    """Return the model that is sent and stored, with the given fields only. Raises `Invalid`."""
    check_arguments(arguments, OverrideArguments.__annotations__)
    return TaskNodeConfigOverride(**arguments).overrides


def runtime_override_config(**arguments: Unpack[AmountArguments]) -> NodeOverrides:
    """Return overrides for a hook: fields of `TaskNodeConfigOverride`, and amounts of resources.

    ``cpu``, ``mem``, ``gpu`` and ``ephemeral_storage`` are those of `Resources`, instead of
    ``resources``. An argument that is not given changes nothing. Raises `Invalid`.
    """
    check_arguments(arguments, AmountArguments.__annotations__)
    rest: dict[str, Any] = {**arguments}
    amounts = {name: rest.pop(name, None) for name in _AMOUNTS}
    resources = Resources(**amounts)
    if not resources.is_empty:
        if rest.get("resources") is not None:
            raise Invalid("resources", rest["resources"], f"either this, or {', '.join(_AMOUNTS)}")
        rest["resources"] = resources
    return node_overrides(**rest)


def overrides_of(path: str, given: object) -> NodeOverrides:
    """Return the model of either form of overrides. Raises `Invalid`."""
    if isinstance(given, TaskNodeConfigOverride):
        return given.overrides
    if not isinstance(given, NodeOverrides):
        raise Invalid(path, given, "TaskNodeConfigOverride(…) or runtime_override_config(…)")
    return given


class _Pool(Model):
    name: NewPoolName
    quota: Integer | None = Field(default=None, ge=1, le=MAX_UNITS)


@dataclass(frozen=True)
class Pool:
    """A quota of an outside resource; each attempt of the task holds a token while it runs."""

    name: str
    quota: int | None = None
    """Units, declared when the module is registered; ``None`` leaves the declaration to others."""

    def __post_init__(self) -> None:
        try:
            parse_model(_Pool, {"name": self.name, "quota": self.quota})
        except Invalid as error:
            raise Invalid(f"pool {self.name}: {error.path}", error.value, error.allowed) from error


_AMOUNTS = ("cpu", "mem", "gpu", "ephemeral_storage")


def _content(given: TaskNodeConfigOverride) -> dict[str, object]:
    """Return the fields of the model. Raises `Invalid`."""
    content: dict[str, object] = {}
    for name in OverrideArguments.__annotations__:
        value = getattr(given, name)
        if value is not None:
            content |= _FIELDS[name](value) if name in _FIELDS else {name: value}
    return content


def _resources(given: object) -> Mapping[str, object]:
    if not isinstance(given, Resources):
        raise Invalid("resources", given, "Resources(…)")
    return {} if given.is_empty else {"resources": given.overrides()}


def _timeout(given: object) -> Mapping[str, object]:
    if isinstance(given, timedelta):
        seconds = given.total_seconds()
        if seconds != int(seconds):
            raise Invalid("timeout", str(given), "whole seconds")
        given = int(seconds)
    return {"timeout_seconds": given}


def _pod_template(given: object) -> Mapping[str, object]:
    if not isinstance(given, K8sPod):
        raise Invalid("pod_template", given, "K8sPod(…)")
    return {"pod_template": given.template()}


def _shared_memory(given: object) -> Mapping[str, object]:
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    return {"shared_memory": str(given) if is_number else given}


_FIELDS: Mapping[str, Callable[[Any], Mapping[str, object]]] = {
    "resources": _resources,
    "timeout": _timeout,
    "environment": lambda given: {"environment": variables("environment", given)},
    "task_config": task_config_fields,
    "pod_template": _pod_template,
    "shared_memory": _shared_memory,
}
"""How arguments become fields of the model, where they are not fields themselves."""
