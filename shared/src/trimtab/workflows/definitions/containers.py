"""Containers and pods of tasks, as users of the SDK declare them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import JsonValue

from trimtab import texts
from trimtab.errors import Invalid
from trimtab.labels import LabelKey, LabelValue, VariableName, VariableValue
from trimtab.models import Model, json_value, parse_model
from trimtab.texts import MULTILINE
from trimtab.workflows.definitions.resources import Resources
from trimtab.workflows.graphs import pod_specs, targets
from trimtab.workflows.graphs.images import check_image, warn_if_mutable
from trimtab.workflows.graphs.node_overrides import PodTemplate


class _Metadata(Model):
    labels: dict[LabelKey, LabelValue] = {}
    annotations: Annotated[dict[LabelKey, str], MULTILINE] = {}


class _Variable(Model):
    name: VariableName
    value: VariableValue


def variables(path: str, environment: object) -> dict[str, str]:
    """Return environment variables as a dict of their own. Raises `Invalid`."""
    if not isinstance(environment, Mapping):
        raise Invalid(path, environment, "a dict of texts by name of variable")
    checked = dict(environment)
    for name, value in checked.items():
        try:
            parse_model(_Variable, {"name": name, "value": value})
        except Invalid as error:
            raise Invalid(f"{path}.{name}", error.value, error.allowed) from error
    texts.check(checked, path, multiline=True)
    return checked


@dataclass(frozen=True)
class Container:
    """A program of an image, with what it runs with. Raises `Invalid`."""

    image: str
    """Its name, such as ``registry.example.com/team/train:v1`` or ``train@sha256:…``."""
    command: Sequence[str] = ()
    """Empty, it is that of the image. Command and arguments may contain templates such as
    ``{{.inputs.rows}}``."""
    args: Sequence[str] = ()
    resources: Resources = field(default_factory=Resources)
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables."""
    config: Mapping[str, JsonValue] = field(default_factory=dict)
    """Values of JSON for the executor."""

    def __post_init__(self) -> None:
        check_image("image", self.image)
        if not isinstance(self.resources, Resources):
            raise Invalid("resources", self.resources, "Resources(…)")
        _freeze(self, env=variables("env", self.env))
        target = self.target()
        _freeze(self, command=target.command, args=target.args, config=target.config)
        warn_if_mutable(self.image)

    def target(self) -> targets.Container:
        """Return the model that is sent and stored; image, resources and variables are not in it.

        They are values of the task that can be overridden.
        """
        content = {
            "command": _strings("command", self.command),
            "args": _strings("args", self.args),
            "config": json_value("config", self.config),
        }
        target = parse_model(targets.Container, content)
        texts.check(target)
        return target


@dataclass(frozen=True)
class K8sObjectMetadata:
    """Labels and annotations of an object of Kubernetes. Raises `Invalid`."""

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        content = {"labels": self.labels, "annotations": self.annotations}
        parsed = parse_model(_Metadata, content)
        texts.check(parsed)
        _freeze(self, labels=parsed.labels, annotations=parsed.annotations)


@dataclass(frozen=True)
class K8sPod:
    """A pod of Kubernetes to run a task in. Raises `Invalid`."""

    metadata: K8sObjectMetadata = field(default_factory=K8sObjectMetadata)
    pod_spec: Mapping[str, Any] = field(default_factory=dict)
    """A ``PodSpec``. The primary container is added where its ``containers`` do not have it."""
    primary_container_name: str = "primary"
    """The container that runs the task."""

    def __post_init__(self) -> None:
        if not isinstance(self.metadata, K8sObjectMetadata):
            raise Invalid("metadata", self.metadata, "K8sObjectMetadata(…)")
        if not isinstance(self.pod_spec, Mapping):
            raise Invalid("pod_spec", self.pod_spec, "a dict: a PodSpec of Kubernetes")
        pod_spec = json_value("pod_spec", dict(self.pod_spec))
        assert isinstance(pod_spec, dict)
        pod_specs.check_pod_spec("pod_spec", pod_spec)
        _freeze(self, pod_spec=pod_spec)
        self.template()
        for image in pod_specs.images(pod_spec):
            warn_if_mutable(image)

    def template(self) -> PodTemplate:
        """Return the model that is sent and stored."""
        content = {
            "labels": self.metadata.labels,
            "annotations": self.metadata.annotations,
            "pod_spec": self.pod_spec,
            "primary_container_name": self.primary_container_name,
        }
        return parse_model(PodTemplate, content)


def _freeze(definition: object, **values: object) -> None:
    """Replace what the user gave by checked copies, which later changes do not reach."""
    for name, value in values.items():
        object.__setattr__(definition, name, value)


def _strings(path: str, given: object) -> tuple[str, ...]:
    """Return a list of texts as a tuple. Raises `Invalid`, also for a text alone."""
    if not isinstance(given, list | tuple) or not all(isinstance(each, str) for each in given):
        raise Invalid(path, given, 'a list of texts, such as ["python", "-m", "train"]')
    return tuple(given)
