"""Overlays: settings with changes that are not committed equal those with the changes applied."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trimtab import kinds
from trimtab.levels import PLATFORM, Scope
from trimtab.messages import subjects
from trimtab.messages.events import Event, PoolChanged, ProjectChanged, RecordChanged
from trimtab.settings.fold import Record
from trimtab.settings.state import Settings
from trimtab_admin import steps
from trimtab_admin.settings.drafts import RecordEdit
from trimtab_admin.steps import Steps
from trimtab_admin.storage.overlays import copy, on_top_of

KIND = "workflow_priority"
SCOPES = [
    PLATFORM,
    Scope("dev"),
    Scope("dev", "shop"),
    Scope("dev", "shop", "w"),
    Scope("dev", "shop", "w", "plan"),
]


def record(scope: Scope, priority: int | None, kind: str) -> RecordChanged:
    return RecordChanged.at(scope, kind, None if priority is None else {"priority": priority})


EVENTS = st.one_of(
    st.builds(
        record,
        st.sampled_from(SCOPES),
        # 0 is not readable.
        st.sampled_from([None, 0, 1, 2]),
        st.sampled_from([KIND, "unknown_kind"]),
    ),
    st.builds(ProjectChanged, name=st.sampled_from("ab"), deleted=st.booleans()),
    st.builds(PoolChanged, name=st.sampled_from("ab"), deleted=st.booleans()),
)
SUBJECTS = [
    *(subjects.attributes(kind, scope) for kind in (KIND, "unknown_kind") for scope in SCOPES),
    *(subject(name) for subject in (subjects.project, subjects.pool) for name in "ab"),
]


def with_changes(settings: Settings, events: Sequence[Event]) -> Settings:
    for event in events:
        settings.apply(event, settings.revision + 1)
    return settings


def facts(settings: Settings) -> dict[str, Any]:
    """Return everything that a draft may read, without what is empty."""
    families = ("records", "unreadable", "unknown")
    by_kind = {name: getattr(settings, name).items() for name in families}
    groups = ("by_project_domain", "launch_plans")
    return {
        **{name: {k: dict(at) for k, at in found if at} for name, found in by_kind.items()},
        **{
            name: {
                kind: {where: dict(at) for where, at in found.items() if at}
                for kind, found in getattr(settings, name).items()
                if any(found.values())
            }
            for name in groups
        },
        "projects": dict(settings.projects),
        "pools": dict(settings.pools),
        "revision": settings.revision,
        "revisions": {subject: settings.digest.revision_of(subject) for subject in SUBJECTS},
    }


@given(st.lists(EVENTS, max_size=8), st.lists(EVENTS, max_size=8))
def test_changes_on_top_have_the_same_effect_and_leave_what_is_below(
    committed: list[Event], pending: list[Event]
) -> None:
    below = with_changes(Settings(), committed)
    before = facts(below)
    overlaid = with_changes(on_top_of(below), pending)
    assert facts(below) == before
    assert facts(overlaid) == facts(with_changes(Settings(), [*committed, *pending]))


@given(st.lists(EVENTS, max_size=8), st.lists(EVENTS, max_size=8))
def test_a_copy_and_its_original_change_on_their_own(
    committed: list[Event], later: list[Event]
) -> None:
    original = with_changes(Settings(), committed)
    before = facts(original)
    copied = steps.at_once(copy(original))
    assert (facts(copied), str(copied.digest)) == (before, str(original.digest))
    with_changes(copied, later)
    assert facts(original) == before
    with_changes(original, later)
    assert (facts(copied), str(copied.digest)) == (facts(original), str(original.digest))


@given(st.lists(EVENTS, max_size=8), st.lists(EVENTS, max_size=8), st.integers(0, 10))
def test_a_change_during_a_pause_of_the_copy_may_be_applied_to_it_afterwards(
    committed: list[Event], later: list[Event], pauses: int
) -> None:
    original = with_changes(Settings(), committed)
    first = original.revision + 1

    def copy_around_changes() -> Steps[Settings]:
        copying = copy(original)
        yield from islice(copying, pauses)
        with_changes(original, later)
        return (yield from copying)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "SIZE", 1)
        assume(pauses < sum(1 for _ in copy(original)))
        copied = steps.at_once(copy_around_changes())
    for revision, event in enumerate(later, first):
        copied.apply(event, revision)
    assert (facts(copied), str(copied.digest)) == (facts(original), str(original.digest))


WIRE = Path(__file__).parents[1] / "trimtab" / "wire"
GOLDEN = sorted({*WIRE.glob("record_changed.*.json")} - {WIRE / "record_changed.deleted.json"})


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_record_that_was_parsed_equals_the_one_that_is_read_back(path: Path) -> None:
    golden = RecordChanged.model_validate_json(path.read_bytes())
    assert golden.document is not None
    kind, scope = kinds.by_name(golden.kind), golden.scope
    after = replace(Record.of(kind, scope, 0, golden.document), labels={"owner": "me"})
    event = RecordEdit(kind, scope, None, None, after).event()
    known, parsed = Settings(), Settings()
    known.apply(event, 7, after)
    parsed.apply(RecordChanged.model_validate_json(event.body()), 7)
    assert known.records == parsed.records != {}
    assert facts(known) == facts(parsed)
