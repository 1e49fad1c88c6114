"""Where a pod may run: tolerations, selectors, priority class, accelerator. Pure."""

from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.pods.draft import Draft


def add_scheduling(draft: Draft, attempt: Attempt, defaults: PodDefaults) -> None:
    """Add what the draft's resources, its interruptibility and its accelerator require."""
