"""Explanations of an effective value: the records of its chain, and who wrote each of them."""

from collections.abc import Mapping

from trimtab.api.settings import (
    EffectiveBody,
    ExplainBody,
    ExplainedLeafBody,
    ExplainedRecordBody,
    ExplainedSourceBody,
    SetterBody,
)
from trimtab.errors import Invalid
from trimtab.kinds import Kind
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.settings import flyte
from trimtab.settings.fold import Effective, Leaf, Record, Source
from trimtab.settings.state import Settings
from trimtab_admin.settings import bodies, history
from trimtab_admin.settings.entities import check_scope
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.tree import Tree

Setters = Mapping[Scope, SetterBody]
"""The writer of the record of each scope."""

_UNKNOWN = SetterBody()


class Explainer:
    """Explains effective values."""

    def __init__(self, reading: Sessions, tree: Tree) -> None:
        self._reading = reading
        self._tree = tree

    async def explain(self, kind: Kind, target: Scope) -> ExplainBody:
        """Raises `NotFound` where the project or domain does not exist, and `Unreadable`."""
        settings = await self._tree.shown(self._reading)
        check_scope(settings, target)
        revision = settings.revision
        records = {record.scope: record for record in settings.chain(kind.name, target)}
        effective = settings.effective(kind.name, target)
        scopes = {subjects.attributes(kind.name, scope): scope for scope in records}
        as_flyte = _as_flyte(settings, kind, target)
        async with transaction(self._reading) as session:
            stored = await history.setters(session, scopes, revision)
        setters = {scope: stored.get(subject, _UNKNOWN) for subject, scope in scopes.items()}
        return ExplainBody(
            kind=kind.name,
            target=bodies.scope_body(target),
            document=effective.document,
            chain=tuple(_step(scope, records.get(scope), setters) for scope in target.chain),
            leaves=_leaves(effective, setters),
            as_flyte=as_flyte,
            revision=revision,
        )


def _step(scope: Scope, record: Record | None, setters: Setters) -> ExplainedRecordBody:
    return ExplainedRecordBody(
        scope=bodies.scope_body(scope),
        record=None if record is None else bodies.record_body(record),
        setter=setters.get(scope),
    )


def _leaves(effective: Effective, setters: Setters) -> tuple[ExplainedLeafBody, ...]:
    return tuple(_leaf(path, leaf, setters) for path, leaf in sorted(effective.leaves.items()))


def _leaf(path: str, leaf: Leaf, setters: Setters) -> ExplainedLeafBody:
    sources = (leaf.source, *leaf.overrode)
    return ExplainedLeafBody(
        path=path,
        value=leaf.value,
        sources=tuple(_source(source, setters) for source in sources),
        says=_sentence(sources, setters),
    )


def _source(source: Source, setters: Setters) -> ExplainedSourceBody:
    return ExplainedSourceBody(
        scope=str(source.scope),
        revision=source.revision,
        value=source.value,
        setter=setters.get(source.scope, _UNKNOWN),
    )


def _sentence(sources: tuple[Source, ...], setters: Setters) -> str:
    """Return, for example, ``4, by project shop (ann, "more cores"), over 2 by platform``."""
    first, *others = sources
    setter = setters.get(first.scope, _UNKNOWN)
    reason = f', "{setter.reason}"' if setter.reason else ""
    author = f" ({setter.actor}{reason})" if setter.actor else ""
    overrode = ", ".join(f"{_value(source)} by {source.scope}" for source in others)
    sentence = f"{_value(first)}, by {first.scope}{author}"
    return f"{sentence}, over {overrode}" if overrode else sentence


def _value(source: Source) -> str:
    return "no value" if source.value is None else str(source.value)


def _as_flyte(settings: Settings, kind: Kind, target: Scope) -> EffectiveBody | None:
    """Return the effective value by Flyte 1's rule; ``None`` where Flyte 1 lacks the kind."""
    try:
        effective = flyte.effective(settings, kind.name, target)
    except Invalid:
        return None
    return bodies.effective_body(effective, settings.revision)
