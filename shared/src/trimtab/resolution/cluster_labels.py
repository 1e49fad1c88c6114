"""Check the label of clusters that a request or a launch plan sets for an execution. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from trimtab import names
from trimtab.levels import Scope
from trimtab.resolution.limits import Refusal
from trimtab.settings.fold import Leaf
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.launch_plans import ExecutionConfig

FIELD = "execution_cluster_label"
"""The field of a request and of a launch plan."""
_ALLOWED = "cluster_labels"


class OwnLabel(NamedTuple):
    """A label that is not from the settings."""

    value: str
    source: str
    """``execution`` or ``launch plan``."""


def own_label(execution: ExecutionConfig, plan: ExecutionConfig) -> OwnLabel | None:
    """Return the label of the request, else that of its launch plan, if one of them has any."""
    for source, config in (("execution", execution), ("launch plan", plan)):
        if config.execution_cluster_label is not None:
            return OwnLabel(config.execution_cluster_label, source)
    return None


def check(label: OwnLabel, settings: Settings, targets: Iterable[Scope]) -> None:
    """Check that the ``pod_policy`` of each target allows the label, and that a cluster that can be
    selected has it.

    Raises `Refusal` and `Unreadable`.
    """
    for target in targets:
        _check_allowed(label, settings.effective("pod_policy", target).leaves.get(_ALLOWED))
    known = known_labels(settings)
    if label.value not in known:
        raise _refusal(label, labels_of_clusters(settings) + names.question(label.value, known))


def _check_allowed(label: OwnLabel, allowed: Leaf | None) -> None:
    if allowed is None or not isinstance(allowed.value, list | tuple):
        return
    labels = [str(each) for each in allowed.value]
    if label.value not in labels:
        listed, scope = names.listed(labels) or "none", str(allowed.scope)
        bound = f"{listed}, by pod_policy.{_ALLOWED} of {scope}"
        raise _refusal(label, bound + names.question(label.value, labels), scope)


def known_labels(settings: Settings) -> list[str]:
    """Return the labels of enabled clusters, without those that have the weight 0."""
    selectable = (c for c in settings.clusters.values() if c.enabled and c.weight > 0)
    return sorted({label for cluster in selectable for label in cluster.labels})


def labels_of_clusters(settings: Settings) -> str:
    """Return which labels there are, for a message."""
    return (
        f"labels of clusters that can be selected: {names.listed(known_labels(settings)) or 'none'}"
    )


def _refusal(label: OwnLabel, bound: str, scope: str = "") -> Refusal:
    message = f"{FIELD}: {label.value!r} ({label.source}) is not allowed; allowed: {bound}"
    return Refusal(FIELD, label.value, message, scope=scope, bound=bound)
