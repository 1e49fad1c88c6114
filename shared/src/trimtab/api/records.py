"""Kinds and records. Pure."""

from typing import Any

from trimtab.api.scopes import ScopeBody
from trimtab.kinds import forms
from trimtab.models import Model


class KindBody(Model):
    """Describes a kind to a console or command line that does not have it installed."""

    name: str
    noun: str
    aliases: tuple[str, ...] = ()
    """Other nouns of the kind."""
    summary: str
    flyte_number: int | None
    levels: tuple[str, ...]
    refused_levels: dict[str, str] = {}
    """Levels that users may expect but cannot set, with the reason."""
    form: tuple[forms.Field, ...] = ()
    """Fields in display order; those without a dot are the keys of an attribute file."""
    alternatives: tuple[str, ...] = ()
    """Fields that exclude each other in a record."""
    deprecated: dict[str, str] = {}
    """Old paths that are still accepted, with their new names."""
    json_schema: dict[str, Any]


class RecordBody(Model):
    """One stored record."""

    kind: str
    scope: ScopeBody
    version: int
    """The revision that wrote it; the ETag."""
    document: dict[str, Any]
    labels: dict[str, str] = {}
    """Labels of the record, by which `apply` with ``prune`` finds its owner."""
    warnings: tuple[str, ...] = ()
    """Warnings for the writer; in a list, why the document cannot be read."""


class RollbackBody(Model):
    revision: int
    """A version that the record had."""
