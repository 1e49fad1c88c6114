"""Kinds, and what is stored for one at a scope. Pure."""

from typing import Any

from trimtab.api.scopes import ScopeBody
from trimtab.kinds import forms
from trimtab.models import Model


class KindBody(Model):
    """Everything that a console or a command line needs of a kind that it does not know."""

    name: str
    noun: str
    aliases: tuple[str, ...] = ()
    """Other nouns."""
    summary: str
    flyte_number: int | None
    levels: tuple[str, ...]
    refused_levels: dict[str, str] = {}
    """Why a level that users may expect is refused."""
    form: tuple[forms.Field, ...] = ()
    """Fields in order; those without a dot are the keys of an attribute file."""
    alternatives: tuple[str, ...] = ()
    """Fields of which a record has one at most."""
    deprecated: dict[str, str] = {}
    """Paths that are still taken, and what they are called now."""
    json_schema: dict[str, Any]


class RecordBody(Model):
    """One stored record."""

    kind: str
    scope: ScopeBody
    version: int
    """The revision that wrote it; the ETag."""
    document: dict[str, Any]
    labels: dict[str, str] = {}
    """Of the record itself: who owns it, for `apply` with ``prune``."""
    warnings: tuple[str, ...] = ()
    """What its writer should know; in a list, why there is no document that could be read."""


class RollbackBody(Model):
    revision: int
    """A version that the record had."""
