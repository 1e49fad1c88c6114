"""Build the pod of an attempt. Pure."""

from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.pods import containers, identity, merging, metadata, scheduling
from trimtab_propeller.pods.command_templates import replace_templates
from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.pods.draft import Draft, Manifest
from trimtab_propeller.pods.environment import add_environment
from trimtab_propeller.pods.images import add_pulling
from trimtab_propeller.pods.resources import add_resources
from trimtab_propeller.pods.shared_memory import add_shared_memory


def build_pod(attempt: Attempt, defaults: PodDefaults) -> Manifest:
    """Return the complete manifest. Equal attempts and defaults give equal pods.

    Raises `AttemptRejected` where the attempt can have no pod.
    """
    draft = _begin(attempt, defaults)
    replace_templates(draft, attempt, defaults)
    _complete(draft, attempt, defaults)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": metadata.pod_name(attempt),
            "namespace": metadata.namespace(attempt, defaults),
            "labels": draft.labels,
            "annotations": draft.annotations,
        },
        "spec": draft.spec,
    }


def checked_pod(attempt: Attempt, defaults: PodDefaults) -> Draft:
    """Return the pod, whatever its inputs are. Raises `AttemptRejected` where it can have none."""
    draft = _begin(attempt, defaults)
    _complete(draft, attempt, defaults)
    return draft


def _begin(attempt: Attempt, defaults: PodDefaults) -> Draft:
    """Return a pod with all of its containers, so that each further step applies to them."""
    metadata.check_metadata(attempt, defaults)
    draft = containers.begin(attempt)
    identity.add_service_account(draft, attempt)  # the template's comes last
    merging.merge_template(draft, attempt, defaults)
    containers.complete(draft, attempt, defaults)
    return draft


def _complete(draft: Draft, attempt: Attempt, defaults: PodDefaults) -> None:
    add_environment(draft, attempt)
    add_resources(draft, attempt, defaults)
    add_pulling(draft, defaults)
    add_shared_memory(draft, attempt)
    scheduling.add_scheduling(draft, attempt, defaults)
    metadata.add_metadata(draft, attempt, defaults)
    identity.add_identity(draft, attempt, defaults)
