"""The parts of a built pod that its user reaches. Pure.

The others are the containers that only the template of the configuration has, and the volumes that
no other container mounts: a user gives them no program, no variable and no mount. Where the pod
shares its processes, or has replaced a volume that one of them mounts, its user reaches them too.
"""

from collections.abc import Iterable

from trimtab_propeller.pods.draft import Draft, Manifest

_MOUNTS = ("volumeMounts", "volumeDevices")
_GROUPS = ("containers", "initContainers")


def reached(draft: Draft) -> Manifest:
    """Return the spec and the annotations, without the parts that the user does not reach."""
    beyond = _beyond(draft)
    own = [each for each in draft.containers if each["name"] not in beyond]
    mounted = _mounted(own)
    spec = dict(draft.spec)
    for group in _GROUPS:
        spec[group] = [each for each in spec.get(group) or () if each["name"] not in beyond]
    if beyond:
        spec["volumes"] = [v for v in spec.get("volumes") or () if v.get("name") in mounted]
    annotations = {
        key: value
        for key, value in draft.annotations.items()
        # Those of a single container end with its name.
        if key.rpartition("/")[2] not in beyond
    }
    return {"spec": spec, "annotations": annotations}


def _beyond(draft: Draft) -> frozenset[str]:
    """Return the names of the containers that the user does not reach."""
    added = [each for each in draft.containers if each["name"] in draft.added]
    if draft.spec.get("shareProcessNamespace") or _mounted(added) & draft.replaced:
        return frozenset()
    return draft.added


def _mounted(containers: Iterable[Manifest]) -> set[object]:
    """Return the names of the volumes that the containers mount."""
    return {
        mount.get("name")
        for container in containers
        for field in _MOUNTS
        for mount in container.get(field) or ()
        if isinstance(mount, dict)
    }
