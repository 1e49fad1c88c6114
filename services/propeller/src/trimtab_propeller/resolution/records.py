"""Resolved values from the records of the settings. Pure."""

from collections.abc import Iterator

from trimtab.levels import Scope
from trimtab.messages.resolutions import ResolvedValue
from trimtab.settings.fold import Effective, Leaf
from trimtab.settings.state import Settings


def values(effective: Effective) -> Iterator[ResolvedValue]:
    """Yield the leaves that have a value."""
    for path, leaf in effective.leaves.items():
        if leaf.value is not None:
            yield value(path, f"{effective.kind.name}.{path}", leaf)


def value(path: str, source: str, leaf: Leaf) -> ResolvedValue:
    return ResolvedValue(
        path=path, value=leaf.value, source=source, scope=str(leaf.scope), revision=leaf.revision
    )


def leaf(settings: Settings, kind: str, path: str, target: Scope) -> Leaf | None:
    """Return the leaf of an effective value, ``None`` if it is unset. Raises `Unreadable`."""
    found = settings.effective(kind, target).leaves.get(path)
    return None if found is None or found.value is None else found
