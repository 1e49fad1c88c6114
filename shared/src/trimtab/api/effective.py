"""Effective values and their provenance. Pure."""

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
    """``null`` where the record unset the path."""
    scope: str
    revision: int
    overrode: tuple[SourceBody, ...] = ()
    """Values of broader scopes, nearest first."""


class EffectiveBody(Model):
    """The effective value of a kind for a target.

    It has no version, so it cannot be written back by mistake.
    """

    kind: str
    target: ScopeBody
    document: dict[str, Any]
    leaves: tuple[LeafBody, ...]
    revision: int
    """The revision of the settings that it was folded from."""


class EffectiveAllBody(Model):
    """The effective values of all kinds for a target."""

    target: ScopeBody
    kinds: dict[str, EffectiveBody]
    unreadable: dict[str, str] = {}
    """Kinds whose value cannot be computed, with the reason."""
    revision: int


class SetterBody(Model):
    """The actor that wrote a record, when and why; empty where the history has no row for it."""

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
    """``null`` where the narrowest scope that names the path unset it."""
    sources: tuple[ExplainedSourceBody, ...]
    """The scopes that set or unset the path, narrowest first. The first one is effective."""
    says: str
    """The sources as a sentence."""


class ExplainBody(Model):
    """An effective value with the chain that it was folded from, and who wrote each record."""

    kind: str
    target: ScopeBody
    document: dict[str, Any]
    chain: tuple[ExplainedRecordBody, ...]
    """Every scope that applies, broadest first."""
    leaves: tuple[ExplainedLeafBody, ...]
    as_flyte: EffectiveBody | None
    """The value by Flyte 1's rule; ``None`` where Flyte 1 has no such kind."""
    revision: int
