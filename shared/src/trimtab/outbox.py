"""The settings in the database, the outbox of their changes, and the relay that publishes it.

One transaction writes the live rows and the outbox rows. The relay's cursor is the stream itself:
what SETTINGS ends with says what was sent, whatever happened to the process that sent it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import uuid4

import nats.errors
import nats.js.errors
import sqlalchemy as sa
from nats.aio.client import Client
from opentelemetry.trace import SpanKind
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab import bus, streams, subjects, telemetry
from trimtab.database import Sessions, transaction
from trimtab.errors import Unavailable
from trimtab.events import COMMIT, REVISION, TRACEPARENT, Event, Watermark, setting, tombstone
from trimtab.state import Digest, Settings

log = logging.getLogger(__name__)

WATERMARK_SECONDS = 5.0
_LOOK_SECONDS = 1.0
"""How soon rows of another admin, which cannot wake us, are found."""
_BATCH = 256
_KEEP_SENT = timedelta(days=7)
"""Rows that were sent serve only a person who looks; the last one is kept for `Relay`."""

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


class Write(NamedTuple):
    """A change to be made: the full new state of one subject."""

    subject: str
    event: Event
    deleted: bool = False


async def lock(session: AsyncSession) -> int:
    """The current revision; no other transaction writes settings until this one ends.

    SQLite has no row locks: its sessions must be those of `trimtab.database.sessions_of`.
    """
    query = sa.select(revision.c.value).with_for_update()
    return int((await session.execute(query)).scalar_one())


async def append(session: AsyncSession, writes: Sequence[Write]) -> list[int]:
    """Make changes in the order given and return their revisions; the last one is the commit."""
    if not writes:
        return []
    last = await lock(session)
    revisions = list(range(last + 1, last + 1 + len(writes)))
    traceparent = telemetry.traceparent()
    rows = [
        {
            "revision": number,
            "commit_revision": revisions[-1],
            "subject": write.subject,
            "event_id": str(uuid4()),
            "event_type": write.event.event_type,
            "body": write.event.body().decode(),
            "traceparent": traceparent,
        }
        for number, write in zip(revisions, writes, strict=True)
    ]
    await session.execute(outbox.insert(), rows)
    await session.execute(revision.update().values(value=revisions[-1]))
    await _replace_live(session, rows, {write.subject for write in writes if write.deleted})
    return revisions


async def _replace_live(
    session: AsyncSession, rows: Sequence[dict[str, object]], deleted: set[str]
) -> None:
    # Of several changes of one subject in one transaction, the last one is what lives.
    newest = {str(row["subject"]): row for row in rows}
    await session.execute(
        settings.delete().where(settings.c.subject == sa.bindparam("gone")),
        [{"gone": subject} for subject in newest],
    )
    live = [
        {name: row[name] for name in ("subject", "revision", "body")}
        for subject, row in newest.items()
        if subject not in deleted
    ]
    if live:
        await session.execute(settings.insert(), live)


async def load(session: AsyncSession) -> Settings:
    """Everything that lives, as a tree."""
    state = Settings()
    for subject, number, body in await session.execute(sa.select(settings).order_by("revision")):
        state.apply(setting(subject, body), number)
    state.revision = int((await session.execute(sa.select(revision.c.value))).scalar_one())
    return state


async def resync(session: AsyncSession, also_gone: Sequence[str] = ()) -> list[int]:
    """Announce again all that lives, and that nothing is at the subjects that the database lacks.

    Everything gets a new revision, so that a reader takes it whatever it held before.
    """
    rows = (await session.execute(sa.select(settings).order_by("revision"))).all()
    live = [Write(subject, setting(subject, body)) for subject, _number, body in rows]
    known = {write.subject for write in live}
    gone = [Write(name, tombstone(name), deleted=True) for name in also_gone if name not in known]
    return await append(session, [*live, *gone])


@dataclass(frozen=True)
class _End:
    """Where the stream ends."""

    sequence: int
    revision: int


@dataclass(frozen=True)
class _Row:
    """An outbox row, as it is published."""

    revision: int
    commit_revision: int
    subject: str
    event_id: str
    event_type: str
    text: str
    traceparent: str

    def body(self) -> bytes:
        return self.text.encode()


async def _nothing() -> None:
    return


class Relay:
    """Publishes the outbox in order of revision, and a watermark every few seconds.

    Any number may run on one database: each append names the sequence it must follow, so of two
    only one goes through and the other looks again.
    """

    def __init__(
        self,
        client: Client,
        sessions: Sessions,
        *,
        lost: Callable[[], Awaitable[None]] = _nothing,
        watermark_seconds: float = WATERMARK_SECONDS,
    ) -> None:
        """``lost`` hears that the streams no longer hold what was sent, after the resync."""
        self._client = client
        self._sessions = sessions
        self._lost = lost
        self._watermark_seconds = watermark_seconds
        self._awake = asyncio.Event()
        self._end = _End(0, 0)
        self._digest: tuple[int, Digest] = (-1, Digest())

    def wake(self) -> None:
        """There are new rows."""
        self._awake.set()

    @property
    def sent(self) -> int:
        """The last revision that is known to be in the stream."""
        return self._end.revision

    async def run(self) -> None:
        """Relay until cancelled; an outage only makes the outbox grow."""
        await bus.forever(self._attempt, "relay.lost")

    async def _attempt(self) -> None:
        try:
            await self._relay()
        except bus.WrongSequence:
            # Another relay is at work, or our own last publish was stored without our knowing.
            log.info("relay.outrun", extra={"revision": self._end.revision})

    async def _relay(self) -> None:
        self._end = await self._look()
        await self._reconcile()
        due = 0.0
        loop = asyncio.get_running_loop()
        while True:
            bus.heed_cancellation()
            self._awake.clear()
            await self._drain()
            if loop.time() >= due and await self._publish_watermark():
                due = loop.time() + self._watermark_seconds
            try:
                async with asyncio.timeout(min(_LOOK_SECONDS, max(0.0, due - loop.time()))):
                    await self._awake.wait()
            except TimeoutError:
                continue

    async def _look(self) -> _End:
        """Read where the stream ends; make it if it is gone."""
        jetstream = self._client.jetstream(timeout=bus.TIMEOUT_SECONDS)
        try:
            state = (await jetstream.stream_info(subjects.SETTINGS)).state
            if not state.messages:
                return _End(state.last_seq, 0)
            # The last message is the last of its subject, so it is always kept.
            message = await jetstream.get_msg(subjects.SETTINGS, state.last_seq)
        except nats.js.errors.NotFoundError:
            await streams.bootstrap(self._client)
            return _End(0, 0)
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(f"cannot read the end of {subjects.SETTINGS}: {error}") from error
        return _End(state.last_seq, int((message.headers or {})[REVISION]))

    async def _reconcile(self) -> None:
        """Mark what the stream has; announce everything again if it lost what was sent."""
        end = self._end.revision
        async with transaction(self._sessions) as session:
            unsent = outbox.c.sent_at.is_(None)
            await session.execute(_mark_sent().where(outbox.c.revision <= end, unsent))
            sent = sa.select(sa.func.max(outbox.c.revision)).where(~unsent)
            last_sent = (await session.execute(sent)).scalar_one_or_none() or 0
            current = await lock(session)
            if last_sent <= end <= current:
                old = outbox.c.sent_at < datetime.now(UTC) - _KEEP_SENT
                await session.execute(outbox.delete().where(old, outbox.c.revision < last_sent))
                return
            log.error("relay.resync", extra={"stream": end, "sent": last_sent, "database": current})
            if end > current:
                # The database is older than the stream; its next revisions must be newer.
                await session.execute(revision.update().values(value=end))
            await resync(session, await self._stream_subjects())
            # The last row that was sent is lost too; what was announced again stands for it.
            await session.execute(outbox.delete().where(~unsent, outbox.c.revision > end))
        await self._lost()

    async def _stream_subjects(self) -> list[str]:
        try:
            info = await self._client.jetstream(timeout=bus.TIMEOUT_SECONDS).stream_info(
                subjects.SETTINGS, subjects_filter="trimtab.>"
            )
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(f"cannot list the subjects of SETTINGS: {error}") from error
        return sorted(set(info.state.subjects or {}) - {subjects.WATERMARK})

    async def _drain(self) -> None:
        """Publish everything that is not sent yet."""
        while rows := await self._unsent():
            for row in rows:
                await self._publish(row)
            async with transaction(self._sessions) as session:
                first, last = rows[0].revision, rows[-1].revision
                await session.execute(_mark_sent().where(outbox.c.revision.between(first, last)))

    async def _unsent(self) -> list[_Row]:
        columns = [column for column in outbox.c if column.name != "sent_at"]
        query = sa.select(*columns).where(outbox.c.sent_at.is_(None)).order_by(outbox.c.revision)
        async with transaction(self._sessions) as session:
            return [_Row(*row) for row in await session.execute(query.limit(_BATCH))]

    async def _publish(self, row: _Row) -> None:
        carrier = {TRACEPARENT: row.traceparent} if row.traceparent else None
        family = ".".join(row.subject.split(".")[:2])
        with telemetry.span(f"publish {family}", carrier, SpanKind.PRODUCER):
            sequence = await bus.publish(
                self._client,
                subjects.SETTINGS,
                row.subject,
                row,
                event_id=row.event_id,
                headers={REVISION: str(row.revision), COMMIT: str(row.commit_revision)},
                last_sequence=self._end.sequence,
            )
        self._end = _End(sequence, row.revision)

    async def _publish_watermark(self) -> bool:
        """Say what every view must be like now; not while there are rows to be sent."""
        async with transaction(self._sessions) as session:
            current = await lock(session)
            if current != self._end.revision:
                return False
            if self._digest[0] != current:
                live = await session.execute(sa.select(settings.c.subject, settings.c.revision))
                self._digest = (current, _digest_of(live))
        digest = self._digest[1]
        mark = Watermark(revision=current, count=digest.count, digest=str(digest))
        sequence = await bus.publish(
            self._client,
            subjects.SETTINGS,
            subjects.WATERMARK,
            mark,
            headers={REVISION: str(current), COMMIT: str(current)},
            last_sequence=self._end.sequence,
        )
        self._end = _End(sequence, current)
        return True


def _digest_of(live: Iterable[tuple[str, int]]) -> Digest:
    digest = Digest()
    for subject, number in live:
        digest.put(subject, number)
    return digest


def _mark_sent() -> sa.Update:
    return outbox.update().values(sent_at=datetime.now(UTC))
