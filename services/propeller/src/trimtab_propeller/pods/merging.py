"""The template of the configuration that lies below a pod. Pure.

The pod wins wherever both have a value: also with false, 0 and empty text; a null removes the value
of the template. Objects that have alternatives in them, such as a volume or a probe, are replaced
as a whole, and so is every list, except for those whose entries have a key of their own.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from trimtab.labels import POD_TEMPLATE
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.pods.defaults import (
    CONTAINER_BASE,
    INIT_BASE,
    PRIMARY_BASE,
    BaseTemplate,
    PodDefaults,
)
from trimtab_propeller.pods.draft import Draft, Manifest, copied
from trimtab_propeller.pods.fields import PodRejected, object_in, objects_in

_SPEC = "pod_template.pod_spec"
_PROGRAM = ("command", "args")

_Key = Callable[[Manifest], Hashable]


def _by(*names: str, **defaults: str) -> _Key:
    """Return a function that returns the key of an entry: these fields of it."""
    return lambda entry: tuple(str(entry.get(name, defaults.get(name))) for name in names)


def _whole(entry: Manifest) -> Hashable:
    return repr(sorted(entry.items()))


_POD_LISTS: Mapping[str, _Key] = {
    "hostAliases": _by("ip"),
    "imagePullSecrets": _by("name"),
    "readinessGates": _by("conditionType"),
    "resourceClaims": _by("name"),
    "schedulingGates": _by("name"),
    "tolerations": _whole,
    "topologySpreadConstraints": _by("topologyKey", "whenUnsatisfiable"),
    "volumes": _by("name"),
}
"""Lists that are merged, with the key of their entries, as server-side apply has it. Tolerations
have none there, and are all kept."""
_POD_OBJECTS = {"affinity": 2, "dnsConfig": 1, "nodeSelector": 1, "securityContext": 1}
"""Objects that are merged, with the number of their levels that are."""
_CONTAINER_LISTS: Mapping[str, _Key] = {
    "env": _by("name"),
    "envFrom": _whole,
    "ports": _by("containerPort", "protocol", protocol="TCP"),
    "volumeDevices": _by("devicePath"),
    "volumeMounts": _by("mountPath"),
}
_CONTAINER_OBJECTS = {"resources": 2, "securityContext": 1}


def merge_template(draft: Draft, attempt: Attempt, defaults: PodDefaults) -> None:
    """Put the configured template below what the draft has, before other steps change it.

    Raises `PodRejected` where the template that an annotation names does not exist.
    """
    template = _selected({**draft.annotations, **attempt.annotations}, defaults)
    if template is None:
        return
    base: Manifest = dict(template.pod_spec)
    own = draft.spec
    own_names = frozenset(container["name"] for container in draft.containers)
    containers = _containers(
        base.pop("containers", ()), own.pop("containers"), CONTAINER_BASE, draft.primary_name
    )
    inits = _containers(
        base.pop("initContainers", ()), own.pop("initContainers", None) or (), INIT_BASE, None
    )
    base = copied(base)
    draft.replaced = _names(base, "volumes") & _names(own, "volumes")
    draft.spec = merged(base, own, _POD_LISTS, _POD_OBJECTS, _SPEC)
    draft.spec["containers"] = containers
    if inits:
        draft.spec["initContainers"] = inits
    draft.added = _distinct_names(draft) - own_names
    draft.labels = {**template.labels, **draft.labels}
    draft.annotations = {**template.annotations, **draft.annotations}


def _selected(annotations: Mapping[str, str], defaults: PodDefaults) -> BaseTemplate | None:
    name = annotations.get(POD_TEMPLATE, defaults.pod_template)
    if not name:
        return None
    if name in defaults.pod_templates:
        return defaults.pod_templates[name]
    known = ", ".join(sorted(defaults.pod_templates)) or "none"
    message = f"there is no pod template {name!r}; the configuration of propeller has: {known}"
    raise PodRejected(f"annotations.{POD_TEMPLATE}", name, message)


def _distinct_names(draft: Draft) -> frozenset[str]:
    """Return the names of all containers. Raises `PodRejected` where two have the same.

    Those of one list are merged, but an init container and another one are not.
    """
    inits = _names(draft.spec, "initContainers")
    others = _names(draft.spec, "containers")
    if both := inits & others:
        name = min(both)
        message = f"the name {name!r} is also that of a container of the template, or of the pod"
        raise PodRejected(f"{_SPEC}.initContainers", name, message)
    return inits | others


def _names(spec: Manifest, field: str) -> frozenset[str]:
    listed = objects_in({field: spec.get(field)}, _SPEC, field)
    return frozenset(str(each.get("name")) for each in listed)


def _containers(
    base: Sequence[Manifest], own: Sequence[Manifest], common: str, primary: str | None
) -> list[Manifest]:
    """Return the pod's containers, each over its bases, and then the template's other ones."""
    by_name = {container["name"]: container for container in base}
    reserved = {common, PRIMARY_BASE} if common == CONTAINER_BASE else {common}
    containers = []
    for container in own:
        name = container["name"]
        is_primary = name == primary
        for below in _bases(name, common, is_primary):
            if below in by_name:
                container = _over(by_name[below], container, is_primary)
        containers.append(container)
    listed = {container["name"] for container in own}
    return containers + [
        _over(by_name.get(common, {}), copied(container), False)
        for name, container in by_name.items()
        if name not in listed | reserved
    ]


def _bases(name: str, common: str, is_primary: bool) -> Iterator[str]:
    """Yield the names of the containers of the template below a container, the highest first."""
    names = (name, PRIMARY_BASE, common) if is_primary else (name, common)
    yield from dict.fromkeys(names)


def _over(base: Manifest, container: Manifest, is_primary: bool) -> Manifest:
    """Return a container over a base. Command and arguments are one program, and never mixed.

    The program of the primary container is that of the task, also where it is that of the image.
    """
    below = copied(base)
    if is_primary or any(field in container for field in _PROGRAM):
        for field in _PROGRAM:
            below.pop(field, None)
    path = f"{_SPEC}.containers.{container['name']}"
    over = merged(below, container, _CONTAINER_LISTS, _CONTAINER_OBJECTS, path)
    return {**over, "name": container["name"]}


def merged(
    base: Manifest,
    own: Manifest,
    lists: Mapping[str, _Key],
    objects: Mapping[str, int],
    path: str,
) -> Manifest:
    """Return an object over its base, which the result takes over. Raises `PodRejected`."""
    result = dict(base)
    for name, value in own.items():
        if value is None:
            result.pop(name, None)
        elif name not in base:
            result[name] = value
        elif name in lists:
            listed = objects_in(base, path, name), objects_in(own, path, name)
            result[name] = _merge_list(*listed, lists[name])
        elif name in objects:
            both = object_in(base, path, name), object_in(own, path, name)
            result[name] = _merge_object(*both, objects[name])
        else:
            result[name] = value
    return result


def _merge_list(base: list[Manifest], own: list[Manifest], key: _Key) -> list[Manifest]:
    return list(
        {**{key(each): each for each in base}, **{key(each): each for each in own}}.values()
    )


def _merge_object(base: Manifest, own: Manifest, levels: int) -> Manifest:
    result: dict[str, Any] = {**base, **own}
    for name in base.keys() & own.keys() if levels > 1 else ():
        if isinstance(base[name], dict) and isinstance(own[name], dict):
            result[name] = _merge_object(base[name], own[name], levels - 1)
    return {name: value for name, value in result.items() if value is not None}
