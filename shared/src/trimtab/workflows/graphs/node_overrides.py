"""Overrides of a node: the model that is sent and stored, and how two of them are merged. Pure."""

from collections.abc import Mapping, Set
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator

from trimtab import quantities
from trimtab.amounts import ResourceSpec
from trimtab.errors import Invalid
from trimtab.labels import LabelKey, LabelValue
from trimtab.models import DnsLabel, Integer, Model, Switch
from trimtab.texts import DATA, MULTILINE
from trimtab.workflows.graphs.images import ImageName
from trimtab.workflows.graphs.pod_specs import check_pod_spec

MAX_TIMEOUT_SECONDS = 10 * 365 * 24 * 3600
"""Ten years: no attempt is meant to run for longer."""
_WHOLE = frozenset({"pod_template"})
"""Fields that are replaced as a whole, though they are objects."""


class ResourceOverrides(Model):
    """Requests and limits of a task: Kubernetes quantities by resource."""

    requests: ResourceSpec = ResourceSpec()
    limits: ResourceSpec = ResourceSpec()


def _check_pod_spec(pod_spec: dict[str, JsonValue]) -> dict[str, JsonValue]:
    try:
        check_pod_spec("pod_spec", pod_spec)
    except Invalid as error:
        # pydantic reports a ValueError with its path.
        raise ValueError(f"{error.path}: {error.allowed}") from error
    return pod_spec


def _check_shared_memory(size: object) -> object:
    is_switch = isinstance(size, bool)
    if not is_switch and not (isinstance(size, str) and quantities.is_amount(size)):
        raise ValueError("true, false, or a quantity such as 1Gi")
    return size


SharedMemory = Annotated[bool | str, BeforeValidator(_check_shared_memory)]


class PodTemplate(Model):
    """A Kubernetes pod to run the task in."""

    labels: dict[LabelKey, LabelValue] = {}
    annotations: Annotated[dict[LabelKey, str], MULTILINE] = {}
    pod_spec: Annotated[dict[str, JsonValue], AfterValidator(_check_pod_spec), DATA] = {}
    """A ``PodSpec`` of Kubernetes."""
    primary_container_name: DnsLabel = "primary"
    """The container that runs the task; added where the pod has none of this name."""

    @model_validator(mode="after")
    def _check_primary(self) -> Self:
        name = self.primary_container_name
        listed = self.pod_spec.get("initContainers", [])
        if any(c["name"] == name for c in listed):  # type: ignore[index,union-attr,call-overload]  # It is checked.
            raise ValueError(f"the container that runs the task, {name!r}, is an init container")
        return self


def _is_absent(value: object) -> bool:
    return value is None


class NodeOverrides(Model):
    """Values that replace those of a node.

    An absent field changes nothing; 0, false and empty text are values.
    """

    # A workflow of thousands of nodes fits into a message because nothing absent is written.
    resources: ResourceOverrides | None = Field(default=None, exclude_if=_is_absent)
    """Merged by resource: a request that is overridden leaves the limit as it is."""
    cache: Switch | None = Field(default=None, exclude_if=_is_absent)
    """Whether outputs are cached."""
    cache_serialize: Switch | None = Field(default=None, exclude_if=_is_absent)
    """Whether equal attempts wait for each other while outputs are cached."""
    cache_version: str | None = Field(default=None, max_length=200, exclude_if=_is_absent)
    retries: Integer | None = Field(default=None, ge=0, le=100, exclude_if=_is_absent)
    """The number of further tries after a failed one."""
    timeout_seconds: Integer | None = Field(
        default=None, ge=0, le=MAX_TIMEOUT_SECONDS, exclude_if=_is_absent
    )
    """How long an attempt may run; 0 is without end."""
    interruptible: Switch | None = Field(default=None, exclude_if=_is_absent)
    container_image: ImageName | None = Field(default=None, exclude_if=_is_absent)
    environment: Annotated[dict[str, str] | None, MULTILINE] = Field(
        default=None, exclude_if=_is_absent
    )
    """Merged by key."""
    task_config: Annotated[dict[str, JsonValue] | None, DATA] = Field(
        default=None, exclude_if=_is_absent
    )
    """Configuration for the type of the task; merged by key, at every depth."""
    task_config_type: str | None = Field(
        default=None, min_length=1, max_length=200, exclude_if=_is_absent
    )
    """The class of the configuration, which no override can change."""
    pod_template: PodTemplate | None = Field(default=None, exclude_if=_is_absent)
    """Replaced as a whole."""
    accelerator: LabelValue | None = Field(default=None, exclude_if=_is_absent)
    """The device that the task needs, such as ``nvidia-tesla-t4``; empty is none."""
    shared_memory: SharedMemory | None = Field(default=None, exclude_if=_is_absent)
    """The size of ``/dev/shm`` as a Kubernetes quantity; true leaves it to the memory's limit."""

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing."""
        return self == NO_OVERRIDES


NO_OVERRIDES = NodeOverrides()


def merge_overrides(earlier: NodeOverrides, later: NodeOverrides) -> NodeOverrides:
    """Merge field by field and key by key; the later value wins."""
    if earlier.is_empty or later.is_empty:
        return earlier if later.is_empty else later
    return NodeOverrides.model_validate(
        _merge(earlier.model_dump(exclude_none=True), later.model_dump(exclude_none=True), _WHOLE)
    )


def _merge(
    earlier: dict[str, Any], later: dict[str, Any], whole: Set[str] = frozenset()
) -> dict[str, Any]:
    merged = earlier | later
    for name in (earlier.keys() & later.keys()) - whole:
        if isinstance(earlier[name], dict) and isinstance(later[name], dict):
            merged[name] = _merge(earlier[name], later[name])
    return merged


def flat_overrides(overrides: NodeOverrides) -> dict[str, JsonValue]:
    """Return the values by dotted path. A key, such as the name of a variable, may contain dots."""
    if overrides.is_empty:
        return {}
    return flat_values(overrides.model_dump(mode="json", exclude_none=True), whole=_WHOLE)


def flat_values(
    document: Mapping[str, JsonValue], prefix: str = "", whole: Set[str] = frozenset()
) -> dict[str, JsonValue]:
    """Return the values of a document by dotted path; fields in ``whole`` are values themselves."""
    flat: dict[str, JsonValue] = {}
    for name, value in document.items():
        if isinstance(value, dict) and name not in whole:
            flat |= flat_values(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
