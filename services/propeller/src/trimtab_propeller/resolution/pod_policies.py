"""The pod policies of an execution: what its pods and its request may select. Pure."""

from collections.abc import Iterable

from trimtab.settings.state import Settings
from trimtab_propeller.resolution import records
from trimtab_propeller.resolution.parts import Part

KIND = "pod_policy"


def allows_cluster_label(settings: Settings, parts: Iterable[Part], label: str) -> str:
    """Return why an execution may not set the label of its clusters; empty where it may.

    The policy of every part has to allow it, because all run on one cluster. Raises `Unreadable`.
    """
    for part in parts:
        leaf = records.leaf(settings, KIND, "cluster_labels", part.target)
        if leaf is not None and label not in _texts(leaf.value):
            allowed = ", ".join(_texts(leaf.value)) or "none"
            return (
                f"cluster label {label!r} is not in {KIND}.cluster_labels of {leaf.scope}; "
                f"allowed: {allowed}"
            )
    return ""


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
