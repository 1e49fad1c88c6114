"""What an update changes, as a unified diff of YAML. Pure."""

import difflib
from collections.abc import Mapping
from typing import Any

from trimtab.cli.documents import to_yaml
from trimtab.kinds import Kind

# Flyte's protobuf names; a kind that Flyte does not have goes by its own.
_TITLES = {
    "task_resource": "TaskResourceAttributes",
    "cluster_resource": "ClusterResourceAttributes",
    "execution_queue": "ExecutionQueueAttributes",
    "plugin_override": "PluginOverrides",
}


def unified(kind: Kind, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """Empty where nothing changes; the order of keys is no change. ``None`` is no record."""
    lines = difflib.unified_diff(
        _lines(kind, before), _lines(kind, after), "before", "after", lineterm=""
    )
    return "\n".join(lines)


def _lines(kind: Kind, document: Mapping[str, Any] | None) -> list[str]:
    if document is None:
        text = "null\n"
    else:
        title = _TITLES.get(kind.name, kind.value.__name__)
        text = to_yaml({title: dict(document)}, indent=4)
    # flytectl shows one empty line behind each side.
    return [*text.splitlines(), ""]
