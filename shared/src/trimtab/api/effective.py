"""What applies to a target, and where each part of it comes from. Pure."""

from typing import Any

from pydantic import AwareDatetime, JsonValue

from trimtab.api.records import RecordBody
from trimtab.api.scopes import ScopeBody
from trimtab.models import Model


class SourceBody(Model):
    scope: str
    revision: int
    value: JsonValue


class LeafBody(Model):
    path: str
    value: JsonValue
    """``null`` where the record unset it."""
    scope: str
    revision: int
    overrode: tuple[SourceBody, ...] = ()


class EffectiveBody(Model):
    """What applies to a target; it has no version, so it cannot be written back by mistake."""

    kind: str
    target: ScopeBody
    document: dict[str, Any]
    leaves: tuple[LeafBody, ...]
    revision: int
    """Of the settings it was folded from."""


class EffectiveAllBody(Model):
    """What applies to a target, of every kind."""

    target: ScopeBody
    kinds: dict[str, EffectiveBody]
    unreadable: dict[str, str] = {}
    """By kind, why its value cannot be told."""
    revision: int


class SetterBody(Model):
    """Who wrote a record, when and why; empty where no history says it."""

    actor: str = ""
    at: AwareDatetime | None = None
    reason: str = ""


class ExplainedRecordBody(Model):
    """One scope of the chain."""

    scope: ScopeBody
    record: RecordBody | None
    """``None`` where nothing is stored."""
    setter: SetterBody | None


class ExplainedSourceBody(Model):
    scope: str
    revision: int
    value: JsonValue
    setter: SetterBody


class ExplainedLeafBody(Model):
    path: str
    value: JsonValue
    """``null`` where the narrowest scope that speaks of it unset it."""
    sources: tuple[ExplainedSourceBody, ...]
    """Who speaks of it, narrowest first: the first one decides."""
    says: str
    """The same as a sentence."""


class ExplainBody(Model):
    """Where each part of an effective value comes from."""

    kind: str
    target: ScopeBody
    document: dict[str, Any]
    chain: tuple[ExplainedRecordBody, ...]
    """Every scope that applies, broadest first."""
    leaves: tuple[ExplainedLeafBody, ...]
    as_flyte: EffectiveBody | None
    """By the rule of Flyte 1; ``None`` where it has no such kind."""
    revision: int
