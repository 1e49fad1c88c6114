"""Records and effective values in the form of responses. Pure."""

from weakref import WeakKeyDictionary

from trimtab.api.effective import EffectiveBody, LeafBody, SourceBody
from trimtab.api.records import RecordBody
from trimtab.api.scopes import ScopeBody
from trimtab.levels import Scope
from trimtab.settings.fold import Effective, Leaf, Record


def of_record(record: Record) -> RecordBody:
    return RecordBody(
        kind=record.kind.name,
        scope=of_scope(record.scope),
        version=record.revision,
        document=record.document,
        labels=dict(record.labels),
    )


def of_unreadable(kind: str, scope: Scope, version: int, reason: str) -> RecordBody:
    """Return a body that shows, in lists, a record that is not readable."""
    warning = f"not readable: {reason}"
    return RecordBody(
        kind=kind, scope=of_scope(scope), version=version, document={}, warnings=(warning,)
    )


def of_scope(scope: Scope) -> ScopeBody:
    return ScopeBody(
        level=scope.level.label,
        domain=scope.domain,
        project=scope.project,
        workflow=scope.workflow,
        launch_plan=scope.launch_plan,
    )


def of_effective(effective: Effective, revision: int) -> EffectiveBody:
    body = _OF_EFFECTIVE.get(effective)
    if body is None:
        body = _OF_EFFECTIVE[effective] = _of_effective(effective, revision)
    return body if body.revision == revision else body.model_copy(update={"revision": revision})


_OF_EFFECTIVE: WeakKeyDictionary[Effective, EffectiveBody] = WeakKeyDictionary()
"""Bodies of cached effective values: building a body takes longer than the rest of a read."""


def _of_effective(effective: Effective, revision: int) -> EffectiveBody:
    return EffectiveBody(
        kind=effective.kind.name,
        target=of_scope(effective.target),
        document=effective.document,
        leaves=tuple(_leaf(path, leaf) for path, leaf in sorted(effective.leaves.items())),
        revision=revision,
    )


def _leaf(path: str, leaf: Leaf) -> LeafBody:
    overrode = tuple(
        SourceBody(scope=str(source.scope), revision=source.revision, value=source.value)
        for source in leaf.overrode
    )
    return LeafBody(
        path=path,
        value=leaf.value,
        scope=str(leaf.scope),
        revision=leaf.revision,
        overrode=overrode,
    )
