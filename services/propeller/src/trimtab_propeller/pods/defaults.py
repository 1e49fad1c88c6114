"""The configuration of pods: what every pod of an installation gets, and the pods' templates. Pure.

It is part of propeller's configuration. Its values are stored with the resolution of each
execution, so that all attempts get the same pod.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel

from trimtab.errors import Invalid
from trimtab.labels import LabelKey, LabelValue, ObjectName
from trimtab.models import Model
from trimtab.settings import namespaces
from trimtab.workflows.graphs.images import ImageName
from trimtab.workflows.graphs.pod_specs import check_pod_spec

Object = dict[str, JsonValue]
"""An object of a manifest."""

CONTAINER_BASE = "default"
"""The container of a template that is the base of every container."""
PRIMARY_BASE = "primary"
"""The container of a template that is the base of the primary container."""
INIT_BASE = "default-init"
"""The init container of a template that is the base of every init container."""
_PRIMARY_INIT = "primary-init"

Effect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class _Manifest(Model):
    """The base of parts of a manifest, whose keys are those of Kubernetes."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_default=True
    )

    @cached_property
    def manifest(self) -> Object:
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Toleration(_Manifest):
    """A taint of nodes that pods tolerate, as Kubernetes writes it."""

    key: LabelKey | None = None
    """The key of the taint; without one, with operator ``Exists``, every taint."""
    operator: Literal["Equal", "Exists"] | None = None
    """``Equal``, the default of Kubernetes, or ``Exists``: the taint may have any value."""
    value: LabelValue | None = None
    """The value of the taint, with ``Equal``."""
    effect: Effect | None = None
    """The effect of the taint; every effect by default."""
    toleration_seconds: int | None = None
    """How long a taint with the effect ``NoExecute`` is tolerated; indefinitely by default."""

    @field_validator("operator")
    @classmethod
    def _check_key(cls, operator: str | None, info: ValidationInfo) -> str | None:
        if operator != "Exists" and info.data.get("key") is None:
            raise ValueError("Exists where the toleration has no key")
        return operator


class NodeRequirement(_Manifest):
    """A requirement of the labels of nodes, as Kubernetes writes it."""

    key: LabelKey
    """The key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How the label is compared with the values."""
    values: tuple[str, ...] | None = None
    """The values of the label."""

    @field_validator("values")
    @classmethod
    def _check_values(
        cls, values: tuple[str, ...] | None, info: ValidationInfo
    ) -> tuple[str, ...] | None:
        """Repeat the rules of the API server, which would reject every pod."""
        count = len(values or ())
        match info.data.get("operator"):
            case "In" | "NotIn" if count == 0:
                raise ValueError("at least one value for In and NotIn")
            case "Exists" | "DoesNotExist" if count:
                raise ValueError("no values for Exists and DoesNotExist")
            case "Gt" | "Lt" if count != 1:
                raise ValueError("one value for Gt and Lt")
        return values


class Capacity(Model):
    """The nodes for interruptible pods, or for all others."""

    tolerations: tuple[Toleration, ...] = ()
    """Tolerations of these pods."""
    node_selector: dict[LabelKey, LabelValue] = {}
    """Labels that the node must have; they win over the pod's own values of the same keys."""
    node_requirement: NodeRequirement | None = None
    """A requirement that is added to every alternative of the pod's required node affinity."""


def _check_spec(spec: Object) -> Object:
    try:
        check_pod_spec("pod_spec", spec)
    except Invalid as error:
        # pydantic reports a ValueError with its path.
        raise ValueError(f"{error.path}: {error.allowed}") from error
    inits = spec.get("initContainers", [])
    assert isinstance(inits, list)  # checked
    if any(isinstance(each, dict) and each.get("name") == _PRIMARY_INIT for each in inits):
        raise ValueError(
            f"no init container {_PRIMARY_INIT}, because Trimtab adds none to pods that it could "
            f"be the base of; {INIT_BASE} is the base of every init container"
        )
    return spec


class BaseTemplate(Model):
    """A pod that lies below the pod of a task, which wins wherever both have a value."""

    labels: dict[LabelKey, LabelValue] = {}
    """Labels of the pod."""
    annotations: dict[LabelKey, str] = {}
    """Annotations of the pod."""
    pod_spec: Annotated[Object, AfterValidator(_check_spec)] = {}
    """A ``PodSpec`` of Kubernetes. Its container ``default`` is the base of every container,
    ``primary`` of the primary one, and the init container ``default-init`` of every init container;
    these add no container. Any other container is part of every pod."""


class PodConfig(Model):
    """The configuration of pods, as propeller reads it."""

    function_image: ImageName | None = None
    """The image of Python functions for which no source sets one."""
    labels: dict[LabelKey, LabelValue] = {}
    """Labels of every pod, which others of the same key replace."""
    annotations: dict[LabelKey, str] = {}
    """Annotations of every pod, which others of the same key replace."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """The pull policy of containers that have none; the default is that of Kubernetes."""
    image_pull_secrets: tuple[ObjectName, ...] = ()
    """Secrets with the credentials of registries, in addition to the pod's own."""
    scheduler_name: str | None = Field(default=None, min_length=1)
    """The scheduler of pods that name none; the default is that of Kubernetes."""
    priority_classes: dict[int, ObjectName] = {}
    """PriorityClasses by the lowest priority that gets them: ``{"0": "normal", "10": "urgent"}``.
    The number of ``workflow_priority`` selects the last one that it reaches; an execution without
    one, or with a lower one, gets none."""
    tolerations: tuple[Toleration, ...] = ()
    """Tolerations of every pod."""
    node_selector: dict[LabelKey, LabelValue] = {}
    """Labels that nodes must have, unless the pod itself has other values of the same keys."""
    interruptible: Capacity = Capacity()
    """Nodes for interruptible pods."""
    not_interruptible: Capacity = Capacity()
    """Nodes for all other pods."""
    gpu_resource: LabelKey = "nvidia.com/gpu"
    """The resource of Kubernetes that ``gpu`` means in requests and limits."""
    gpu_device_label: LabelKey = "k8s.amazonaws.com/accelerator"
    """The label of nodes, and the key of their taint, that has the device: the ``accelerator`` of a
    task is its value."""
    resource_tolerations: dict[LabelKey, tuple[Toleration, ...]] = {}
    """Tolerations of pods that use a resource, such as ``nvidia.com/gpu``. An empty list tolerates
    the taint ``NoSchedule`` of the same name, with any value."""
    iam_role_annotation: LabelKey = "iam.amazonaws.com/role"
    """The annotation of pods that has ``security_context.run_as.iam_role``."""
    pod_templates: dict[ObjectName, BaseTemplate] = {}
    """Templates by name. The annotation ``trimtab.io/pod-template`` of an execution or of a task
    selects one."""
    pod_template: ObjectName | None = None
    """The template of pods that select none."""

    @field_validator("pod_template")
    @classmethod
    def _check_template(cls, name: str | None, info: ValidationInfo) -> str | None:
        known = info.data.get("pod_templates", {})
        if name is not None and name not in known:
            raise ValueError(f"a key of pod_templates: {', '.join(sorted(known)) or 'none'}")
        return name


class PodDefaults(PodConfig):
    """Values that a propeller adds to pods, the same for every attempt of an execution."""

    namespace_template: str = namespaces.DEFAULT
    """The template of namespaces' names, the same as that of admin."""

    @classmethod
    def of(cls, config: PodConfig, namespace_template: str) -> Self:
        return cls.model_validate({**dict(config), "namespace_template": namespace_template})

    @classmethod
    def stored(cls, content: Mapping[str, JsonValue]) -> Self:
        """Return what `content` of any release has written."""
        return cls.model_validate(content, extra="ignore")

    @property
    def content(self) -> Object:
        """The values other than the defaults, as a resolution stores them."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
