"""The differences of documents and projects as flytectl shows them, and of objects. Pure."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trimtab.cli.attribute_files import to_yaml
from trimtab.kinds import Kind

_INDENT = 4


def unified_diff(
    kind: Kind, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> str:
    """Return flytectl's diff of two documents as YAML; empty where only the order of keys differs.

    ``None`` stands for no record.
    """
    return _unified_diff(_document_lines(kind, before), _document_lines(kind, after))


def unified_project_diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return flytectl's diff of two projects as YAML."""
    # flytectl appends an empty line to each side.
    return _unified_diff([*_lines(before, 0), ""], [*_lines(after, 0), ""])


def _unified_diff(before: Sequence[str], after: Sequence[str]) -> str:
    return "\n".join(difflib.unified_diff(before, after, "before", "after", lineterm=""))


def unified_object_diff(
    name: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> str:
    """Return the diff of two objects as YAML, of which ``None`` stands for one that is missing."""
    lines = difflib.unified_diff(
        _object_lines(before),
        _object_lines(after),
        f"live/{name}",
        f"rendered/{name}",
        lineterm="",
    )
    return "\n".join(lines)


def _object_lines(content: Mapping[str, Any] | None) -> list[str]:
    return [] if content is None else to_yaml(content).splitlines()


def _document_lines(kind: Kind, document: Mapping[str, Any] | None) -> list[str]:
    title = kind.flyte.message if kind.flyte else kind.value.__name__
    lines = ["null"] if document is None else _lines({title: document}, 0)
    # flytectl appends an empty line to each side.
    return [*lines, ""]


def _lines(content: Any, indent: int) -> Iterator[str]:
    """Yield the lines of a mapping or list as Go's yaml.v3 writes them with an indent of 4."""
    blank = " " * indent
    if isinstance(content, Mapping):
        for name, value in sorted(content.items()):
            yield from _entry(f"{blank}{_scalar(name)}:", value, indent)
        return
    for item in content:
        if isinstance(item, Mapping | list) and item:
            # Two columns for the dash, whatever the indent is.
            first, *others = _lines(item, indent + 2)
            yield f"{blank}- {first[indent + 2 :]}"
            yield from others
        else:
            yield from _entry(f"{blank}-", item, indent)


def _entry(head: str, value: Any, indent: int) -> Iterator[str]:
    """Yield the lines of a value after its key or dash."""
    # What is inside is aligned to a multiple of the indent.
    inner = (indent // _INDENT + 1) * _INDENT
    if isinstance(value, Mapping | list) and value:
        yield head
        yield from _lines(value, inner)
    elif isinstance(value, str) and _is_block(value):
        kept = len(value) - len(value.rstrip("\n"))
        yield f"{head} |{'-+'[kept > 1] if kept != 1 else ''}"
        body = value[:-1] if kept > 1 else value.rstrip("\n")
        yield from (" " * inner * bool(line) + line for line in body.split("\n"))
    else:
        yield f"{head} {_scalar(value)}"


def _is_block(text: str) -> bool:
    """Whether the text is written line by line."""
    lines = text.split("\n")
    return len(lines) > 1 and lines[0][:1].strip() != "" and all(map(str.isprintable, lines))


def _scalar(value: Any) -> str:
    return to_yaml([value]).removeprefix("- ").removesuffix("\n")
