"""The resources of a pod's containers. Pure."""

from collections.abc import Mapping

from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.pods.draft import Draft


def kubernetes_names(defaults: PodDefaults) -> Mapping[str, str]:
    """Return the names of Kubernetes by those of the settings."""
    return {
        "cpu": "cpu",
        "memory": "memory",
        "ephemeral_storage": "ephemeral-storage",
        "gpu": defaults.gpu_resource,
    }


def add_resources(draft: Draft, attempt: Attempt, defaults: PodDefaults) -> None:
    """Set the resolved requests and limits of the primary container."""
    names = kubernetes_names(defaults)
    own = draft.primary.setdefault("resources", {})
    for group in ("requests", "limits"):
        resolved = getattr(attempt.resources, group)
        amounts = own.setdefault(group, {})
        for resource, name in names.items():
            amounts.pop(resource if resource != name else "", None)
            if (amount := getattr(resolved, resource)) is not None:
                amounts[name] = amount
