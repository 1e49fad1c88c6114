"""Validity: a change is rejected where the effective value of any target would be wrong."""

import itertools
from typing import Any

import pytest

from trimtab import kinds
from trimtab.errors import Invalid
from trimtab.levels import PLATFORM, SETTINGS_FILE, Scope
from trimtab.messages import subjects
from trimtab.messages.events import DomainChanged, ProjectChanged, RecordChanged
from trimtab.settings.state import Settings
from trimtab_admin import steps
from trimtab_admin.settings.drafts import Draft
from trimtab_admin.settings.preconditions import AnyVersion
from trimtab_admin.settings.requests import DeleteRecord, PutRecord

KIND = kinds.by_name("task_resource")
SCOPES = [
    SETTINGS_FILE,
    PLATFORM,
    *(Scope(domain=d) for d in "ab"),
    *(Scope(project=p) for p in "xy"),
    *(Scope(d, p) for d in "ab" for p in "xy"),
    *(Scope(d, p, "w") for d in "ab" for p in "xy"),
    *(Scope("a", "x", "w", plan) for plan in "lm"),
]
TARGETS = [Scope(d, p, w, plan) for d in "abc" for p in "xyz" for w in "wv" for plan in "lmn"]


NAMED = {
    "platform": PLATFORM,
    "a": Scope(domain="a"),
    "x": Scope(project="x"),
    "ax": Scope("a", "x"),
}


def settings(stored: dict[Scope, Any]) -> Settings:
    """Return settings with these documents, and with every domain and project of `SCOPES`."""
    settings = Settings()
    for name in "ab":
        settings.apply(DomainChanged(name=name), 1)
    for name in "xy":
        settings.apply(ProjectChanged(name=name), 1)
    for scope, document in stored.items():
        settings.apply(RecordChanged.at(scope, KIND.name, document), 2)
    return settings


def named(**documents: Any) -> Settings:
    """Return settings with a document at each scope of `NAMED` that is given."""
    return settings({NAMED[name]: document for name, document in documents.items()})


def check_put(stored: Settings, scope: Scope, document: Any) -> Any:
    """Return the document that would be stored. Raises `Invalid`."""
    draft = Draft(stored)
    draft.put(PutRecord(KIND, scope, document, AnyVersion()))
    steps.at_once(draft.check())
    [edit] = draft.records.values()
    assert edit.after is not None
    return edit.after.document


def check_deletion(stored: Settings, scope: Scope) -> None:
    """Raise `Invalid` where the record may not be deleted."""
    assert stored.digest.revision_of(subjects.attributes(KIND.name, scope)) is not None
    draft = Draft(stored)
    draft.delete(DeleteRecord(KIND, scope, AnyVersion()))
    steps.at_once(draft.check())


def test_a_document_is_stored_without_its_empty_parts() -> None:
    document = {"limits": {"cpu": "1"}, "defaults": {}, "unset": []}
    assert check_put(settings({}), PLATFORM, document) == {"limits": {"cpu": "1"}}


@pytest.mark.parametrize("changed", ["a", "x"])
def test_a_domain_and_a_project_that_contradict_each_other_are_rejected(changed: str) -> None:
    documents = {"a": {"limits": {"cpu": "1"}}, "x": {"defaults": {"cpu": "2"}}}
    scope = {"a": Scope(domain="a"), "x": Scope(project="x")}[changed]
    stored = named(**{name: value for name, value in documents.items() if name != changed})
    with pytest.raises(Invalid, match="at project-domain x/a") as raised:
        check_put(stored, scope, documents[changed])
    assert raised.value.path == "defaults.cpu"


def test_a_project_domain_that_unsets_the_limit_resolves_the_contradiction() -> None:
    stored = named(a={"limits": {"cpu": "1"}}, ax={"unset": ["limits.cpu"]})
    check_put(stored, Scope(project="x"), {"defaults": {"cpu": "2"}})


def test_a_deletion_is_judged_by_the_records_that_remain() -> None:
    stored = named(
        platform={"limits": {"cpu": "1"}}, x={"limits": {"cpu": "4"}}, ax={"defaults": {"cpu": "2"}}
    )
    with pytest.raises(Invalid, match="at project-domain x/a"):
        check_deletion(stored, Scope(project="x"))
    check_deletion(stored, Scope("a", "x"))


def test_an_existing_violation_does_not_stop_a_write_elsewhere() -> None:
    stored = named(ax={"defaults": {"cpu": "2"}, "limits": {"cpu": "1"}})
    check_put(stored, PLATFORM, {"limits": {"memory": "1Gi"}})
    with pytest.raises(Invalid):
        check_put(stored, PLATFORM, {"ceiling": {"cpu": "1"}})


def test_a_write_is_compared_with_each_record_that_shares_a_target() -> None:
    documents = ({"limits": {"cpu": "1"}}, {"defaults": {"cpu": "2"}})
    for first, second in itertools.permutations(SCOPES[1:], 2):
        stored = settings({first: documents[0]})
        meet = any(first.covers(target) and second.covers(target) for target in TARGETS)
        if meet:
            with pytest.raises(Invalid):
                check_put(stored, second, documents[1])
        else:
            check_put(stored, second, documents[1])
