"""A pod while it is built. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

Manifest = dict[str, Any]
"""A part of a manifest, in the form that the API of Kubernetes has in JSON."""


@dataclass
class Draft:
    """A pod that the steps of the assembly change in place.

    Nothing in it is shared with the attempt, with the defaults or with another pod.
    """

    primary_name: str
    spec: Manifest
    """A ``PodSpec``, in which ``containers`` has the primary container."""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    added: frozenset[str] = frozenset()
    """The names of containers that only the template of the configuration has."""
    replaced: frozenset[str] = frozenset()
    """The names of the template's volumes that the pod has replaced by its own."""

    @property
    def primary(self) -> Manifest:
        """The container that runs the task."""
        return next(c for c in self.spec["containers"] if c["name"] == self.primary_name)

    @property
    def containers(self) -> Iterator[Manifest]:
        """Yield the init containers, and then the others, with the primary one."""
        yield from self.spec.get("initContainers") or ()
        yield from self.spec["containers"]


def copied(value: JsonValue) -> Any:
    """Return a value of JSON whose objects and lists are its own."""
    if isinstance(value, dict):
        return {name: copied(each) for name, each in value.items()}
    if isinstance(value, list):
        return [copied(each) for each in value]
    return value
