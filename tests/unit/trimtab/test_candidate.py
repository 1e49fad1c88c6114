"""Settings that are read from the stream: order, transactions, verification."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from pydantic import ValidationError

from tests.settings_stream import subject_of
from trimtab.errors import Unreadable
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import COMMIT, REVISION, TRACEPARENT, Event, ProjectChanged, Watermark
from trimtab.runtime.bus import StoredMessage
from trimtab.settings import view
from trimtab.settings.state import Settings
from trimtab.settings.view import Candidate, Change
from trimtab.testing import DOMAIN, deleted, record

TraceFunction = Callable[[FrameType, str, Any], Any]


def delivered(
    event: Event, revision: int, commit: int = 0, *, traceparent: str = ""
) -> StoredMessage:
    """Build a change as the relay publishes it; without a commit, a transaction of its own."""
    headers = {REVISION: str(revision), COMMIT: str(commit or revision)}
    if traceparent:
        headers[TRACEPARENT] = traceparent
    return StoredMessage(subject_of(event), revision, headers, event.body(), is_last=False)


def watermark(settings: Settings, *, caught_up: bool = False) -> StoredMessage:
    """Build the watermark of a database that holds these settings."""
    digest = settings.digest
    mark = Watermark(revision=settings.revision, count=digest.count, digest=str(digest))
    return StoredMessage(subjects.WATERMARK, 0, {}, mark.body(), caught_up)


def settings_of(*changes: tuple[Event, int]) -> Settings:
    settings = Settings()
    for event, revision in changes:
        settings.apply(event, revision)
    return settings


def project(name: str) -> ProjectChanged:
    return ProjectChanged(name=name)


A, B, C = project("a"), project("b"), project("c")


def test_a_change_is_shown_with_its_revision_and_trace() -> None:
    candidate = Candidate()
    changes = candidate.apply(delivered(A, 7, traceparent="00-1-2-01"))
    assert changes == [Change(A, 7, "00-1-2-01")]
    assert candidate.settings.projects == {"a": A}
    assert candidate.settings.revision == 7


def test_a_transaction_is_held_back_until_its_commit() -> None:
    candidate = Candidate()
    assert candidate.apply(delivered(A, 1, commit=3)) == []
    assert candidate.apply(delivered(B, 2, commit=3)) == []
    assert candidate.settings.projects == {}
    assert [change.event for change in candidate.apply(delivered(C, 3))] == [A, B, C]
    assert candidate.settings.revision == 3


def test_a_transaction_whose_commit_was_replaced_is_shown_by_its_replacement() -> None:
    # The stream holds row 1 but not row 2, because row 4 has the same subject as row 2.
    candidate = Candidate()
    candidate.apply(delivered(A, 1, commit=2))
    changes = candidate.apply(delivered(B, 4))
    assert [change.revision for change in changes] == [1, 4]


def test_a_transaction_stays_held_back_while_the_previous_one_is_shown() -> None:
    candidate = Candidate()
    candidate.apply(delivered(A, 1, commit=2))
    changes = candidate.apply(delivered(B, 3, commit=4))
    assert [change.event for change in changes] == [A]
    assert list(candidate.settings.projects) == ["a"]


def work(changes: int) -> int:
    """Return how many instructions the candidate needs for one transaction of so many changes."""
    messages = [delivered(project(f"p{n}"), n, commit=changes) for n in range(1, changes + 1)]
    candidate, instructions = Candidate(), 0

    def count(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        nonlocal instructions
        if frame.f_code.co_filename != view.__file__:
            return None
        frame.f_trace_opcodes = True
        instructions += event == "opcode"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        for message in messages:
            candidate.apply(message)
    finally:
        sys.settrace(before)
    assert candidate.settings.revision == changes
    return instructions


def test_the_work_for_a_transaction_grows_as_its_number_of_changes() -> None:
    assert work(400) <= 2 * work(200)


def test_a_transaction_that_was_cut_off_is_shown_by_the_next_one() -> None:
    # The database was restored to revision 1 of a transaction of three, and written again.
    candidate = Candidate()
    candidate.apply(delivered(A, 1, commit=3))
    changes = candidate.apply(delivered(B, 2, commit=2))
    assert [change.event for change in changes] == [A, B]
    assert candidate.settings.revision == 2


def test_a_change_that_is_delivered_again_or_late_changes_nothing() -> None:
    candidate = Candidate()
    newest = record({"limits": {"cpu": "2"}})
    candidate.apply(delivered(newest, 5))
    assert candidate.apply(delivered(newest, 5)) == []
    assert candidate.apply(delivered(record({"limits": {"cpu": "1"}}), 4)) == []
    assert candidate.apply(delivered(deleted(), 3)) == []
    assert candidate.settings.effective("task_resource", DOMAIN).flat == {"limits.cpu": "2"}


def test_a_snapshot_is_verified_by_the_watermark_at_its_end() -> None:
    candidate = Candidate()
    candidate.apply(delivered(A, 1))
    assert not candidate.is_verified
    candidate.apply(watermark(settings_of((A, 1)), caught_up=True))
    assert (candidate.is_verified, candidate.mismatch) == (True, "")


def test_a_watermark_in_the_middle_of_a_snapshot_verifies_it_without_being_equal() -> None:
    # The stream holds A, the watermark of A and an older B, then the newer B.
    candidate = Candidate()
    candidate.apply(delivered(A, 1))
    candidate.apply(watermark(settings_of((A, 1), (B, 2))))
    candidate.apply(delivered(B, 3))
    assert (candidate.is_verified, candidate.mismatch) == (True, "")


def test_a_watermark_that_differs_after_the_snapshot_is_a_mismatch() -> None:
    candidate = Candidate(caught_up=True)
    candidate.apply(delivered(A, 2))
    candidate.apply(watermark(settings_of((A, 1), (B, 2))))
    assert "at revision 2" in candidate.mismatch
    assert not candidate.is_verified


def test_a_watermark_reveals_a_deletion_that_did_not_arrive() -> None:
    candidate = Candidate(caught_up=True)
    candidate.apply(delivered(record(), 1))
    candidate.apply(watermark(settings_of((record(), 1), (deleted(), 2))))
    assert candidate.mismatch


def test_a_watermark_that_is_older_than_the_settings_is_no_mismatch() -> None:
    candidate = Candidate(caught_up=True)
    candidate.apply(delivered(A, 1))
    candidate.apply(delivered(B, 2))
    candidate.apply(watermark(settings_of((A, 1))))
    assert (candidate.is_verified, candidate.mismatch) == (True, "")


def test_a_watermark_inside_a_transaction_is_no_mismatch() -> None:
    candidate = Candidate(caught_up=True)
    candidate.apply(delivered(A, 1, commit=2))
    candidate.apply(watermark(settings_of((A, 1), (B, 2))))
    assert candidate.mismatch == ""
    candidate.apply(delivered(B, 2))
    assert list(candidate.settings.projects) == ["a", "b"]


def test_a_watermark_advances_the_revision_past_changes_that_were_replaced() -> None:
    candidate = Candidate(caught_up=True)
    candidate.apply(delivered(A, 1))
    database = settings_of((A, 1))
    database.revision = 9
    candidate.apply(watermark(database))
    assert candidate.settings.revision == 9


def test_an_empty_database_is_verified_by_its_watermark() -> None:
    candidate = Candidate()
    candidate.apply(watermark(Settings(), caught_up=True))
    assert (candidate.is_verified, candidate.mismatch) == (True, "")


def test_unknown_and_unreadable_records_count_in_the_digest() -> None:
    unknown, unreadable = record({"colour": "red"}, kind="paint"), record({"limits": 5})
    candidate = Candidate(caught_up=True)
    candidate.apply(delivered(unknown, 1))
    candidate.apply(delivered(unreadable, 2))
    candidate.apply(watermark(settings_of((unknown, 1), (unreadable, 2))))
    assert (candidate.is_verified, candidate.mismatch) == (True, "")
    assert candidate.settings.unknown["paint"] == {DOMAIN: unknown}
    with pytest.raises(Unreadable):
        candidate.settings.effective("task_resource", Scope("development", "alpha"))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"headers": {}}, KeyError),
        ({"headers": {REVISION: "newest"}}, ValueError),
        ({"body": b"{}"}, ValidationError),
        ({"body": b""}, ValidationError),
        ({"subject": "trimtab.colours.red"}, KeyError),
    ],
)
def test_a_foreign_message_is_an_error_and_changes_nothing(
    change: dict[str, object], error: type[Exception]
) -> None:
    candidate = Candidate()
    with pytest.raises(error):
        candidate.apply(delivered(A, 1)._replace(**change))  # type: ignore[arg-type]
    assert candidate.apply(delivered(B, 2)) == [Change(B, 2, "")]
    assert list(candidate.settings.projects) == ["b"]
