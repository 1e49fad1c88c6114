"""Documents: what their writer and their reader may do."""

import pytest

from trimtab import kinds
from trimtab.errors import Forbidden, Unreadable
from trimtab.levels import Scope
from trimtab.messages.events import ProjectChanged, RecordChanged
from trimtab.settings.fold import Record
from trimtab.settings.state import Settings
from trimtab_admin.access.authorization import ROOT, Caller, Grant, Role
from trimtab_admin.settings import documents
from trimtab_admin.settings.drafts import Draft
from trimtab_admin.settings.requests import ApplyDocuments
from trimtab_admin.steps import at_once
from trimtab_admin.storage.record_index import RecordIndex

SHOP, LAB = Scope(project="shop"), Scope(project="lab")
KIND = kinds.by_name("workflow_priority")
PRUNE = ApplyDocuments((), prune="owner=ml")
EDITOR = Caller("ci", (Grant(Role.EDITOR, SHOP),))


def stored(*labelled: Scope) -> Settings:
    """Return settings with a labelled record at each scope, and one that is not readable."""
    labels = {"owner": "ml"}
    records = {scope: Record.of(KIND, scope, 1, {"priority": 1}, labels) for scope in labelled}
    return Settings(
        projects={name: ProjectChanged(name=name) for name in ("shop", "lab")},
        records={KIND.name: records},
        unreadable={KIND.name: {LAB: "from the future"}},
    )


def index_of(settings: Settings) -> RecordIndex:
    index = RecordIndex()
    for family in (settings.records, settings.unreadable):
        for kind, scopes in family.items():
            for scope in scopes:
                index.put(kind, scope)
    return index


def exported(settings: Settings, caller: Caller) -> list[Record]:
    snapshot = documents.Snapshot.of(settings, index_of(settings))
    return list(snapshot.exported(snapshot.entries, caller, readable_only=False))


def test_an_export_fails_only_for_unreadable_records_that_the_caller_may_read() -> None:
    assert [record.scope for record in exported(stored(SHOP), EDITOR)] == [SHOP]
    with pytest.raises(Unreadable):
        exported(stored(SHOP), ROOT)


def test_an_export_keeps_no_document_in_memory() -> None:
    [record] = exported(stored(SHOP), EDITOR)
    [body] = documents.Export(1, (), [record]).documents()
    assert "document" not in vars(record)
    assert body.document == record.document == {"priority": 1}


def test_an_export_shows_the_settings_of_its_beginning_whatever_is_written_since() -> None:
    settings = stored(SHOP)
    snapshot = documents.Snapshot.of(settings, index_of(settings))
    settings.apply(RecordChanged.at(SHOP, KIND.name, {"priority": 2}), 2)
    settings.apply(ProjectChanged(name="new"), 3)
    records = list(snapshot.exported(snapshot.entries, EDITOR, readable_only=True))
    assert [(record.scope, record.document) for record in records] == [(SHOP, {"priority": 1})]
    assert [event.name for _, event in snapshot.entities] == ["lab", "shop"]


def test_a_refused_prune_names_the_foreign_scope_in_the_audit_trail_only() -> None:
    at_once(documents.apply(Draft(stored(SHOP)), PRUNE, EDITOR))
    with pytest.raises(Forbidden) as caught:
        at_once(documents.apply(Draft(stored(SHOP, LAB)), PRUNE, EDITOR))
    message = 'User "ci" is not an editor of all records of owner=ml'
    assert str(caught.value) == message
    assert caught.value.scope == "project lab"
