"""Warnings about records that allow more than broader scopes do, which has no effect. Pure.

They are no errors: the broader record may be changed later, and an export has to be importable.
"""

from collections.abc import Iterator
from dataclasses import replace

from trimtab.echoes import shown
from trimtab.levels import Scope
from trimtab.settings.fold import Effective, Record, fold
from trimtab_admin import steps
from trimtab_admin.settings.drafts import Draft
from trimtab_admin.steps import Steps


def warn(draft: Draft) -> Steps[None]:
    """Add warnings to the edits of a draft, which name the scope of each broader record."""

    def add(key: tuple[str, Scope]) -> None:
        edit = draft.records[key]
        if edit.after is not None:
            warnings = tuple(_warnings(edit.after, _broader(draft, edit.after)))
            draft.records[key] = replace(edit, warnings=(*edit.warnings, *warnings))

    narrowing = [key for key, edit in draft.records.items() if edit.kind.narrowing_at(key[1])]
    yield from steps.each(add, narrowing)


def _broader(draft: Draft, record: Record) -> Effective:
    """Return what applies at the scope of a record without it, after the edits of the draft."""
    name, chain = record.kind.name, []
    stored = draft.settings.records.get(name, {})
    for scope in record.scope.chain[:-1]:
        edit = draft.records.get((name, scope))
        found = stored.get(scope) if edit is None else edit.after
        if found is not None:
            chain.append(found)
    return fold(record.kind, record.scope, chain)


def _warnings(record: Record, broader: Effective) -> Iterator[str]:
    for path, rule in record.narrowing.items():
        own, leaf = record.flat.get(path), broader.leaves.get(path)
        value = None if leaf is None else leaf.value
        if own is None or not rule.widens(value, own):
            continue
        if leaf is None or value is None:
            source = f"the default {shown(path, rule.default)}, which only the platform can change"
        else:
            source = f"{shown(path, value)} of {leaf.scope}"
        yield f"{path}: {shown(path, own)} allows more than {source}; the rest has no effect"
