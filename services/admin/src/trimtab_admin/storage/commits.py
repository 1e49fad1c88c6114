"""Commits: the transactions of a batch, stored at once by a compare-and-set on the revision.

To readers each stays a transaction of its own, with its own commit, author and trace. The database
stores all of them together or none.
"""

import asyncio
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.util import await_only

from trimtab.messages.events import PruneChanged, RecordChanged
from trimtab.runtime import telemetry
from trimtab_admin import slices, steps
from trimtab_admin.steps import Steps
from trimtab_admin.storage import outbox
from trimtab_admin.storage.database import (
    Sessions,
    driver_of,
    fetch_value,
    is_postgresql,
    run_in_transaction,
)
from trimtab_admin.storage.outbox import Author, OutboxRow, Write

_ROWS_AT_ONCE = 500
"""How many rows SQLite writes before other tasks run."""
ROWS_OF_STATEMENT = 2_000
"""How many rows PostgreSQL writes in one statement: a tenth of what it writes in the time that a
statement may take, on 2 cores under load."""

_Row = Mapping[str, object]


@dataclass(frozen=True)
class Transaction:
    """Changes that readers show together, with what history records of them."""

    writes: Sequence[Write]
    author: Author
    traceparent: str = field(default_factory=telemetry.traceparent)
    """The trace context that caused the changes; empty outside a trace."""


# All parts see the database as it was before the statement, and none has a row to write unless the
# first one found the revision that the changes were made for. The body before a change is looked up
# row by row: for a join, PostgreSQL would choose to read the whole table.
_IN_ONE_STATEMENT = sa.text("""
WITH written AS (
    SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS written (
        revision bigint, commit_revision bigint, subject text, event_id text, event_type text,
        body text, traceparent text, is_first boolean, is_last boolean, deleted boolean,
        before text, actor text, "at" timestamptz, reason text, request_id text, trace_id text,
        kind text, domain text, project text, workflow text, launch_plan text
    )
), advanced AS (
    UPDATE revision SET value = :after WHERE value = :before RETURNING value
), appended AS (
    INSERT INTO outbox
        (revision, commit_revision, subject, event_id, event_type, body, traceparent)
    SELECT revision, commit_revision, subject, event_id, event_type, body, traceparent
    FROM written, advanced
), removed AS (
    DELETE FROM settings
    WHERE subject = ANY (ARRAY(SELECT subject FROM written, advanced WHERE is_last AND deleted))
), replaced AS (
    INSERT INTO settings (subject, revision, body)
    SELECT subject, revision, body FROM written, advanced WHERE is_last AND NOT deleted
    ON CONFLICT (subject) DO UPDATE SET revision = excluded.revision, body = excluded.body
), recorded AS (
    INSERT INTO history
        (revision, commit_revision, subject, actor, "at", reason, before, after,
         request_id, trace_id, kind, domain, project, workflow, launch_plan)
    SELECT revision, commit_revision, subject, actor, "at", reason,
        CASE WHEN is_first
            THEN (SELECT body FROM settings WHERE settings.subject = written.subject)
            ELSE written.before END,
        CASE WHEN deleted THEN NULL ELSE body END,
        request_id, trace_id, kind, domain, project, workflow, launch_plan
    FROM written, advanced
)
SELECT count(*) FROM advanced
""").columns(sa.column("count", sa.Integer))

_ADVANCE = "UPDATE revision SET value = :after WHERE value = :before"
_RECORD = """
INSERT INTO history
    (revision, commit_revision, subject, actor, "at", reason, before, after,
     request_id, trace_id, kind, domain, project, workflow, launch_plan)
VALUES (:revision, :commit_revision, :subject, :actor, :at, :reason,
    CASE WHEN :is_first THEN (SELECT body FROM settings WHERE subject = :subject) ELSE :before END,
    CASE WHEN :deleted THEN NULL ELSE :body END,
    :request_id, :trace_id, :kind, :domain, :project, :workflow, :launch_plan)
"""
_APPEND = """
INSERT INTO outbox (revision, commit_revision, subject, event_id, event_type, body, traceparent)
VALUES (:revision, :commit_revision, :subject, :event_id, :event_type, :body, :traceparent)
"""
_outbox_values = itemgetter(
    "revision", "commit_revision", "subject", "event_id", "event_type", "body", "traceparent"
)
_REMOVE = "DELETE FROM settings WHERE subject = :subject"
_REPLACE = """
INSERT INTO settings (subject, revision, body) VALUES (:subject, :revision, :body)
ON CONFLICT (subject) DO UPDATE SET revision = excluded.revision, body = excluded.body
"""


async def store_if_current(
    sessions: Sessions, before: int, transactions: Sequence[Transaction]
) -> list[OutboxRow]:
    """Store transactions in their order if ``before`` is still the current revision.

    Return the rows of the outbox; none where nothing was stored. On PostgreSQL this is one
    statement, unless the rows are many.
    """
    on_postgresql = is_postgresql(sessions)
    rows = await slices.run(_rows(before, transactions, _now(on_postgresql=on_postgresql)))
    # Made before the commit, so that nothing is between it and showing the changes to readers.
    appended = await slices.run(_outbox_rows(rows))
    if on_postgresql:
        first, *others = await slices.run(_values(before, rows))
        if others:
            values = [first, *others]
            stored = await run_in_transaction(sessions, lambda c: _store_on_postgresql(c, values))
        else:
            stored = bool(await fetch_value(sessions, _IN_ONE_STATEMENT, first))
    else:
        stored = await run_in_transaction(sessions, lambda c: _store_on_sqlite(c, before, rows))
    return appended if stored else []


async def store(
    session: AsyncSession, before: int, transactions: Sequence[Transaction]
) -> list[OutboxRow]:
    """Store transactions and return the rows of the outbox.

    `outbox.lock` returned ``before`` in the same database transaction.
    """
    connection = await session.connection()
    on_postgresql = connection.dialect.name == "postgresql"
    rows = await slices.run(_rows(before, transactions, _now(on_postgresql=on_postgresql)))
    if on_postgresql:
        values = await slices.run(_values(before, rows))
        stored = await connection.run_sync(_store_on_postgresql, values)
    else:
        stored = await connection.run_sync(_store_on_sqlite, before, rows)
    assert stored, "the lock was not held"
    return await slices.run(_outbox_rows(rows))


def _store_on_postgresql(connection: Connection, values: Sequence[_Row]) -> bool:
    """Execute the statements; none but the first one can find another revision than its own."""
    return all(connection.execute(_IN_ONE_STATEMENT, each).scalar_one() for each in values)


def _store_on_sqlite(connection: Connection, before: int, rows: Sequence[_Row]) -> bool:
    """Store rows by the driver itself: for few of them, the layers above it cost more than it."""
    driver = driver_of(connection)
    if driver.execute(_ADVANCE, {"before": before, "after": before + len(rows)}).rowcount != 1:
        return False
    last = [row for row in rows if row["is_last"]]
    # History is first, because it reads the bodies that the changes replace.
    _execute(driver, _RECORD, rows)
    _execute(driver, _APPEND, rows)
    _execute(driver, _REMOVE, [row for row in last if row["deleted"]])
    _execute(driver, _REPLACE, [row for row in last if not row["deleted"]])
    return True


def _execute(driver: sqlite3.Connection, statement: str, rows: Sequence[_Row]) -> None:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        if start:
            await_only(asyncio.sleep(0))
        driver.executemany(statement, rows[start : start + _ROWS_AT_ONCE])


def _values(before: int, rows: Sequence[_Row]) -> Steps[list[_Row]]:
    """Return the parameters of each `_IN_ONE_STATEMENT`."""
    texts = yield from steps.each(json.dumps, rows)
    parts = (
        (before + start, texts[start : start + ROWS_OF_STATEMENT])
        for start in range(0, len(texts), ROWS_OF_STATEMENT)
    )
    return [
        {"rows": f"[{','.join(part)}]", "before": after, "after": after + len(part)}
        for after, part in parts
    ]


def _rows(before: int, transactions: Sequence[Transaction], at: str) -> Steps[list[_Row]]:
    """Return a row for each change. The first one gets the revision after ``before``."""
    changes = list(_numbered(before, transactions, at))
    last = {write.subject: number for number, write, _columns in changes}
    known: dict[str, str | None] = {}
    """The bodies that the changes so far leave, by subject; ``None`` where it is deleted."""

    def row(change: tuple[int, Write, _Row]) -> _Row:
        number, write, columns = change
        subject = write.subject
        made = {
            **columns,
            **_subject_columns(write),
            "revision": number,
            "subject": subject,
            "event_id": str(uuid4()),
            "event_type": write.event.event_type,
            "body": write.text,
            "deleted": write.deleted,
            "is_first": subject not in known,
            "is_last": last[subject] == number,
            "before": known.get(subject),
        }
        known[subject] = None if write.deleted else write.text
        return made

    return (yield from steps.each(row, changes))


def _outbox_rows(rows: Sequence[_Row]) -> Steps[list[OutboxRow]]:
    return steps.each(lambda row: OutboxRow(*_outbox_values(row)), rows)


def _numbered(
    before: int, transactions: Sequence[Transaction], at: str
) -> Iterator[tuple[int, Write, _Row]]:
    """Yield each change with its revision and with what all changes of its transaction share."""
    for transaction in transactions:
        commit = before + len(transaction.writes)
        author, trace = transaction.author, transaction.traceparent
        shared = {
            "commit_revision": commit,
            "traceparent": trace,
            "trace_id": trace.split("-")[1] if trace else "",
            "actor": author.actor,
            "at": at,
            "reason": author.reason,
            "request_id": author.request_id,
        }
        for number, write in enumerate(transaction.writes, before + 1):
            yield number, write, shared
        before = commit


def _now(*, on_postgresql: bool) -> str:
    now = datetime.now(UTC)
    # SQLite compares texts, so this one has the form that SQLAlchemy gives to times there.
    naive = now.replace(tzinfo=None)
    return now.isoformat() if on_postgresql else naive.isoformat(" ", "microseconds")


def _subject_columns(write: Write) -> Mapping[str, str]:
    """Return what `outbox.subject_columns` does, from the event where it has more, or is faster."""
    event = write.event
    if isinstance(event, PruneChanged):
        columns = outbox.subject_columns(write.subject)
        return {**columns, "domain": event.domain, "project": event.project}
    if not isinstance(event, RecordChanged):
        return outbox.subject_columns(write.subject)
    return {
        "kind": event.kind,
        "domain": event.domain,
        "project": event.project,
        "workflow": event.workflow,
        "launch_plan": event.launch_plan,
    }
