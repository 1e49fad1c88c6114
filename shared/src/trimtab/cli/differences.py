"""The changes that an update makes, as a unified diff of YAML. Pure."""

import difflib
from collections.abc import Mapping
from typing import Any

from trimtab.cli.documents import to_yaml
from trimtab.kinds import Kind


def unified(kind: Kind, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """Return the diff of two documents; ``None`` stands for no record.

    The diff is empty where nothing changes. The order of keys is not a change.
    """
    lines = difflib.unified_diff(
        _lines(kind, before), _lines(kind, after), "before", "after", lineterm=""
    )
    return "\n".join(lines)


def _lines(kind: Kind, document: Mapping[str, Any] | None) -> list[str]:
    if document is None:
        text = "null\n"
    else:
        title = kind.flyte.message if kind.flyte else kind.value.__name__
        text = to_yaml({title: dict(document)}, indent=4)
    # flytectl prints an empty line after each side.
    return [*text.splitlines(), ""]
