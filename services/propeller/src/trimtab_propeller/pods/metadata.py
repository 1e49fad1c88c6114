"""The name, the labels and the annotations of a pod. Pure."""

from trimtab.settings import namespaces
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.pods.draft import Draft

PREFIX = "trimtab.io/"


def pod_name(attempt: Attempt) -> str:
    return f"{attempt.execution}-{attempt.node}-{attempt.number}"


def namespace(attempt: Attempt, defaults: PodDefaults) -> str:
    return namespaces.name(defaults.namespace_template, attempt.project, attempt.domain)


def add_metadata(draft: Draft, attempt: Attempt, defaults: PodDefaults) -> None:
    """Complete the labels and annotations; those of Trimtab replace others of the same key."""
    draft.labels = {**defaults.labels, **draft.labels, **attempt.labels}
    draft.annotations = {**defaults.annotations, **draft.annotations, **attempt.annotations}
