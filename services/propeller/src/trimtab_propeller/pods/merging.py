"""The pod template of the configuration that a pod is merged over. Pure."""

from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.pods.draft import Draft


def merge_template(draft: Draft, attempt: Attempt, defaults: PodDefaults) -> None:
    """Put the configured template below what the draft has, before other steps change it."""
