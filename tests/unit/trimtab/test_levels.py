"""The order of levels, the chain of a scope, and the join of two scopes."""

import pytest
from hypothesis import given

from tests.unit.trimtab.strategies import scopes
from trimtab.errors import Invalid
from trimtab.levels import PLATFORM, SETTINGS_FILE, Level, Scope

LAUNCH_PLAN = Scope("development", "alpha", "train", "nightly")


def test_levels_are_ordered_from_the_broadest_to_the_narrowest() -> None:
    assert [level.label for level in sorted(Level)] == [
        "settings",
        "platform",
        "domain",
        "project",
        "project-domain",
        "workflow",
        "launch-plan",
    ]


def test_a_launch_plan_has_one_scope_of_every_level_in_its_chain() -> None:
    assert LAUNCH_PLAN.chain == (
        SETTINGS_FILE,
        PLATFORM,
        Scope(domain="development"),
        Scope(project="alpha"),
        Scope("development", "alpha"),
        Scope("development", "alpha", "train"),
        LAUNCH_PLAN,
    )


@pytest.mark.parametrize(
    ("scope", "text"),
    [
        (SETTINGS_FILE, "settings"),
        (PLATFORM, "platform"),
        (Scope(domain="development"), "domain development"),
        (Scope(project="alpha"), "project alpha"),
        (Scope("development", "alpha"), "project-domain alpha/development"),
        (LAUNCH_PLAN, "launch-plan alpha/development/train/nightly"),
    ],
)
def test_the_text_of_a_scope_is_its_level_and_its_parts(scope: Scope, text: str) -> None:
    assert str(scope) == text


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        ({"workflow": "train"}, "project"),
        ({"workflow": "train", "project": "alpha"}, "domain"),
        ({"workflow": "train", "domain": "development"}, "project"),
        ({"launch_plan": "nightly"}, "workflow"),
        ({"launch_plan": "n", "domain": "development", "project": "alpha"}, "workflow"),
        ({"settings_file": True, "domain": "development"}, "scope"),
    ],
)
def test_parts_that_are_no_level_are_refused_with_the_missing_part(
    parts: dict[str, str], path: str
) -> None:
    with pytest.raises(Invalid) as refused:
        Scope(**parts)  # type: ignore[arg-type]  # one of them is a bool
    assert refused.value.path == path


@given(scopes)
def test_a_chain_narrows_strictly_and_ends_with_its_target(scope: Scope) -> None:
    levels = [each.level for each in scope.chain]
    assert levels == sorted(set(levels))
    assert scope.chain[-1] == scope


@given(scopes, scopes)
def test_the_chain_of_a_scope_is_part_of_the_chain_of_each_scope_it_covers(
    broad: Scope, narrow: Scope
) -> None:
    if broad.covers(narrow):
        assert [scope for scope in narrow.chain if scope in broad.chain] == list(broad.chain)


@given(scopes, scopes, scopes)
def test_the_join_is_the_broadest_target_that_both_apply_to(
    one: Scope, other: Scope, target: Scope
) -> None:
    joined = one.join(other)
    both_apply = one.covers(target) and other.covers(target)
    assert both_apply == (joined is not None and joined.covers(target))


@given(scopes, scopes)
def test_the_order_of_a_join_does_not_matter(one: Scope, other: Scope) -> None:
    assert one.join(other) == other.join(one)
    assert one.join(one) == one


def test_scopes_that_never_apply_together_have_no_join() -> None:
    assert Scope(domain="development").join(Scope("production", "alpha")) is None
    assert Scope("d", "p", "one").join(Scope("d", "p", "two")) is None
    assert Scope(domain="d").join(Scope(project="p")) == Scope("d", "p")
