"""Comparisons are checked against the fold, which shares no code with them."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trimtab import kinds
from trimtab.levels import PLATFORM, SETTINGS_FILE, Scope
from trimtab.settings.fold import Record, fold
from trimtab_admin.settings.comparison import Comparison, Groups
from trimtab_admin.steps import at_once

KIND = kinds.by_name("workflow_execution_config")
SCOPES = [
    SETTINGS_FILE,
    PLATFORM,
    *(Scope(domain=d) for d in "ab"),
    *(Scope(project=p) for p in "xy"),
    *(Scope(d, p) for d in "ab" for p in "xy"),
    *(Scope(d, p, "w") for d in "ab" for p in "xy"),
    *(Scope("a", "x", "w", plan) for plan in "lm"),
]
TARGETS = [
    *SCOPES,
    *(Scope(d, p, w, plan) for d in "abc" for p in "xyz" for w in "wv" for plan in "lmn"),
]
VALUES = st.sampled_from([1, 2])


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw documents in which a scalar and two maps are set, unset or absent."""
    document: dict[str, Any] = {}
    unset = draw(st.sets(st.sampled_from(["max_parallelism", "labels", "labels.a", "envs"])))
    if "max_parallelism" not in unset and draw(st.booleans()):
        document["max_parallelism"] = draw(VALUES)
    if "labels" in unset:
        unset.discard("labels.a")
    # A map may be unset and have keys of its own.
    keys = draw(st.sets(st.sampled_from("ab"))) - ({"a"} if "labels.a" in unset else set())
    if keys:
        document["labels"] = {key: str(draw(VALUES)) for key in sorted(keys)}
    return document | ({"unset": sorted(unset)} if unset else {})


RECORDS = st.dictionaries(st.sampled_from(SCOPES), documents())
# A kind with fields that a record can only narrow. Stored records may unset them nevertheless.
POLICY = kinds.by_name("pod_policy")
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "privileged": st.booleans(),
        "host_path": st.lists(st.sampled_from(["/a", "/a/b", "/c"]), unique=True),
        "service_accounts": st.lists(st.sampled_from("ab"), unique=True),
        "unset": st.just(["host_network"]),
    },
) | st.just({"unset": ["privileged", "service_accounts"]})


def records(documents: dict[Scope, dict[str, Any]], kind: kinds.Kind = KIND) -> dict[Scope, Record]:
    return {at: Record.read(kind, at, 1, value, {}) for at, value in documents.items()}


def groups(stored: dict[Scope, Record]) -> Groups:
    found: tuple[dict[tuple[str, str], list[Scope]], dict[Scope, list[Scope]]] = ({}, {})
    for scope in stored:
        found[0].setdefault((scope.domain, scope.project), []).append(scope)
        if scope.launch_plan:
            found[1].setdefault(scope.chain[-2], []).append(scope)
    return Groups(*found)


def effective(
    target: Scope, stored: dict[Scope, Record], kind: kinds.Kind = KIND
) -> dict[str, Any]:
    return fold(kind, target, [stored[at] for at in target.chain if at in stored]).flat


@given(RECORDS, st.dictionaries(st.sampled_from(SCOPES), st.none() | documents(), min_size=1))
def test_both_sides_equal_the_fold_at_every_target(
    before: dict[Scope, dict[str, Any]], changed: dict[Scope, dict[str, Any] | None]
) -> None:
    stored = records(before)
    edits = {at: records({at: value})[at] if value else None for at, value in changed.items()}
    after = {at: record for at, record in {**stored, **edits}.items() if record is not None}
    comparison = Comparison(KIND, stored, edits)
    for target in TARGETS:
        pair = comparison.at(target)
        assert (pair.before, pair.after) == (effective(target, stored), effective(target, after))
        assert pair.changed == (pair.before != pair.after)


@given(
    st.dictionaries(st.sampled_from(SCOPES), POLICIES),
    st.dictionaries(st.sampled_from(SCOPES), st.none() | POLICIES, min_size=1),
)
def test_both_sides_equal_the_fold_where_a_record_can_only_narrow(
    before: dict[Scope, dict[str, Any]], changed: dict[Scope, dict[str, Any] | None]
) -> None:
    stored = records(before, POLICY)
    new = {at: value for at, value in changed.items() if value is not None}
    edits = {at: records(new, POLICY).get(at) for at in changed}
    after = {at: record for at, record in {**stored, **edits}.items() if record is not None}
    comparison = Comparison(POLICY, stored, edits)
    for target in TARGETS:
        pair = comparison.at(target)
        assert pair.before == effective(target, stored, POLICY)
        assert pair.after == effective(target, after, POLICY)


@given(RECORDS, st.dictionaries(st.sampled_from(SCOPES), documents(), min_size=1, max_size=3))
def test_every_changed_target_has_the_value_of_one_that_is_listed(
    before: dict[Scope, dict[str, Any]], changed: dict[Scope, dict[str, Any]]
) -> None:
    stored = records(before)
    comparison = Comparison(KIND, stored, records(changed), groups(stored))
    listed = [comparison.at(target) for target in at_once(comparison.changed_targets())]
    for target in TARGETS:
        pair = comparison.at(target)
        assert not pair.changed or pair in listed
