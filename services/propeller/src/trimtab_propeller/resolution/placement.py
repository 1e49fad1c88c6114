"""Select the cluster of an execution. Pure."""

import random
from collections.abc import Iterator

from trimtab.messages.executions import Request
from trimtab.messages.resolutions import ResolvedValue
from trimtab.resolution.limits import Refusal
from trimtab.settings.fold import Leaf
from trimtab.settings.state import Settings
from trimtab_propeller.resolution import records
from trimtab_propeller.resolution.site import Site


def values(request: Request, settings: Settings, site: Site) -> Iterator[ResolvedValue]:
    """Yield the cluster, the same one for all nodes, and the label that selected it.

    Raises `Refusal` and `Unreadable`.
    """
    source = "execution_cluster_label.value"
    leaf = records.leaf(settings, "execution_cluster_label", "value", request.target)
    cluster = _select(request.execution, settings, leaf)
    if leaf is not None:
        yield records.value("execution_cluster_label", source, leaf)
        yield records.value("cluster", source, leaf).model_copy(update={"value": cluster})
    elif cluster is not None:
        yield ResolvedValue(path="cluster", value=cluster, source="engine")


def _select(execution: str, settings: Settings, label: Leaf | None) -> str | None:
    """Select an enabled cluster by weight, always the same one for one execution.

    Return ``None`` where the settings have no cluster of a positive weight and no label is
    required. Raises `Refusal` where no such cluster has the required label.
    """
    enabled = [cluster for _, cluster in sorted(settings.clusters.items()) if cluster.enabled]
    fitting = [c for c in enabled if label is None or label.value in c.labels]
    weighted = [cluster for cluster in fitting if cluster.weight > 0]
    if weighted:
        weights = [cluster.weight for cluster in weighted]
        return random.Random(execution).choices(weighted, weights)[0].name
    if label is None:
        return None
    known = ", ".join(sorted({label for cluster in enabled for label in cluster.labels})) or "none"
    raise Refusal(
        "execution_cluster_label.value",
        label.value,
        f"no enabled cluster has the label {label.value!r}, which execution_cluster_label of "
        f"{label.scope} requires; labels of enabled clusters: {known}",
        scope=str(label.scope),
    )
