"""Documents: what their writer and their reader may do."""

import pytest

from trimtab import kinds
from trimtab.errors import Forbidden, Unreadable
from trimtab.levels import Scope
from trimtab.messages.events import ProjectChanged
from trimtab.settings.fold import Record
from trimtab.settings.state import Settings
from trimtab_admin.access.authorization import ROOT, Caller, Grant, Role
from trimtab_admin.settings import documents
from trimtab_admin.settings.drafts import Draft
from trimtab_admin.settings.requests import ApplyDocuments

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


def test_an_export_fails_only_for_unreadable_records_that_the_caller_may_read() -> None:
    exported = documents.export(stored(SHOP), EDITOR, readable_only=False)
    assert [document.project for document in exported] == ["shop"]
    with pytest.raises(Unreadable):
        list(documents.export(stored(SHOP), ROOT, readable_only=False))


def test_a_refused_prune_names_the_foreign_scope_in_the_audit_trail_only() -> None:
    documents.apply(Draft(stored(SHOP)), PRUNE, EDITOR)
    with pytest.raises(Forbidden) as caught:
        documents.apply(Draft(stored(SHOP, LAB)), PRUNE, EDITOR)
    message = 'User "ci" is not an editor of all records of owner=ml'
    assert str(caught.value) == message
    assert caught.value.scope == "project lab"
