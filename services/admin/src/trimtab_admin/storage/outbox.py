"""Committed changes: every statement that reads or writes the outbox, live settings and revision.

One transaction advances the revision, appends rows to the outbox, replaces the live settings and
adds rows to the history. The relay publishes the outbox in the order of its revisions.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.levels import SETTINGS_FILE, Scope
from trimtab.messages import subjects
from trimtab.messages.events import Event, tombstone
from trimtab.messages.parsing import stored_setting
from trimtab.runtime import telemetry
from trimtab.settings.fold import Record
from trimtab_admin import slices
from trimtab_admin.access.authorization import Caller
from trimtab_admin.metrics import OutboxBacklog
from trimtab_admin.storage.database import (
    Sessions,
    fetch_number,
    fetch_rows,
    transaction,
)
from trimtab_admin.storage.tables import history, outbox, revision, settings

_CHUNK = 500
"""How many rows are read or written at a time."""
RELAY_BATCH = 256
"""How many rows the relay reads at a time."""
SETTINGS_FILE_ACTOR = "settings file"
"""The actor of changes that the settings file declares."""


_RESYNC_ROWS = 2 * slices.SIZE

EVERYTHING = sa.true()
"""Selects all live settings."""
DECLARABLE = sa.or_(
    settings.c.subject.not_like(subjects.ALL_ATTRIBUTES.replace(">", "%")),
    settings.c.subject.endswith(
        subjects.attributes("", SETTINGS_FILE).removeprefix(subjects.ALL_ATTRIBUTES[:-1])
    ),
)
"""Selects entities, and the records of the settings file."""


@dataclass(frozen=True)
class Author:
    """The caller who makes a change, and the reason and request id that history records."""

    caller: Caller
    reason: str = ""
    request_id: str = ""

    @property
    def actor(self) -> str:
        return self.caller.name


@dataclass(frozen=True)
class Write:
    """A change to be committed: the full new state of one subject."""

    subject: str
    event: Event
    deleted: bool = False
    record: Record | None = None
    """The event's document, parsed, where the writer has it."""

    @cached_property
    def text(self) -> str:
        """The event as it is stored and published."""
        return self.event.body().decode()


@dataclass(frozen=True)
class OutboxRow:
    """A committed change, with what the relay needs to publish it."""

    revision: int
    commit_revision: int
    subject: str
    event_id: str
    event_type: str
    text: str
    traceparent: str

    def body(self) -> bytes:
        return self.text.encode()


def _upsert(insert: Callable[[sa.Table], Any]) -> Any:
    """Make the statement that inserts or replaces live settings; ``insert`` is a dialect's."""
    upsert = insert(settings)
    columns = {"revision": upsert.excluded.revision, "body": upsert.excluded.body}
    return upsert.on_conflict_do_update(index_elements=["subject"], set_=columns)


# Building a statement takes longer than SQLite takes to execute it, so the statements that each
# write or read needs are built once.
_CURRENT = sa.select(revision.c.value)
_LOCK = _CURRENT.with_for_update()
_ADVANCE = (
    revision.update()
    .where(revision.c.value == sa.bindparam("before"))
    .values(value=sa.bindparam("after"))
)
_APPEND = outbox.insert()
_UPSERT = {"sqlite": _upsert(sqlite.insert), "postgresql": _upsert(postgresql.insert)}
_REMOVE = settings.delete().where(settings.c.subject == sa.bindparam("removed_subject"))
_BETWEEN = (
    sa.select(outbox.c.revision, outbox.c.commit_revision, outbox.c.subject, outbox.c.body)
    .where(outbox.c.revision > sa.bindparam("after"), outbox.c.revision <= sa.bindparam("up_to"))
    .order_by(outbox.c.revision)
)
_TO_PUBLISH = (
    sa.select(*(column for column in outbox.c if column.name != "sent_at"))
    .where(outbox.c.revision > sa.bindparam("after"))
    .order_by(outbox.c.revision)
    .limit(RELAY_BATCH)
)


async def lock(session: AsyncSession) -> int:
    """Return the current revision; until this transaction ends, no other one writes settings.

    SQLite has no row locks, so there the session must come from `database.sessions_of`.
    """
    return int((await session.execute(_LOCK)).scalar_one())


async def current_revision(session: AsyncSession) -> int:
    """Return the current revision as the transaction sees it."""
    return int((await session.execute(_CURRENT)).scalar_one())


async def fetch_current_revision(reading: Sessions) -> int:
    """Return the current revision in a transaction of its own: one round trip on PostgreSQL."""
    return await fetch_number(reading, _CURRENT)


async def append(session: AsyncSession, writes: Sequence[Write]) -> list[int]:
    """Store changes in the order given, without history, and return their revisions.

    The last revision is the commit.
    """
    if not writes:
        return []
    before = await lock(session)
    connection = await session.connection()
    advanced = await connection.run_sync(_advance, before, len(writes))
    assert advanced, "the lock was not held"
    await connection.run_sync(_put, before, writes)
    return list(range(before + 1, before + len(writes) + 1))


async def resync(session: AsyncSession, published_subjects: Sequence[str] = ()) -> list[int]:
    """Append every live setting again, and a tombstone for each subject that the database lacks.

    ``published_subjects`` are the subjects that the stream has; on those of no setting, there are
    only foreign messages. Everything gets a new revision, so
    that a reader applies it whatever it held before. The rows are several commits, because no value
    changes and a reader may therefore show them one after the other.
    """
    before = await lock(session)
    known: set[str] = set()
    revisions: list[int] = []
    last = 0
    while rows := await _live_after(session, last, before):
        last = rows[-1][1]
        known.update(subject for subject, _revision, _body in rows)
        await slices.turn()
        live = [Write(subject, stored_setting(subject, body)) for subject, _revision, body in rows]
        revisions += await append(session, live)
    gone = _gone(published_subjects, known)
    return revisions + await append(session, [Write(x, tombstone(x), deleted=True) for x in gone])


async def count_resync(session: AsyncSession, published_subjects: Sequence[str]) -> int:
    """Return how many settings `resync` would append, without its lock."""
    known = set(await session.scalars(sa.select(settings.c.subject)))
    return len(known) + len(_gone(published_subjects, known))


def _gone(published_subjects: Sequence[str], known: Collection[str]) -> list[str]:
    """Return the subjects of settings that the stream has and the database lacks."""
    return [
        name
        for name in published_subjects
        if name not in known and subjects.settings_names(name) is not None
    ]


async def append_again(session: AsyncSession, of_subjects: Collection[str]) -> list[str]:
    """Append those of the subjects that are live, with new revisions, and return these."""
    await lock(session)
    query = sa.select(settings.c.subject, settings.c.body)
    query = query.where(settings.c.subject.in_(sorted(of_subjects))).order_by(settings.c.revision)
    live = (await session.execute(query)).all()
    await append(session, [Write(name, stored_setting(name, body)) for name, body in live])
    return [name for name, _ in live]


async def _live_after(
    session: AsyncSession, after: int, up_to: int
) -> Sequence[tuple[str, int, str]]:
    """Return subject, revision and body of the first live settings of these revisions, in order."""
    between = sa.and_(settings.c.revision > after, settings.c.revision <= up_to)
    query = sa.select(settings.c.subject, settings.c.revision, settings.c.body).where(between)
    found = await session.execute(query.order_by(settings.c.revision).limit(_RESYNC_ROWS))
    return [(subject, number, body) for subject, number, body in found]


async def load(
    session: AsyncSession,
    apply: Callable[[Event, int], None],
    selected: sa.ColumnElement[bool] = EVERYTHING,
) -> int:
    """Apply each live setting with its revision, in slices, and return the current revision.

    The settings come in any order, because each subject comes once.
    """
    # One statement, so that the rows and the revision are of one moment at any isolation level; in
    # chunks, so that the transaction is not idle for long while the rows are parsed.
    joined = revision.outerjoin(settings, selected)
    columns = (revision.c.value, settings.c.subject, settings.c.revision, settings.c.body)
    query = sa.select(*columns).select_from(joined)
    current = 0
    result = await session.stream(query)
    async for chunk in result.partitions(_CHUNK):
        current = chunk[0][0]
        async for rows in slices.of(chunk):
            for _, subject, number, body in rows:
                if subject is not None:
                    apply(stored_setting(subject, body), number)
    return current


class StoredChange(NamedTuple):
    """A change as the outbox stores it."""

    revision: int
    commit: int
    """The last revision of its transaction."""
    subject: str
    body: str


async def changes_between(session: AsyncSession, after: int, up_to: int) -> Sequence[StoredChange]:
    """Return the changes after a revision, up to and including one.

    Changes that were published long ago may be missing: `delete_sent` removes their rows.
    """
    found = await session.execute(_BETWEEN, {"after": after, "up_to": up_to})
    return [StoredChange(*row) for row in found]


async def backlog(reading: Sessions, sent: int) -> OutboxBacklog:
    """Return how far the stream is behind the database. Raises `Unavailable`.

    ``sent`` is the last revision known to be in the stream, or 0 while the relay has not read the
    stream yet: then the rows that are marked as sent count.
    """
    unsent = outbox.c.revision > sent if sent else outbox.c.sent_at.is_(None)
    count = sa.select(sa.func.count(outbox.c.revision)).where(unsent).scalar_subquery()
    first = sa.select(sa.func.min(outbox.c.revision)).where(unsent).scalar_subquery()
    # A resync has no history. Later changes are looked up by revision, which is also their order.
    since = sa.select(history.c.at).where(history.c.revision >= first)
    since = since.order_by(history.c.revision).limit(1)
    query = sa.select(revision.c.value, count, since.scalar_subquery())
    async with transaction(reading) as session:
        return OutboxBacklog(*(await session.execute(query)).one())


async def fetch_to_publish(reading: Sessions, after: int) -> list[OutboxRow]:
    """Return the first `RELAY_BATCH` changes after a revision, whether they are marked or not."""
    found = await fetch_rows(reading, _TO_PUBLISH, {"after": after})
    return [OutboxRow(*row) for row in found]


async def sent_and_current(session: AsyncSession) -> tuple[int, int]:
    """Return the last revision that is marked as sent, 0 for none, and the current revision."""
    sent = sa.select(sa.func.max(outbox.c.revision)).where(outbox.c.sent_at.is_not(None))
    row = (await session.execute(sa.select(sent.scalar_subquery(), revision.c.value))).one()
    return row[0] or 0, row[1]


async def mark_sent(sessions: Sessions, up_to: int) -> None:
    """Mark all changes up to and including a revision as sent."""
    unmarked = sa.and_(outbox.c.sent_at.is_(None), outbox.c.revision <= up_to)
    async with transaction(sessions) as session:
        await session.execute(outbox.update().where(unmarked).values(sent_at=datetime.now(UTC)))


async def delete_sent(sessions: Sessions, before: datetime, below: int) -> None:
    """Delete rows that were sent before a time, and only those of revisions below the given one."""
    old = sa.and_(outbox.c.sent_at < before, outbox.c.revision < below)
    async with transaction(sessions) as session:
        await session.execute(outbox.delete().where(old))


async def delete_sent_after(session: AsyncSession, end: int) -> None:
    """Delete rows that are marked as sent but are later than the end of the stream."""
    lost = sa.and_(outbox.c.sent_at.is_not(None), outbox.c.revision > end)
    await session.execute(outbox.delete().where(lost))


async def raise_revision(session: AsyncSession, value: int) -> None:
    """Set the current revision, for a database that is older than its stream."""
    await session.execute(revision.update().values(value=value))


async def fetch_live_revisions(
    reading: Sessions,
) -> tuple[int, list[tuple[str, int]]]:
    """Return the current revision, and each live subject with its revision, of one moment."""
    joined = revision.outerjoin(settings, sa.true())
    query = sa.select(revision.c.value, settings.c.subject, settings.c.revision)
    return await _fetch_revisions(reading, query.select_from(joined))


async def fetch_live_revisions_after(
    reading: Sessions, after: int
) -> tuple[int, list[tuple[str, int | None]]]:
    """Return the current revision, and the subject of each change after a revision.

    A subject comes once for each of its changes, with the revision that is live now, or ``None``
    where it was deleted.
    """
    # One statement, so that everything is of one moment.
    newer = revision.outerjoin(outbox, outbox.c.revision > after)
    live = newer.outerjoin(settings, settings.c.subject == outbox.c.subject)
    query = sa.select(revision.c.value, outbox.c.subject, settings.c.revision)
    return await _fetch_revisions(reading, query.select_from(live))


async def _fetch_revisions(reading: Sessions, query: sa.Select[Any]) -> tuple[int, list[Any]]:
    """Return the first column, and in slices the others of each row that has a subject."""
    current, found = 0, list[tuple[str, Any]]()
    async with transaction(reading) as session:
        async for rows in (await session.stream(query)).partitions(_CHUNK):
            current = rows[0][0]
            found += [(subject, number) for _, subject, number in rows if subject is not None]
            await slices.turn()
    return current, found


def _advance(connection: Connection, before: int, changes: int) -> bool:
    """Take the lock and the next revisions; return false if ``before`` is no longer current."""
    values = {"before": before, "after": before + changes}
    return connection.execute(_ADVANCE, values).rowcount == 1


def _put(connection: Connection, before: int, writes: Sequence[Write]) -> None:
    """Append changes to the outbox and replace the live settings."""
    rows = _outbox_rows(before, writes)
    connection.execute(_APPEND, rows)
    # If one transaction changes a subject several times, the last change is the live one.
    newest = {write.subject: (write.deleted, row) for write, row in zip(writes, rows, strict=True)}
    gone = [{"removed_subject": subject} for subject, (deleted, _row) in newest.items() if deleted]
    live = [row for deleted, row in newest.values() if not deleted]
    if gone:
        connection.execute(_REMOVE, gone)
    if live:
        connection.execute(_UPSERT[connection.dialect.name], live)


def _outbox_rows(before: int, writes: Sequence[Write]) -> list[dict[str, object]]:
    """Return rows for changes that get the revisions after ``before``."""
    traceparent = telemetry.traceparent()
    return [
        {
            "revision": number,
            "commit_revision": before + len(writes),
            "subject": write.subject,
            "event_id": str(uuid4()),
            "event_type": write.event.event_type,
            "body": write.text,
            "traceparent": traceparent,
        }
        for number, write in enumerate(writes, before + 1)
    ]


def subject_columns(subject: str) -> dict[str, str]:
    """Return the columns of history that a subject fills: its kind and the parts of its scope."""
    family = subject.split(".")[1]
    if family == "attributes":
        kind, scope = subjects.parse_attributes(subject)
    else:
        kind, name = family.removesuffix("s"), subjects.name_of(subject)
        scope = Scope(
            domain=name if kind == "domain" else "", project=name if kind == "project" else ""
        )
    return {
        "kind": kind,
        "domain": scope.domain,
        "project": scope.project,
        "workflow": scope.workflow,
        "launch_plan": scope.launch_plan,
    }
