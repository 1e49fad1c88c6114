"""The identity of a pod: its service account, secrets and tokens. Pure."""

from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.pods.draft import Draft


def add_identity(draft: Draft, attempt: Attempt, defaults: PodDefaults) -> None:
    if attempt.service_account is not None:
        draft.spec["serviceAccountName"] = attempt.service_account
