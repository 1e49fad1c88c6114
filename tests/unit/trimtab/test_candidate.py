"""Settings being read from the stream: order, transactions, proof. All without a server."""

import pytest
from pydantic import ValidationError

from tests.settings_stream import subject_of
from trimtab.errors import Unreadable
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import COMMIT, REVISION, TRACEPARENT, Event, ProjectChanged, Watermark
from trimtab.runtime.bus import StoredMessage
from trimtab.settings.state import Settings
from trimtab.settings.view import Candidate, Change
from trimtab.testing import DOMAIN, deleted, record


def delivered(
    event: Event, revision: int, commit: int = 0, *, traceparent: str = ""
) -> StoredMessage:
    """A change as the relay publishes it; without a commit, a transaction of its own."""
    headers = {REVISION: str(revision), COMMIT: str(commit or revision)}
    if traceparent:
        headers[TRACEPARENT] = traceparent
    return StoredMessage(subject_of(event), revision, headers, event.body(), is_last=False)


def watermark(settings: Settings, *, caught_up: bool = False) -> StoredMessage:
    """The watermark of what the database holds."""
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
    changes = candidate.take(delivered(A, 7, traceparent="00-1-2-01"))
    assert changes == [Change(A, 7, "00-1-2-01")]
    assert candidate.settings.projects == {"a": A}
    assert candidate.settings.revision == 7


def test_a_transaction_is_held_back_until_its_commit() -> None:
    candidate = Candidate()
    assert candidate.take(delivered(A, 1, commit=3)) == []
    assert candidate.take(delivered(B, 2, commit=3)) == []
    assert candidate.settings.projects == {}
    assert [change.event for change in candidate.take(delivered(C, 3))] == [A, B, C]
    assert candidate.settings.revision == 3


def test_a_transaction_whose_commit_was_replaced_is_shown_by_what_replaced_it() -> None:
    # Of the rows 1 and 2 the stream keeps only the first: row 4 has the subject of the second.
    candidate = Candidate()
    candidate.take(delivered(A, 1, commit=2))
    changes = candidate.take(delivered(B, 4))
    assert [change.revision for change in changes] == [1, 4]


def test_a_transaction_stays_held_back_while_the_one_before_is_shown() -> None:
    candidate = Candidate()
    candidate.take(delivered(A, 1, commit=2))
    changes = candidate.take(delivered(B, 3, commit=4))
    assert [change.event for change in changes] == [A]
    assert list(candidate.settings.projects) == ["a"]


def test_what_is_delivered_again_or_late_changes_nothing() -> None:
    candidate = Candidate()
    newest = record({"limits": {"cpu": "2"}})
    candidate.take(delivered(newest, 5))
    assert candidate.take(delivered(newest, 5)) == []
    assert candidate.take(delivered(record({"limits": {"cpu": "1"}}), 4)) == []
    assert candidate.take(delivered(deleted(), 3)) == []
    assert candidate.settings.effective("task_resource", DOMAIN).flat == {"limits.cpu": "2"}


def test_a_snapshot_is_proved_by_the_watermark_at_its_end() -> None:
    candidate = Candidate()
    candidate.take(delivered(A, 1))
    assert not candidate.proved
    candidate.take(watermark(settings_of((A, 1)), caught_up=True))
    assert (candidate.proved, candidate.wrong) == (True, "")


def test_a_watermark_in_the_middle_of_a_snapshot_proves_it_without_being_equal() -> None:
    # The stream keeps A, the watermark of A and an older B, then the newer B.
    candidate = Candidate()
    candidate.take(delivered(A, 1))
    candidate.take(watermark(settings_of((A, 1), (B, 2))))
    candidate.take(delivered(B, 3))
    assert (candidate.proved, candidate.wrong) == (True, "")


def test_a_watermark_that_differs_after_the_snapshot_means_to_start_over() -> None:
    candidate = Candidate(caught_up=True)
    candidate.take(delivered(A, 2))
    candidate.take(watermark(settings_of((A, 1), (B, 2))))
    assert "at revision 2" in candidate.wrong
    assert not candidate.proved


def test_a_watermark_finds_a_deletion_that_was_missed() -> None:
    candidate = Candidate(caught_up=True)
    candidate.take(delivered(record(), 1))
    candidate.take(watermark(settings_of((record(), 1), (deleted(), 2))))
    assert candidate.wrong


def test_a_watermark_that_is_older_than_what_is_held_is_no_contradiction() -> None:
    candidate = Candidate(caught_up=True)
    candidate.take(delivered(A, 1))
    candidate.take(delivered(B, 2))
    candidate.take(watermark(settings_of((A, 1))))
    assert (candidate.proved, candidate.wrong) == (True, "")


def test_a_watermark_inside_a_transaction_is_no_contradiction() -> None:
    candidate = Candidate(caught_up=True)
    candidate.take(delivered(A, 1, commit=2))
    candidate.take(watermark(settings_of((A, 1), (B, 2))))
    assert candidate.wrong == ""
    candidate.take(delivered(B, 2))
    assert list(candidate.settings.projects) == ["a", "b"]


def test_a_watermark_moves_the_revision_past_changes_that_left_no_trace() -> None:
    candidate = Candidate(caught_up=True)
    candidate.take(delivered(A, 1))
    database = settings_of((A, 1))
    database.revision = 9
    candidate.take(watermark(database))
    assert candidate.settings.revision == 9


def test_an_empty_database_is_proved_by_its_watermark() -> None:
    candidate = Candidate()
    candidate.take(watermark(Settings(), caught_up=True))
    assert (candidate.proved, candidate.wrong) == (True, "")


def test_records_of_unknown_kinds_and_unreadable_ones_count_in_the_proof() -> None:
    unknown, unreadable = record({"colour": "red"}, kind="paint"), record({"limits": 5})
    candidate = Candidate(caught_up=True)
    candidate.take(delivered(unknown, 1))
    candidate.take(delivered(unreadable, 2))
    candidate.take(watermark(settings_of((unknown, 1), (unreadable, 2))))
    assert (candidate.proved, candidate.wrong) == (True, "")
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
def test_what_is_no_message_of_the_relay_is_an_error_and_changes_nothing(
    change: dict[str, object], error: type[Exception]
) -> None:
    candidate = Candidate()
    with pytest.raises(error):
        candidate.take(delivered(A, 1)._replace(**change))  # type: ignore[arg-type]
    assert candidate.take(delivered(B, 2)) == [Change(B, 2, "")]
    assert list(candidate.settings.projects) == ["b"]
