"""The resources of a pod's containers. Pure.

The primary container has the resolved requests and limits, which admission has completed from those
of ``pod_template`` and from the defaults, and checked. Other containers keep their own, except
where admission has lowered an amount. Resources that Trimtab does not resolve stay as they are.
"""

from collections.abc import Mapping

from trimtab import quantities
from trimtab_propeller.executors.attempt import Attempt, Resources
from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.pods.draft import Draft, Manifest

_GROUPS = ("requests", "limits")
_NONE = Resources()


def kubernetes_names(gpu_resource: str) -> Mapping[str, str]:
    """Return the names of Kubernetes by those of the settings."""
    return {
        "cpu": "cpu",
        "memory": "memory",
        "ephemeral_storage": "ephemeral-storage",
        "gpu": gpu_resource,
    }


def add_resources(draft: Draft, attempt: Attempt, defaults: PodDefaults) -> None:
    """Set the amounts that admission has resolved, under the names of Kubernetes."""
    primary = draft.primary
    for container in draft.containers:
        own = container.pop("resources", None) or {}
        is_primary = container is primary
        lowered = attempt.lowered_resources.get(container["name"], _NONE)
        resolved = attempt.resources if is_primary else lowered
        complete = _complete(own, resolved, defaults.gpu_resource)
        # Kubernetes refuses a request of devices without an equal limit.
        _mirror(complete, defaults.gpu_resource)
        if complete := {name: value for name, value in complete.items() if value}:
            container["resources"] = complete


def _complete(own: Manifest, resolved: Resources, gpu_resource: str) -> Manifest:
    """Return the container's own resources, with the resolved amounts instead of those.

    An amount of 0 is none: Kubernetes reads a limit of 0 as no limit, and shows it as one.
    """
    complete = dict(own)
    by_group = {group: getattr(resolved, group).model_dump() for group in _GROUPS}
    for group in _GROUPS:
        complete[group] = {
            gpu_resource if name == "gpu" else name: amount
            for name, amount in (own.get(group) or {}).items()
        }
    for resource, name in kubernetes_names(gpu_resource).items():
        amounts = {group: by_group[group][resource] for group in _GROUPS}
        if any(amount is not None for amount in amounts.values()):
            for group, amount in amounts.items():
                complete[group].pop(name, None)
                if amount is not None and quantities.parse(amount):
                    complete[group][name] = amount
    return complete


def _mirror(resources: Manifest, name: str) -> None:
    if (request := resources["requests"].get(name)) is not None:
        resources["limits"].setdefault(name, request)
