"""Settings that are read from the stream: order, transactions, verification."""

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.settings_stream import contents
from trimtab.errors import Unreadable
from trimtab.levels import Scope
from trimtab.messages import parsing, subjects
from trimtab.messages.events import (
    COMMIT,
    EVENT_ID,
    EVENT_TYPE,
    REVISION,
    TRACEPARENT,
    Event,
    LaterChange,
    PoolChanged,
    ProjectChanged,
    Watermark,
    settings_subject,
)
from trimtab.messages.parsing import Foreign
from trimtab.runtime.bus import StoredMessage
from trimtab.settings import view
from trimtab.settings.state import Digest, Settings
from trimtab.settings.view import Candidate, Change
from trimtab.testing import DOMAIN, deleted, record

HEADERS = {EVENT_ID: "1", "ce-specversion": "1.0", "ce-source": "trimtab"}
"""The headers of every event."""
TraceFunction = Callable[[FrameType, str, Any], Any]


def delivered(
    event: Event, revision: int, commit: int = 0, *, traceparent: str = ""
) -> StoredMessage:
    """Build a change as the relay publishes it; without a commit, a transaction of its own."""
    headers: dict[str, str] = {**HEADERS, EVENT_TYPE: event.event_type}
    headers |= {REVISION: str(revision), COMMIT: str(commit or revision)}
    if traceparent:
        headers[TRACEPARENT] = traceparent
    return StoredMessage(settings_subject(event), revision, headers, event.body(), is_last=False)


def watermark(settings: Settings, *, caught_up: bool = False) -> StoredMessage:
    """Build the watermark of a database that holds these settings."""
    digest = settings.digest
    mark = Watermark(revision=settings.revision, count=digest.count, digest=str(digest))
    headers = {**HEADERS, EVENT_TYPE: mark.event_type}
    return StoredMessage(subjects.WATERMARK, 0, headers, mark.body(), caught_up)


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


def test_a_change_of_a_later_type_is_kept_as_it_is_though_it_reads_like_one_of_this_release() -> (
    None
):
    later = delivered(A, 7)
    later.headers[EVENT_TYPE] = "trimtab.project_changed.v2"
    [change] = Candidate().apply(later)
    subject, text = settings_subject(A), A.body().decode()
    assert change.event == LaterChange(subject=subject, type=later.headers[EVENT_TYPE], text=text)


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


PAINT = "trimtab.paints.red"
"""The subject of a family that only a later release knows."""


def later(
    body: Mapping[str, object], revision: int, *, subject: str = PAINT, type_: str = ""
) -> StoredMessage:
    """Build a change as the relay of a later release publishes it."""
    message = delivered(A, revision)
    headers = {**message.headers, EVENT_TYPE: type_ or "trimtab.paint_changed.v1"}
    return message._replace(subject=subject, headers=headers, body=json.dumps(body).encode())


def test_a_family_of_a_later_release_is_kept_as_it_is_and_counts_in_the_digest() -> None:
    candidate, database = Candidate(caught_up=True), Digest()
    candidate.apply(later({"shade": "dark"}, 1))
    database.put(PAINT, 1)
    assert str(candidate.settings.digest) == str(database)
    kept = candidate.settings.later[PAINT]
    assert (json.loads(kept.body()), kept.event_type) == (
        {"shade": "dark"},
        "trimtab.paint_changed.v1",
    )
    candidate.apply(later({"deleted": True}, 2))
    assert (candidate.settings.digest.count, candidate.settings.later) == (0, {})


@pytest.mark.parametrize(
    ("subject", "type_", "body"),
    [
        (subjects.project("a"), "trimtab.project_changed.v1", {"name": "a", "state": "frozen"}),
        (subjects.project("a"), "trimtab.project_changed.v2", {"title": "A"}),
        (subjects.pool("a"), "trimtab.pool_changed.v1", {"name": "a", "quota": {"cpu": 5}}),
    ],
)
def test_an_entity_that_a_later_release_wrote_counts_and_is_not_the_former_one(
    subject: str, type_: str, body: dict[str, object]
) -> None:
    candidate = Candidate()
    candidate.apply(delivered(A, 1))
    candidate.apply(delivered(PoolChanged(name="a"), 2))
    candidate.apply(delivered(PoolChanged(name="*", quota=7), 3))
    candidate.apply(later(body, 4, subject=subject, type_=type_))
    settings = candidate.settings
    assert settings.digest.revision_of(subject) == 4
    assert len({*settings.projects, *settings.pools}) == 2  # the other one, and the pool *
    if "pools" in subject:
        with pytest.raises(Unreadable):
            settings.pool("a")
    candidate.apply(delivered(A, 5))
    candidate.apply(delivered(PoolChanged(name="a"), 6))
    assert (settings.projects["a"], settings.pool("a").quota, settings.later) == (A, 1, {})


def test_a_record_that_a_later_release_wrote_is_unreadable_until_it_is_deleted() -> None:
    candidate, subject = Candidate(), subjects.attributes("task_resource", DOMAIN)
    candidate.apply(delivered(record(), 1))
    type_ = "trimtab.record_changed.v2"
    candidate.apply(later({"layers": []}, 2, subject=subject, type_=type_))
    with pytest.raises(Unreadable, match="a later release"):
        candidate.settings.effective("task_resource", DOMAIN)
    candidate.apply(later({"document": None}, 3, subject=subject, type_=type_))
    assert candidate.settings.effective("task_resource", DOMAIN).flat == {}
    assert candidate.settings.digest.count == 0


NOT_OURS: list[dict[str, object]] = [
    {"headers": {}},
    {"headers": {REVISION: "1", COMMIT: "1"}},
    *[
        {"headers": {**delivered(A, 1).headers, name: value}}
        for name, value in [
            (REVISION, "newest"),
            (REVISION, "-1"),
            (REVISION, "0"),
            (REVISION, "1_0"),
            (REVISION, " 1"),
            (REVISION, "\u0661"),
            (REVISION, "1e3"),
            (REVISION, "NaN"),
            (REVISION, "9" * 5000),
            (REVISION, "2"),
            (COMMIT, "0"),
            (COMMIT, ""),
            (EVENT_ID, ""),
            (EVENT_TYPE, "project_changed"),
            (EVENT_TYPE, "trimtab.project_changed.v1\n"),
            ("ce-source", "other"),
            ("ce-specversion", "0.3"),
        ]
    ],
    *[
        {"body": body}
        for body in (
            *(b"", b"{}", b"[]", b"null", b"\xff", b'{"name": "a"', b"[" * 5000, b"9" * 5000),
            *(b'{"name": "b"}', b'{"name": 5}', b'{"name": "b", "state": "frozen"}', b"NaN"),
            *(b'{"name": "a", "deleted": "\\ud800"}', B.body(), record().body()),
        )
    ],
    *[
        {"subject": subject}
        for subject in (
            *("trimtab", "trimtab.projects", "trimtab.projects.a.b", "trimtab.projects.=61"),
            *("trimtab.projects.", "trimtab.projects.-", "other.projects.a", "trimtab.PAINTS.a"),
            *("trimtab.attributes.hello", "trimtab.attributes.task_resource.-.-.-.-.-"),
            *("trimtab.attributes.task_resource.-.-.w.-", "trimtab.paints.=zz", "trimtab.paints"),
            *("trimtab.prunes.a", "trimtab.prunes.a.b.c", "trimtab.prunes.a.=62"),
            *("trimtab.settings.other", "trimtab.paints." + "x" * 2048, "trimtab.paints.~"),
        )
    ],
    {
        "subject": "trimtab.attributes.task_resource.-.-.w.-",
        "headers": delivered(record(), 1).headers,
        "body": b'{"kind": "task_resource", "workflow": "w", "document": {}}',
    },
    {
        "subject": "trimtab.attributes.a.b.-.-.-.-",
        "headers": delivered(record(), 1).headers,
        "body": b'{"kind": "a.b", "document": {}}',
    },
    {"subject": subjects.WATERMARK},
    {"subject": subjects.WATERMARK, "body": b"{}"},
]
"""A message of the relay with one part that the relay never writes."""


@pytest.mark.parametrize("change", NOT_OURS, ids=[str(each)[:60] for each in NOT_OURS])
def test_a_foreign_message_changes_nothing(change: dict[str, object]) -> None:
    candidate = Candidate()
    with pytest.raises(Foreign):
        candidate.apply(delivered(A, 1)._replace(**change))  # type: ignore[arg-type]
    assert contents(candidate.settings) == contents(Settings())
    assert candidate.apply(delivered(B, 2)) == [Change(B, 2, "")]


TEXTS = (
    st.sampled_from(["", "1", "-1", "NaN", "9" * 30, "trimtab", "\u0661", "1.0", "\x00"])
    | st.text()
)
BODIES = st.sampled_from([A.body(), record().body(), PoolChanged(name="p").body()]) | st.binary()
SUBJECTS = st.sampled_from([subjects.WATERMARK, subjects.project("a"), PAINT, "trimtab"]) | (
    st.lists(st.text(), max_size=9).map(lambda parts: ".".join(["trimtab", *parts]))
)


@given(SUBJECTS, st.dictionaries(st.sampled_from([*delivered(A, 1).headers]), TEXTS), BODIES)
def test_no_message_raises_another_error_than_that_it_is_foreign(
    subject: str, headers: dict[str, str], body: bytes
) -> None:
    candidate = Candidate()
    for each in (headers, {**delivered(A, 1).headers, **headers}, delivered(A, 1).headers):
        with suppress(Foreign):
            candidate.apply(StoredMessage(subject, 1, each, body, is_last=True))
    with suppress(Foreign):
        parsing.namespace_status(subject, headers, body)
