"""The changes of a write or of a dry run as lines of text. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from trimtab.api.settings import ChangeBody, ChangedLeafBody, ChangesBody, ScopeBody
from trimtab.cli.escaping import to_json
from trimtab.cli.scopes import scope_from_body

Keys = tuple[str, ...]

_MAX_EFFECTS = 20
_SIGNS = {"create": "+", "update": "~", "delete": "-"}
_DONE = {"create": "created", "update": "changed", "delete": "deleted", "none": "unchanged"}
_COUNTS = ("domains", "projects", "project_domains", "workflows", "launch_plans", "namespaces")


def subject(kind: str, scope: ScopeBody | None, name: str) -> str:
    """Return what a change applies to: ``task_resource of project shop``, ``project shop``."""
    return f"{kind} {name}" if scope is None else f"{kind} of {scope_from_body(scope)}"


def summary_lines(body: ChangesBody) -> Iterator[str]:
    """Return one line for each document: what a write did, or a dry run would do, with it."""
    would = "would be " if body.dry_run else ""
    for change in body.changes:
        line = subject(change.kind, change.scope, change.name)
        yield f"{line} {would * (change.action != 'none')}{_DONE[change.action]}"


def count_line(body: ChangesBody) -> str:
    """Return the numbers of what a write did with documents that are too many to list."""
    counts = Counter(_DONE[change.action] for change in body.changes)
    return ", ".join(f"{counts[done]:,} {done}" for done in _DONE.values() if counts[done])


def difference_lines(body: ChangesBody) -> Iterator[str]:
    """Return the changes field by field, and the blast radius; no line where nothing changes."""
    for change in body.changes:
        if change.action != "none":
            yield f"{_SIGNS[change.action]} {subject(change.kind, change.scope, change.name)}"
            yield from (f"    {line}" for line in _leaf_lines(change))
    yield from blast_radius_lines(body)


def dry_run_text(body: ChangesBody) -> str:
    """Return what a dry run of one change predicts."""
    return "\n".join(difference_lines(body)) or "nothing would change"


def warning_texts(body: ChangesBody) -> Iterator[str]:
    for change in body.changes:
        for warning in change.warnings:
            yield f"{subject(change.kind, change.scope, change.name)}: {warning}"


def leaf_text(change: ChangedLeafBody) -> str:
    """Return a change such as ``limits.cpu: "2" → "4"``."""
    return f"{change.path}: {_value(change.before)} → {_value(change.after)}"


def field_texts(document: Mapping[str, Any]) -> list[str]:
    """Return each field of a document of any kind, such as ``limits.cpu: "2"``."""
    return [f"{'.'.join(keys)}: {_value(value)}" for keys, value in _flatten(document).items()]


def change_texts(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[str]:
    """Return the differences between two documents of any kind."""
    old, new = _flatten(before or {}), _flatten(after or {})
    return [
        leaf_text(ChangedLeafBody(path=".".join(keys), before=old.get(keys), after=new.get(keys)))
        for keys in sorted(old.keys() | new.keys())
        if old.get(keys) != new.get(keys)
    ]


def blast_radius_lines(body: ChangesBody) -> Iterator[str]:
    """Return the targets and namespaces that a dry run affects."""
    counts = {} if body.radius is None else {name: getattr(body.radius, name) for name in _COUNTS}
    texts = [f"{count} {_words(name, count)}" for name, count in counts.items() if count]
    if body.radius is None or not texts:
        return
    yield "effective values change in " + ", ".join(texts)
    effects, namespaces = body.radius.effects, body.radius.rendered
    for effect in effects[:_MAX_EFFECTS]:
        leaves = ", ".join(map(leaf_text, effect.changes))
        yield f"    {effect.kind} of {scope_from_body(effect.target)}: {leaves}"
    if len(effects) > _MAX_EFFECTS:
        yield f"    and {len(effects) - _MAX_EFFECTS} more, with -o json"
    if namespaces:
        yield "    rendered again: " + ", ".join(namespaces[:_MAX_EFFECTS])


def _leaf_lines(change: ChangeBody) -> Iterator[str]:
    yield from map(leaf_text, change.changes)
    yield from (f"label {leaf_text(label)}" for label in change.labels)


def _words(name: str, count: int) -> str:
    words = name.replace("project_domains", "project-domains").replace("_", " ")
    return words.removesuffix("s") if count == 1 else words


def _value(value: object) -> str:
    return "-" if value is None else to_json(value)


def _flatten(document: Mapping[str, Any], outer: Keys = ()) -> dict[Keys, Any]:
    """Return each value by its keys, of which one may contain dots."""
    flat: dict[Keys, Any] = {}
    for name, value in document.items():
        keys = (*outer, name)
        flat |= _flatten(value, keys) if isinstance(value, dict) else {keys: value}
    return flat
