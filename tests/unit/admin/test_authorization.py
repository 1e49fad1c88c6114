"""Roles, scopes and kinds of grants."""

import pytest

from trimtab.errors import Forbidden
from trimtab.levels import PLATFORM, SETTINGS_FILE, Scope
from trimtab.messages.events import DomainChanged, Event, ProjectChanged, RecordChanged
from trimtab.settings.state import Settings
from trimtab_admin.access.authorization import (
    ROOT,
    Caller,
    Grant,
    Requirement,
    Role,
    any_caller,
    platform_admin,
    platform_viewer,
    project_admin,
    project_viewer,
    record_editor,
    record_viewer,
    workflow_viewer,
)

SHOP = Scope(project="shop")
SHOP_DEV = Scope("development", "shop")
NIGHTLY = Scope("development", "shop", "nightly")
PLAN = Scope("development", "shop", "nightly", "late")
LAB = Scope(project="lab")
DEVELOPMENT = Scope("development")
REQUIREMENTS: tuple[Requirement, ...] = (
    any_caller,
    platform_admin,
    platform_viewer,
    project_admin,
    project_viewer,
    record_editor,
    record_viewer,
    workflow_viewer,
)


def caller(role: Role = Role.VIEWER, scope: Scope = PLATFORM, *kinds: str) -> Caller:
    return Caller("ci", (Grant(role, scope, frozenset(kinds)),))


@pytest.mark.parametrize(
    ("granted", "reached", "not_reached"),
    [
        (PLATFORM, [SETTINGS_FILE, PLATFORM, DEVELOPMENT, SHOP, SHOP_DEV, NIGHTLY, PLAN], []),
        (DEVELOPMENT, [DEVELOPMENT, SHOP_DEV, NIGHTLY, PLAN], [PLATFORM, SHOP, SETTINGS_FILE]),
        (SHOP, [SHOP, SHOP_DEV, NIGHTLY, PLAN], [PLATFORM, DEVELOPMENT, LAB, SETTINGS_FILE]),
        (SHOP_DEV, [SHOP_DEV, NIGHTLY, PLAN], [PLATFORM, DEVELOPMENT, SHOP, LAB]),
        (NIGHTLY, [NIGHTLY, PLAN], [SHOP_DEV, Scope("development", "shop", "hourly")]),
        (PLAN, [PLAN], [NIGHTLY, Scope("development", "shop", "nightly", "early")]),
    ],
)
def test_a_grant_reaches_its_scope_and_narrower_ones(
    granted: Scope, reached: list[Scope], not_reached: list[Scope]
) -> None:
    ci = caller(Role.VIEWER, granted)
    assert [scope for scope in reached if not ci.may(Role.VIEWER, scope)] == []
    assert [scope for scope in not_reached if ci.may(Role.VIEWER, scope)] == []


@pytest.mark.parametrize("name", ["shop2", "sho", "Shop", "shop/", "*", "shop "])
def test_a_grant_of_a_project_does_not_reach_similar_names(name: str) -> None:
    for ci in (caller(Role.ADMIN, SHOP), caller(Role.ADMIN, Scope("development", "shop"))):
        assert not ci.may(Role.VIEWER, Scope(project=name))
        assert not ci.may(Role.VIEWER, Scope("development", name))
        assert not ci.may_see_project(name)


def test_a_grant_of_a_kind_does_not_reach_similar_names() -> None:
    ci = caller(Role.EDITOR, PLATFORM, "task_resource")
    for kind in ("Task_Resource", "task_resource2", "task-resource", "", "*"):
        assert not ci.may(Role.VIEWER, PLATFORM, kind)


def test_each_role_includes_the_roles_before_it() -> None:
    allowed = [[caller(role).may(needed) for needed in Role] for role in Role]
    assert allowed == [[True, False, False], [True, True, False], [True, True, True]]


def test_a_grant_for_kinds_reaches_their_records_and_nothing_else() -> None:
    ci = caller(Role.EDITOR, SHOP, "task_resource")
    assert ci.may(Role.EDITOR, SHOP_DEV, "task_resource")
    assert not ci.may(Role.VIEWER, SHOP_DEV, "execution_queue")
    assert not ci.may(Role.VIEWER, SHOP_DEV)


def test_grants_add_up_and_do_not_combine() -> None:
    grants = (Grant(Role.EDITOR, SHOP), Grant(Role.VIEWER, LAB))
    ci = Caller("ci", grants)
    assert ci.may(Role.EDITOR, SHOP)
    assert ci.may(Role.VIEWER, LAB)
    assert not ci.may(Role.EDITOR, LAB)


def test_a_refusal_names_the_caller_the_role_the_scope_and_the_grants() -> None:
    with pytest.raises(Forbidden) as caught:
        caller(Role.VIEWER, SHOP).check(Role.EDITOR, SHOP_DEV, "task_resource")
    assert str(caught.value) == (
        'User "ci" is not an editor of task_resource at project-domain "shop/development"; '
        "granted: viewer of project shop"
    )
    assert caught.value.scope == "project-domain shop/development"


@pytest.mark.parametrize(
    ("user", "allowed"),
    [
        (ROOT, "record project new domain"),
        (caller(Role.ADMIN, SHOP), "record project"),
        (caller(Role.EDITOR, SHOP), "record"),
        (caller(Role.EDITOR, SHOP, "execution_queue"), ""),
        (caller(Role.VIEWER), ""),
        (Caller("nobody", ()), ""),
    ],
)
def test_each_change_of_settings_requires_a_role(user: Caller, allowed: str) -> None:
    settings = Settings(projects={"shop": ProjectChanged(name="shop")})
    changes: dict[str, Event] = {
        "record": RecordChanged.at(SHOP_DEV, "task_resource", {}),
        "project": ProjectChanged(name="shop", state="archived"),
        "new": ProjectChanged(name="shopping"),
        "domain": DomainChanged(name="canary"),
    }
    assert (
        " ".join(name for name in changes if is_allowed(user, settings, changes[name])) == allowed
    )


def is_allowed(user: Caller, settings: Settings, event: Event) -> bool:
    try:
        user.check_change(settings, event)
    except Forbidden:
        return False
    return True


def test_a_project_is_visible_to_callers_that_see_anything_in_it() -> None:
    for scope in (PLATFORM, SHOP, NIGHTLY):
        assert caller(Role.VIEWER, scope).may_see_project("shop")
    assert not caller(Role.ADMIN, LAB).may_see_project("shop")


@pytest.mark.parametrize(
    ("role", "scope", "met"),
    [
        (Role.VIEWER, PLATFORM, [platform_viewer, project_viewer, record_viewer, workflow_viewer]),
        (Role.VIEWER, SHOP_DEV, [project_viewer, record_viewer, workflow_viewer]),
        (Role.VIEWER, NIGHTLY, [project_viewer]),
        (Role.EDITOR, SHOP_DEV, [project_viewer, record_editor, record_viewer, workflow_viewer]),
        (
            Role.ADMIN,
            SHOP,
            [project_admin, project_viewer, record_editor, record_viewer, workflow_viewer],
        ),
        (Role.ADMIN, LAB, []),
        (Role.ADMIN, PLATFORM, list(REQUIREMENTS)),
    ],
)
def test_each_requirement_is_met_by_a_role_at_a_scope(
    role: Role, scope: Scope, met: list[Requirement]
) -> None:
    ci = caller(role, scope)
    found = [requirement for requirement in REQUIREMENTS if is_met(requirement, ci)]
    assert {*found, any_caller} == {*met, any_caller}


PARAMETERS = {"kind": "task_resource", "name": "shop", "project": "shop", "domain": "development"}


def is_met(requirement: Requirement, ci: Caller) -> bool:
    try:
        requirement(ci, PARAMETERS)
    except Forbidden:
        return False
    return True
