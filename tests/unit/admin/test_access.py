"""Roles, prefixes and kinds."""

import pytest

from trimtab.errors import Forbidden
from trimtab.levels import PLATFORM, SETTINGS_FILE, Scope
from trimtab.messages.events import DomainChanged, Event, ProjectChanged, RecordChanged
from trimtab.settings.state import Settings
from trimtab_admin.access.rights import ROOT, Caller, Grant, Role

SHOP = Scope(project="shop")
SHOP_DEV = Scope("development", "shop")
NIGHTLY = Scope("development", "shop", "nightly")
PLAN = Scope("development", "shop", "nightly", "late")
LAB = Scope(project="lab")
DEVELOPMENT = Scope("development")


def caller(role: Role = Role.VIEWER, scope: Scope = PLATFORM, *kinds: str) -> Caller:
    return Caller("ci", (Grant(role, scope, frozenset(kinds)),))


@pytest.mark.parametrize(
    ("prefix", "reached", "not_reached"),
    [
        (PLATFORM, [SETTINGS_FILE, PLATFORM, DEVELOPMENT, SHOP, SHOP_DEV, NIGHTLY, PLAN], []),
        (DEVELOPMENT, [DEVELOPMENT, SHOP_DEV, NIGHTLY, PLAN], [PLATFORM, SHOP, SETTINGS_FILE]),
        (SHOP, [SHOP, SHOP_DEV, NIGHTLY, PLAN], [PLATFORM, DEVELOPMENT, LAB, SETTINGS_FILE]),
        (SHOP_DEV, [SHOP_DEV, NIGHTLY, PLAN], [PLATFORM, DEVELOPMENT, SHOP, LAB]),
        (NIGHTLY, [NIGHTLY, PLAN], [SHOP_DEV, Scope("development", "shop", "hourly")]),
        (PLAN, [PLAN], [NIGHTLY, Scope("development", "shop", "nightly", "early")]),
    ],
)
def test_a_grant_reaches_what_lies_at_its_scope_and_below(
    prefix: Scope, reached: list[Scope], not_reached: list[Scope]
) -> None:
    known = caller(Role.VIEWER, prefix)
    assert [scope for scope in reached if not known.may(Role.VIEWER, scope)] == []
    assert [scope for scope in not_reached if known.may(Role.VIEWER, scope)] == []


@pytest.mark.parametrize("name", ["shop2", "sho", "Shop", "shop/", "*", "shop "])
def test_a_prefix_of_scopes_is_no_prefix_of_a_name(name: str) -> None:
    for known in (caller(Role.ADMIN, SHOP), caller(Role.ADMIN, Scope("development", "shop"))):
        assert not known.may(Role.VIEWER, Scope(project=name))
        assert not known.may(Role.VIEWER, Scope("development", name))
        assert not known.knows(name)


def test_a_kind_is_itself_and_no_other_spelling() -> None:
    known = caller(Role.EDITOR, PLATFORM, "task_resource")
    for kind in ("Task_Resource", "task_resource2", "task-resource", "", "*"):
        assert not known.may(Role.VIEWER, PLATFORM, kind)


def test_each_role_may_what_those_before_it_may() -> None:
    allowed = [[caller(role).may(needed) for needed in Role] for role in Role]
    assert allowed == [[True, False, False], [True, True, False], [True, True, True]]


def test_a_grant_for_kinds_is_for_their_records_and_for_nothing_else() -> None:
    known = caller(Role.EDITOR, SHOP, "task_resource")
    assert known.may(Role.EDITOR, SHOP_DEV, "task_resource")
    assert not known.may(Role.VIEWER, SHOP_DEV, "execution_queue")
    assert not known.may(Role.VIEWER, SHOP_DEV)


def test_grants_add_up_and_do_not_mix() -> None:
    grants = (Grant(Role.EDITOR, SHOP), Grant(Role.VIEWER, LAB))
    known = Caller("ci", grants)
    assert known.may(Role.EDITOR, SHOP)
    assert known.may(Role.VIEWER, LAB)
    assert not known.may(Role.EDITOR, LAB)


def test_a_refusal_says_who_what_where_and_what_was_granted() -> None:
    with pytest.raises(Forbidden) as caught:
        caller(Role.VIEWER, SHOP).check(Role.EDITOR, SHOP_DEV, "task_resource")
    assert str(caught.value) == (
        "'ci' is no editor of task_resource at project-domain shop/development; "
        "granted: viewer of project shop"
    )
    assert caught.value.scope == "project-domain shop/development"


@pytest.mark.parametrize(
    ("known", "allowed"),
    [
        (ROOT, "record project new domain"),
        (caller(Role.ADMIN, SHOP), "record project"),
        (caller(Role.EDITOR, SHOP), "record"),
        (caller(Role.EDITOR, SHOP, "execution_queue"), ""),
        (caller(Role.VIEWER), ""),
        (Caller("nobody", ()), ""),
    ],
)
def test_a_change_of_settings_needs_its_role(known: Caller, allowed: str) -> None:
    settings = Settings(projects={"shop": ProjectChanged(name="shop")})
    changes: dict[str, Event] = {
        "record": RecordChanged.at(SHOP_DEV, "task_resource", {}),
        "project": ProjectChanged(name="shop", state="archived"),
        "new": ProjectChanged(name="shopping"),
        "domain": DomainChanged(name="canary"),
    }
    assert " ".join(name for name in changes if passes(known, settings, changes[name])) == allowed


def passes(known: Caller, settings: Settings, event: Event) -> bool:
    try:
        known.check_change(settings, event)
    except Forbidden:
        return False
    return True


def test_a_project_is_known_to_who_sees_anything_in_it() -> None:
    assert [caller(Role.VIEWER, scope).knows("shop") for scope in (PLATFORM, SHOP, NIGHTLY)] == [
        True,
        True,
        True,
    ]
    assert not caller(Role.ADMIN, LAB).knows("shop")
