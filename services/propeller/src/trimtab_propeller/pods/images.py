"""How the images of a pod are pulled. Pure."""

from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.pods.draft import Draft
from trimtab_propeller.pods.fields import objects_in


def add_pulling(draft: Draft, defaults: PodDefaults) -> None:
    """Add the pull secrets, each once, and the policy of containers that have none."""
    if defaults.image_pull_secrets:
        listed = objects_in(draft.spec, "pod_template.pod_spec", "imagePullSecrets")
        known = {secret.get("name") for secret in listed}
        listed += [{"name": n} for n in defaults.image_pull_secrets if n not in known]
    if defaults.image_pull_policy:
        for container in draft.containers:
            container.setdefault("imagePullPolicy", defaults.image_pull_policy)
