"""Objects and lists in a pod that a user wrote, and the error where a pod cannot be built. Pure."""

from trimtab_propeller.executors.port import AttemptRejected
from trimtab_propeller.pods.draft import Manifest


class PodRejected(AttemptRejected):
    """A value leads to a pod that Kubernetes would refuse, or that could not do what it states."""

    def __init__(self, path: str, value: object, message: str) -> None:
        """``path`` is that of a resolved value, or below ``pod_template.pod_spec``."""
        super().__init__(f"{path}: {message}")
        self.path = path
        self.value = value


def object_in(parent: Manifest, path: str, name: str) -> Manifest:
    """Return the object of a field; add it where it is absent. Raises `PodRejected`."""
    value = parent.get(name)
    if value is None:
        value = parent[name] = {}
    if not isinstance(value, dict):
        raise PodRejected(f"{path}.{name}", value, "only an object is possible here")
    return value


def objects_in(parent: Manifest, path: str, name: str) -> list[Manifest]:
    """Return the list of a field; add it where it is absent. Raises `PodRejected`."""
    value = parent.get(name)
    if value is None:
        value = parent[name] = []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise PodRejected(f"{path}.{name}", value, "only a list of objects is possible here")
    return value
