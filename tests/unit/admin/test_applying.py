"""Documents, as far as they are a matter of who asks."""

import pytest

from trimtab import kinds
from trimtab.errors import Forbidden, Unreadable
from trimtab.levels import Scope
from trimtab.messages.events import ProjectChanged
from trimtab.settings.fold import Record
from trimtab.settings.state import Settings
from trimtab_admin.access.rights import ROOT, Caller, Grant, Role
from trimtab_admin.settings import applying
from trimtab_admin.settings.applying import Label
from trimtab_admin.settings.drafts import Draft

SHOP, LAB = Scope(project="shop"), Scope(project="lab")
KIND = kinds.by_name("workflow_priority")
OWNER = Label("owner", "ml")
EDITOR = Caller("ci", (Grant(Role.EDITOR, SHOP),))


def stored(*owned: Scope) -> Settings:
    """A record at each scope, and one that cannot be read."""
    labels = dict([OWNER])
    records = {scope: Record.of(KIND, scope, 1, {"priority": 1}, labels) for scope in owned}
    return Settings(
        projects={name: ProjectChanged(name=name) for name in ("shop", "lab")},
        records={KIND.name: records},
        unreadable={KIND.name: {LAB: "from the future"}},
    )


def test_what_others_cannot_read_is_no_matter_of_an_export_that_leaves_them_out() -> None:
    documents = applying.exported(stored(SHOP), EDITOR, readable_only=False)
    assert [document.project for document in documents] == ["shop"]
    with pytest.raises(Unreadable):
        list(applying.exported(stored(SHOP), ROOT, readable_only=False))


def test_pruning_tells_the_trail_alone_whose_records_it_does_not_reach() -> None:
    applying.fill(Draft(stored(SHOP)), (), OWNER, EDITOR)
    with pytest.raises(Forbidden) as caught:
        applying.fill(Draft(stored(SHOP, LAB)), (), OWNER, EDITOR)
    assert str(caught.value) == "'ci' is no editor of all that is owned by owner=ml"
    assert caught.value.scope == "project lab"
