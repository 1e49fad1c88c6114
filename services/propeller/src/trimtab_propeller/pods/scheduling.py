"""Where a pod may run: tolerations, selectors, priority class, accelerator. Pure."""

from collections.abc import Iterable, Iterator

from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.pods.draft import Draft, Manifest, copied
from trimtab_propeller.pods.fields import PodRejected, object_in, objects_in

_SPEC = "pod_template.pod_spec"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def add_scheduling(draft: Draft, attempt: Attempt, defaults: PodDefaults) -> None:
    """Add what the draft's resources, its interruptibility and its accelerator require.

    Raises `PodRejected` where the task needs an accelerator and has no GPU.
    """
    capacity = defaults.interruptible if attempt.interruptible else defaults.not_interruptible
    device = _device(draft, attempt, defaults)
    spec = draft.spec
    tolerations = [
        *objects_in(spec, _SPEC, "tolerations"),
        *(each.manifest for each in (*defaults.tolerations, *capacity.tolerations)),
        *_of_resources(draft, defaults),
        *_of_device(device, defaults),
    ]
    _replace(spec, "tolerations", _distinct(tolerations))
    own = object_in(spec, _SPEC, "nodeSelector")
    selector = {**defaults.node_selector, **own, **capacity.node_selector}
    _replace(spec, "nodeSelector", selector)
    if capacity.node_requirement is not None:
        _require(spec, capacity.node_requirement.manifest)
    if device:
        _require(spec, {"key": defaults.gpu_device_label, "operator": "In", "values": [device]})
    if defaults.scheduler_name and not spec.get("schedulerName"):
        spec["schedulerName"] = defaults.scheduler_name
    if (name := _priority_class(attempt, defaults)) and not spec.get("priorityClassName"):
        spec["priorityClassName"] = name


def _device(draft: Draft, attempt: Attempt, defaults: PodDefaults) -> str:
    """Return the accelerator; empty where the task needs none. Raises `PodRejected`."""
    name = defaults.gpu_resource
    for container in draft.containers:
        limits = container.get("resources", {}).get("limits", {})
        if str(limits.get(name, "0")) != "0":
            return attempt.accelerator
    if attempt.accelerator:
        message = f"{attempt.accelerator!r} needs a GPU, and no container has a limit of {name}"
        raise PodRejected("accelerator", attempt.accelerator, message)
    return ""


def _of_resources(draft: Draft, defaults: PodDefaults) -> Iterator[Manifest]:
    used = {
        name
        for container in draft.containers
        for amounts in container.get("resources", {}).values()
        if isinstance(amounts, dict)  # not the list of claims
        for name in amounts
    }
    for name in sorted(used & defaults.resource_tolerations.keys()):
        if tolerations := defaults.resource_tolerations[name]:
            yield from (each.manifest for each in tolerations)
        else:
            yield {"key": name, "operator": "Exists", "effect": "NoSchedule"}


def _of_device(device: str, defaults: PodDefaults) -> Iterator[Manifest]:
    if device:
        key = defaults.gpu_device_label
        yield {"key": key, "operator": "Equal", "value": device, "effect": "NoSchedule"}


def _distinct(tolerations: Iterable[Manifest]) -> list[Manifest]:
    """Return each once, ordered, so that equal attempts have equal pods."""
    by_meaning = {
        (
            str(each.get("key") or ""),
            str(each.get("operator") or "Equal"),
            str(each.get("value") or ""),
            str(each.get("effect") or ""),
            str(each.get("tolerationSeconds", "")),
        ): dict(each)
        for each in tolerations
    }
    return [by_meaning[meaning] for meaning in sorted(by_meaning)]


def _require(spec: Manifest, requirement: Manifest) -> None:
    """Add the requirement to every required term: a node has to match only one of them."""
    affinity = object_in(spec, _SPEC, "affinity")
    nodes = object_in(affinity, f"{_SPEC}.affinity", "nodeAffinity")
    path = f"{_SPEC}.affinity.nodeAffinity"
    required = object_in(nodes, path, _REQUIRED)
    terms = objects_in(required, f"{path}.{_REQUIRED}", "nodeSelectorTerms")
    if not terms:
        terms.append({"matchExpressions": [copied(requirement)]})
        return
    for term in terms:
        # A term without any requirement matches no node, and would match some with this one.
        if term.get("matchExpressions") or term.get("matchFields"):
            objects_in(term, path, "matchExpressions").append(copied(requirement))


def _priority_class(attempt: Attempt, defaults: PodDefaults) -> str:
    """Return the class of the highest number that the priority reaches; empty without one."""
    if attempt.priority is None:
        return ""
    reached = [number for number in defaults.priority_classes if number <= attempt.priority]
    return defaults.priority_classes[max(reached)] if reached else ""


def _replace(spec: Manifest, name: str, value: list[Manifest] | Manifest) -> None:
    if value:
        spec[name] = value
    else:
        spec.pop(name, None)
