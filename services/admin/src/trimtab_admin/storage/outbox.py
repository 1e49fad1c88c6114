"""The settings in the database and the outbox of their changes, which the relay publishes.

One transaction writes the live rows and the outbox rows.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.messages import subjects
from trimtab.messages.events import Event, setting, tombstone
from trimtab.runtime import telemetry
from trimtab.settings.state import Settings

metadata = sa.MetaData()

revision = sa.Table(
    "revision",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="one_row"), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)
"""One row: the last revision given. Locking it is the one order of all writes."""

settings = sa.Table(
    "settings",
    metadata,
    sa.Column("subject", sa.String(subjects.MAX_LENGTH), primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False, unique=True),
    sa.Column("body", sa.Text, nullable=False),
)
"""What lives, a row for each subject: the truth that every view is compared with."""

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("commit_revision", sa.BigInteger, nullable=False),
    sa.Column("subject", sa.String(subjects.MAX_LENGTH), nullable=False),
    sa.Column("event_id", sa.String(36), nullable=False, unique=True),
    sa.Column("event_type", sa.String(100), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("traceparent", sa.String(60), nullable=False),
    sa.Column("sent_at", sa.DateTime(timezone=True)),
    sa.Index("outbox_unsent", "sent_at", "revision"),
)

_PART = 500
"""How many rows are taken at a time."""


def _put(insert: Callable[[sa.Table], Any]) -> Any:
    """Of a dialect, in which what lives is replaced."""
    put = insert(settings)
    said = {"revision": put.excluded.revision, "body": put.excluded.body}
    return put.on_conflict_do_update(index_elements=["subject"], set_=said)


# To make a statement takes longer than SQLite takes to answer it, so those of every write are kept.
_LOCK = sa.select(revision.c.value).with_for_update()
_ADVANCE = (
    revision.update()
    .where(revision.c.value == sa.bindparam("before"))
    .values(value=sa.bindparam("after"))
)
_APPEND = outbox.insert()
_PUT = {"sqlite": _put(sqlite.insert), "postgresql": _put(postgresql.insert)}
_REMOVE = settings.delete().where(settings.c.subject == sa.bindparam("gone"))


class Write(NamedTuple):
    """A change to be made: the full new state of one subject."""

    subject: str
    event: Event
    deleted: bool = False


async def lock(session: AsyncSession) -> int:
    """The current revision; no other transaction writes settings until this one ends.

    SQLite has no row locks: its sessions must be those of `database.sessions_of`.
    """
    return int((await session.execute(_LOCK)).scalar_one())


async def append(session: AsyncSession, writes: Sequence[Write]) -> list[int]:
    """Make changes in the order given and return their revisions; the last one is the commit."""
    if not writes:
        return []
    before = await lock(session)
    connection = await session.connection()
    advanced = await connection.run_sync(advance, before, len(writes))
    assert advanced, "the lock was not held"
    await connection.run_sync(put, before, writes)
    return list(range(before + 1, before + len(writes) + 1))


def advance(connection: Connection, before: int, changes: int) -> bool:
    """Take the lock and the next revisions, unless the revision is another one by now."""
    values = {"before": before, "after": before + changes}
    return connection.execute(_ADVANCE, values).rowcount == 1


def put(connection: Connection, before: int, writes: Sequence[Write]) -> None:
    """Make changes that have the revisions after that one."""
    said = rows(before, writes)
    connection.execute(_APPEND, said)
    # Of several changes of one subject in one transaction, the last one is what lives.
    newest = {write.subject: (write.deleted, row) for write, row in zip(writes, said, strict=True)}
    gone = [{"gone": subject} for subject, (deleted, _row) in newest.items() if deleted]
    live = [row for deleted, row in newest.values() if not deleted]
    if gone:
        connection.execute(_REMOVE, gone)
    if live:
        connection.execute(_PUT[connection.dialect.name], live)


def rows(before: int, writes: Sequence[Write]) -> list[dict[str, object]]:
    """Of the outbox, for changes that are made upon that revision."""
    traceparent = telemetry.traceparent()
    return [
        {
            "revision": number,
            "commit_revision": before + len(writes),
            "subject": write.subject,
            "event_id": str(uuid4()),
            "event_type": write.event.event_type,
            "body": write.event.body().decode(),
            "traceparent": traceparent,
        }
        for number, write in enumerate(writes, before + 1)
    ]


async def load(session: AsyncSession) -> Settings:
    """Everything that lives, as a tree."""
    # One statement, so that the rows and their revision are of one moment at any isolation; and in
    # parts, so that the transaction is not left alone for long while they are taken in.
    everything = revision.outerjoin(settings, sa.true())
    columns = (revision.c.value, settings.c.subject, settings.c.revision, settings.c.body)
    query = sa.select(*columns).select_from(everything).order_by(settings.c.revision)
    state = Settings()
    current = 0
    result = await session.stream(query)
    async for part in result.partitions(_PART):
        current = part[0][0]
        for _, subject, number, body in part:
            if subject is not None:
                state.apply(setting(subject, body), number)
    state.revision = current
    return state


async def resync(session: AsyncSession, also_gone: Sequence[str] = ()) -> list[int]:
    """Announce again all that lives, and that nothing is at the subjects that the database lacks.

    Everything gets a new revision, so that a reader takes it whatever it held before. A reader
    may show it part by part, because no value changes.
    """
    await lock(session)
    stored = (await session.execute(sa.select(settings).order_by("revision"))).all()
    known = {subject for subject, _number, _body in stored}
    revisions: list[int] = []
    for start in range(0, len(stored), _PART):
        part = stored[start : start + _PART]
        live = [Write(name, setting(name, body)) for name, _, body in part]
        revisions += await append(session, live)
    gone = [Write(name, tombstone(name), deleted=True) for name in also_gone if name not in known]
    return revisions + await append(session, gone)
