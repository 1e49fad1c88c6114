"""Which scopes a write affects, and what is refused for their sake."""

import itertools
from typing import Any

import pytest

from trimtab import kinds
from trimtab.errors import Invalid
from trimtab.levels import PLATFORM, SETTINGS_FILE, Scope
from trimtab.settings.fold import Record
from trimtab_admin.settings.validity import check, check_deletion

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


def records(**at: Any) -> dict[Scope, Record]:
    """Records of the scopes that the names stand for: ``a``, ``x``, ``ax``, ``platform``."""
    scopes = {
        "platform": PLATFORM,
        "a": Scope(domain="a"),
        "x": Scope(project="x"),
        "ax": Scope("a", "x"),
    }
    return {scopes[name]: Record.of(KIND, scopes[name], 1, value) for name, value in at.items()}


def test_a_document_is_stored_without_its_empty_parts() -> None:
    document = {"limits": {"cpu": "1"}, "defaults": {}, "unset": []}
    assert check(KIND, PLATFORM, {}, document) == {"limits": {"cpu": "1"}}


@pytest.mark.parametrize("changed", ["a", "x"])
def test_a_domain_and_a_project_that_do_not_fit_together_are_refused(changed: str) -> None:
    documents = {"a": {"limits": {"cpu": "1"}}, "x": {"defaults": {"cpu": "2"}}}
    scope = {"a": Scope(domain="a"), "x": Scope(project="x")}[changed]
    stored = records(**{name: value for name, value in documents.items() if name != changed})
    with pytest.raises(Invalid, match="at project-domain x/a") as raised:
        check(KIND, scope, stored, documents[changed])
    assert raised.value.path == "defaults.cpu"


def test_a_project_domain_that_unsets_the_limit_keeps_the_two_apart() -> None:
    stored = records(a={"limits": {"cpu": "1"}}, ax={"unset": ["limits.cpu"]})
    check(KIND, Scope(project="x"), stored, {"defaults": {"cpu": "2"}})


def test_a_deletion_is_judged_by_what_is_left() -> None:
    stored = records(
        platform={"limits": {"cpu": "1"}}, x={"limits": {"cpu": "4"}}, ax={"defaults": {"cpu": "2"}}
    )
    with pytest.raises(Invalid, match="at project-domain x/a"):
        check_deletion(KIND, Scope(project="x"), stored)
    check_deletion(KIND, Scope("a", "x"), stored)


def test_what_is_wrong_already_does_not_stop_a_write_elsewhere() -> None:
    stored = records(ax={"defaults": {"cpu": "2"}, "limits": {"cpu": "1"}})
    check(KIND, PLATFORM, stored, {"limits": {"memory": "1Gi"}})
    with pytest.raises(Invalid):
        check(KIND, PLATFORM, stored, {"ceiling": {"cpu": "1"}})


def test_a_write_sees_every_pair_of_records() -> None:
    documents = ({"limits": {"cpu": "1"}}, {"defaults": {"cpu": "2"}})
    for first, second in itertools.permutations(SCOPES[1:], 2):
        stored = {first: Record.of(KIND, first, 1, documents[0])}
        meet = any(first.covers(target) and second.covers(target) for target in TARGETS)
        if meet:
            with pytest.raises(Invalid):
                check(KIND, second, stored, documents[1])
        else:
            check(KIND, second, stored, documents[1])
