"""A narrower scope only narrows, compared with an oracle that shares no code with the fold.

The oracle knows no merged values: it decides of each thing on its own whether every record of the
chain allows it.
"""

from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import kinds
from trimtab.api.settings import KindBody
from trimtab.cli.kinds import kind_from_body
from trimtab.errors import Invalid
from trimtab.kinds import Kind, forms
from trimtab.kinds.narrowing import Narrowing, common
from trimtab.levels import PLATFORM, SETTINGS_FILE, Level, Scope
from trimtab.settings.fold import Effective, Record, Source, fold

TARGET = Scope("development", "alpha", "train", "nightly")
DOMAIN, PROJECT, PROJECT_DOMAIN, WORKFLOW = TARGET.chain[2:6]
BELOW = TARGET.chain[2:]
KIND = kinds.by_name("pod_policy")

Document = dict[str, Any]
Stored = dict[Scope, Document]  # Broadest first.

NAMES = st.lists(st.sampled_from(["a", "b", "c"]), unique=True, max_size=3)
PATHS = ["/", "/a", "/a/b", "/a/b/c", "/ab", "/a/bc", "/d"]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "service_accounts": NAMES,
    "cluster_labels": NAMES,
    "host_path": st.lists(st.sampled_from(PATHS), unique=True, max_size=3),
    "privileged": st.booleans(),
    "host_network": st.booleans(),
}
LISTS = ("service_accounts", "cluster_labels")
THINGS: list[tuple[str, str]] = [
    *((field, name) for field in LISTS for name in "abcd"),
    *(("host_path", path) for path in [*PATHS, "/a/b/c/d", "/x"]),
    ("privileged", ""),
    ("host_network", ""),
]


@st.composite
def documents(draw: st.DrawFn) -> Document:
    document: Document = {}
    unset = []
    for field, values in VALUES.items():
        match draw(st.sampled_from(["absent", "unset", "present", "present"])):
            case "present":
                document[field] = draw(values)
            case "unset":
                unset.append(field)
    return document | ({"unset": unset} if unset else {})


@st.composite
def chains(draw: st.DrawFn) -> Stored:
    return {scope: draw(documents()) for scope in TARGET.chain if draw(st.booleans())}


def folded(stored: Stored, target: Scope = TARGET) -> Effective:
    # Read as stored ones: below the platform, no record that is written may unset a field.
    numbered = enumerate(stored.items(), 1)
    records = [Record.read(KIND, at, number, value, {}) for number, (at, value) in numbered]
    return fold(KIND, target, [record for record in records if record.scope in target.chain])


def allows(field: str, value: Any, thing: str) -> bool:
    if isinstance(value, bool):
        return value
    if field == "host_path":
        return any(PurePosixPath(thing).is_relative_to(prefix) for prefix in value)
    return thing in value


def is_allowed(stored: Stored, field: str, thing: str, target: Scope = TARGET) -> bool:
    """The oracle: the platform, or else the settings file, allows it, and so does each record."""
    chain = [(at, stored[at]) for at in target.chain if at in stored]
    base = None
    for at, document in chain:
        if at.level <= Level.PLATFORM and (field in document or field in document.get("unset", [])):
            base = document.get(field)
    base_allows = field in LISTS if base is None else allows(field, base, thing)
    own = [each[field] for at, each in chain if at.level > Level.PLATFORM and field in each]
    return base_allows and all(allows(field, value, thing) for value in own)


def is_allowed_by(effective: Effective, field: str, thing: str) -> bool:
    """Whether the effective value allows it, where no value stands for the default."""
    value = effective.document.get(field)
    return field in LISTS if value is None else allows(field, value, thing)


@given(chains())
def test_what_is_allowed_is_what_every_record_allows(stored: Stored) -> None:
    effective = folded(stored)
    for field, thing in THINGS:
        assert is_allowed_by(effective, field, thing) == is_allowed(stored, field, thing)


@given(chains())
def test_a_narrower_target_never_allows_more_than_a_broader_one(stored: Stored) -> None:
    for broader in TARGET.chain[1:]:
        above = folded(stored, broader)
        for target in (each for each in TARGET.chain if broader in each.chain):
            effective = folded(stored, target)
            for field, thing in THINGS:
                allowed_above = is_allowed_by(above, field, thing)
                assert allowed_above or not is_allowed_by(effective, field, thing)


@given(chains(), st.sampled_from(BELOW), documents())
def test_no_record_below_the_platform_allows_more_than_there_was_without_it(
    stored: Stored, scope: Scope, document: Document
) -> None:
    without = {at: each for at, each in stored.items() if at != scope}
    both = {
        at: document if at == scope else without[at]
        for at in TARGET.chain
        if at == scope or at in without
    }
    before, after = folded(without), folded(both)
    for field, thing in THINGS:
        assert is_allowed_by(before, field, thing) or not is_allowed_by(after, field, thing)


@given(chains())
def test_the_source_of_a_value_restricts_and_narrower_records_do_not(stored: Stored) -> None:
    effective = folded(stored)
    revisions = {at: number for number, at in enumerate(stored, 1)}
    for field, leaf in effective.leaves.items():
        sources = [leaf.source, *leaf.overrode]
        scopes = [source.scope for source in sources]
        assert scopes == sorted(scopes, key=lambda at: -at.level)
        for source in sources:
            document = stored[source.scope]
            assert source.revision == revisions[source.scope]
            assert (source.value is None) == (field in document.get("unset", []))
        things = [thing for known, thing in THINGS if known == field]
        for at, document in stored.items():
            if at.level > leaf.scope.level and field in document:
                assert all(
                    allows(field, document[field], thing)
                    for thing in things
                    if leaf.value is not None and allows(field, leaf.value, thing)
                )


@given(chains())
def test_storing_the_effective_value_does_not_change_it(stored: Stored) -> None:
    document = folded(stored).document
    again = {**{at: each for at, each in stored.items() if at != TARGET}, TARGET: document}
    effective = folded(again)
    for field, thing in THINGS:
        expected = is_allowed_by(folded(stored), field, thing)
        assert is_allowed_by(effective, field, thing) == expected


def test_the_settings_file_and_the_platform_set_values_freely() -> None:
    stored: Stored = {
        SETTINGS_FILE: {"privileged": False, "service_accounts": ["a"], "host_path": ["/a"]},
        PLATFORM: {"privileged": True, "host_path": ["/d"], "unset": ["service_accounts"]},
    }
    assert folded(stored).document == {"privileged": True, "host_path": ["/d"]}


def test_lists_are_what_two_records_both_allow_with_the_narrower_as_source() -> None:
    stored: Stored = {
        PLATFORM: {"host_path": ["/a", "/d"]},
        DOMAIN: {"service_accounts": ["a", "b"], "host_path": ["/a/b", "/x"]},
        PROJECT: {"service_accounts": ["b", "c"]},
    }
    effective = folded(stored)
    assert effective.document == {"service_accounts": ["b"], "host_path": ["/a/b"]}
    leaf = effective.leaves["service_accounts"]
    assert (leaf.source, leaf.overrode) == (
        Source(PROJECT, 3, ["b"]),
        (Source(DOMAIN, 2, ["a", "b"]),),
    )


def test_a_record_that_restricts_nothing_is_no_source() -> None:
    stored: Stored = {
        PLATFORM: {"privileged": False, "host_path": ["/a"]},
        PROJECT: {"privileged": True, "host_network": True, "host_path": ["/"]},
    }
    effective = folded(stored)
    assert effective.document == {"privileged": False, "host_path": ["/a"]}
    assert {leaf.scope for leaf in effective.leaves.values()} == {PLATFORM}
    assert all(leaf.overrode == () for leaf in effective.leaves.values())


@pytest.mark.parametrize("field", ["service_accounts", "host_path", "cluster_labels"])
def test_an_empty_list_is_a_value_that_allows_nothing(field: str) -> None:
    record = Record.of(KIND, PROJECT, 1, {field: []})
    assert record.document == {field: []}
    effective = folded(
        {PLATFORM: {field: ["/a"] if field == "host_path" else ["a"]}, PROJECT: {field: []}}
    )
    assert effective.document == {field: []}
    assert effective.leaves[field].scope == PROJECT


@pytest.mark.parametrize("field", VALUES)
@pytest.mark.parametrize("scope", BELOW, ids=lambda scope: scope.level.label)
def test_a_record_below_the_platform_cannot_unset_a_field(scope: Scope, field: str) -> None:
    with pytest.raises(Invalid, match=f"{scope.level.label} can only narrow") as refused:
        KIND.parse({"unset": [field]}, scope)
    assert (refused.value.path, refused.value.value) == ("unset", field)
    for broad in (SETTINGS_FILE, PLATFORM):
        assert KIND.parse({"unset": [field]}, broad).unset == (field,)


@pytest.mark.parametrize(
    "path", ["mnt", "./mnt", "/mnt/", "/mnt/../etc", "/mnt/.", "//mnt", "/a//b", "", "/..", "~"]
)
def test_a_prefix_has_to_be_an_absolute_path_in_its_shortest_form(path: str) -> None:
    with pytest.raises(Invalid, match="absolute path"):
        KIND.parse({"host_path": [path]}, PLATFORM)


def test_a_command_line_without_the_kind_keeps_an_empty_list_and_refuses_unset() -> None:
    body = KindBody(
        name="pod_policy",
        noun="pod-policy",
        summary="",
        flyte_number=None,
        levels=("platform", "project"),
        form=forms.of_kind(KIND),
        narrowing=("host_path", "service_accounts"),
        json_schema={},
    )
    kind = kind_from_body(body)
    assert kind.to_document(kind.parse({"host_path": []}, PROJECT)) == {"host_path": []}
    with pytest.raises(Invalid, match="can only narrow"):
        kind.parse({"unset": ["service_accounts"]}, PROJECT)


def test_a_field_that_is_folded_in_parts_cannot_be_narrowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = kinds.by_name("workflow_execution_config")
    wrong = Kind(
        name="wrong",
        value=config.value,
        levels=config.levels,
        noun="wrong",
        summary="",
        narrowing={"labels": Narrowing(common)},
    )
    monkeypatch.setattr(kinds, "_BUILT_IN", (wrong,))
    with pytest.raises(ValueError, match=r"wrong\.labels cannot be narrowed"):
        kinds.registered.__wrapped__()
