"""What a write did, or would do, as text. Pure."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from trimtab.api.scopes import ScopeBody
from trimtab.api.settings import ChangeBody, ChangedLeafBody, ChangesBody
from trimtab.levels import Level, Scope

_MOST_EFFECTS = 20
_SIGNS = {"create": "+", "update": "~", "delete": "-"}
_DONE = {"create": "created", "update": "changed", "delete": "deleted", "none": "unchanged"}
_SORTS = ("domains", "projects", "project_domains", "workflows", "launch_plans", "namespaces")


def scope_of_body(body: ScopeBody) -> Scope:
    return Scope(
        **body.model_dump(exclude={"level"}), settings_file=body.level == Level.SETTINGS.label
    )


def what(kind: str, scope: ScopeBody | None, name: str) -> str:
    """What a change is of: ``task_resource of project shop``, ``project shop``."""
    return f"{kind} {name}" if scope is None else f"{kind} of {scope_of_body(scope)}"


def done(body: ChangesBody) -> Iterator[str]:
    """One line for each document, as a write tells what it has done."""
    would = "would be " if body.dry_run else ""
    for change in body.changes:
        subject = what(change.kind, change.scope, change.name)
        yield f"{subject} {would * (change.action != 'none')}{_DONE[change.action]}"


def differences(body: ChangesBody) -> Iterator[str]:
    """What changes, field by field, and for whom; nothing where nothing does."""
    for change in body.changes:
        if change.action != "none":
            yield f"{_SIGNS[change.action]} {what(change.kind, change.scope, change.name)}"
            yield from (f"    {line}" for line in _leaves(change))
    yield from radius(body)


def warnings(body: ChangesBody) -> Iterator[str]:
    for change in body.changes:
        for warning in change.warnings:
            yield f"warning: {what(change.kind, change.scope, change.name)}: {warning}"


def leaf(change: ChangedLeafBody) -> str:
    """``limits.cpu: "2" → "4"``."""
    return f"{change.path}: {_value(change.before)} → {_value(change.after)}"


def fields(document: Mapping[str, Any]) -> list[str]:
    """Each field of a document of which the kind is not known: ``limits.cpu: "2"``."""
    return [f"{path}: {_value(value)}" for path, value in _flat(document).items()]


def between(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[str]:
    """What differs in two documents of which the kind is not known."""
    old, new = _flat(before or {}), _flat(after or {})
    return [
        leaf(ChangedLeafBody(path=path, before=old.get(path), after=new.get(path)))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]


def _leaves(change: ChangeBody) -> Iterator[str]:
    yield from map(leaf, change.changes)
    yield from (f"label {leaf(label)}" for label in change.labels)


def radius(body: ChangesBody) -> Iterator[str]:
    """For whom a dry run found that something changes."""
    numbers = {} if body.radius is None else {sort: getattr(body.radius, sort) for sort in _SORTS}
    told = [f"{number} {_sort(name, number)}" for name, number in numbers.items() if number]
    if body.radius is None or not told:
        return
    yield "effective values change in " + ", ".join(told)
    effects, names = body.radius.effects, body.radius.rendered
    for effect in effects[:_MOST_EFFECTS]:
        changes = ", ".join(map(leaf, effect.changes))
        yield f"    {effect.kind} of {scope_of_body(effect.target)}: {changes}"
    if len(effects) > _MOST_EFFECTS:
        yield f"    and {len(effects) - _MOST_EFFECTS} more, with -o json"
    if names:
        yield "    rendered anew: " + ", ".join(names[:_MOST_EFFECTS])


def _sort(name: str, number: int) -> str:
    words = name.replace("project_domains", "project-domains").replace("_", " ")
    return words.removesuffix("s") if number == 1 else words


def _value(value: object) -> str:
    return "-" if value is None else json.dumps(value, ensure_ascii=False)


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
