"""Records and effective values in the form of responses. Pure."""

from weakref import WeakKeyDictionary

from trimtab.api.settings import EffectiveBody, LeafBody, RecordBody, ScopeBody, SourceBody
from trimtab.levels import Scope
from trimtab.settings.fold import Effective, Leaf, Record


def record_body(record: Record) -> RecordBody:
    return RecordBody(
        kind=record.kind.name,
        scope=scope_body(record.scope),
        version=record.revision,
        document=record.document,
        labels=dict(record.labels),
    )


def unreadable_body(kind: str, scope: Scope, version: int, reason: str) -> RecordBody:
    """Return a body that shows, in lists, a record that is not readable."""
    warning = f"not readable: {reason}"
    return RecordBody(
        kind=kind, scope=scope_body(scope), version=version, document={}, warnings=(warning,)
    )


scope_body = ScopeBody.of


def effective_body(effective: Effective, revision: int) -> EffectiveBody:
    body = _BODIES.get(effective)
    if body is None:
        body = _BODIES[effective] = _new_effective_body(effective, revision)
    return body if body.revision == revision else body.model_copy(update={"revision": revision})


_BODIES: WeakKeyDictionary[Effective, EffectiveBody] = WeakKeyDictionary()
"""Bodies of cached effective values: building a body takes longer than the rest of a read."""


def _new_effective_body(effective: Effective, revision: int) -> EffectiveBody:
    return EffectiveBody(
        kind=effective.kind.name,
        target=scope_body(effective.target),
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
