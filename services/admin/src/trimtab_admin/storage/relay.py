"""Publishes the outbox to SETTINGS.

The stream is its cursor: what it ends with says what was sent, whatever happened to the process
that sent it. Any number may run on one database. Each append names the sequence it must follow, so
of two only one goes through; the other then stands by, until the one at work falls silent.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import nats.errors
import nats.js.errors
import sqlalchemy as sa
from nats.aio.client import Client
from nats.aio.msg import Msg
from opentelemetry.trace import SpanKind
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.errors import Unavailable
from trimtab.messages import subjects
from trimtab.messages.events import COMMIT, REVISION, TRACEPARENT, Watermark
from trimtab.runtime import bus, retrying, telemetry
from trimtab.settings.state import Digest
from trimtab_admin.storage import streams
from trimtab_admin.storage.database import Sessions, ask, rows, transaction
from trimtab_admin.storage.outbox import lock, outbox, resync, revision, settings

log = logging.getLogger(__name__)

WATERMARK_SECONDS = 5.0
PATIENCE_SECONDS = 0.75
"""How long rows may wait for another relay. An outage of its process is not told from a pause."""
_LOOK_SECONDS = 1.0
"""How soon rows are found that nobody has told us of."""
_AGAIN_SECONDS = 0.02
"""How soon a watermark is tried again that a write has come before."""
_STANDBY_LOOK_SECONDS = 0.25
_MARK_SECONDS = 0.5
"""How often rows are marked as sent: that is for people who look, and to notice a lost stream."""
_TIDY_SECONDS = 3600.0
_KEEP_SENT = timedelta(days=7)
"""Rows that were sent serve only a person who looks; the last one is kept to be compared."""
_BATCH = 256

_NEWER = (
    sa.select(*(column for column in outbox.c if column.name != "sent_at"))
    .where(outbox.c.revision > sa.bindparam("end"))
    .order_by(outbox.c.revision)
    .limit(_BATCH)
)


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
    """Publishes in order of revision, and a watermark every few seconds."""

    def __init__(
        self,
        client: Client,
        sessions: Sessions,
        reading: Sessions,
        *,
        lost: Callable[[], Awaitable[None]] = _nothing,
        watermark_seconds: float = WATERMARK_SECONDS,
    ) -> None:
        """``lost`` hears that the streams no longer hold what was sent, after the resync."""
        self._client = client
        self._sessions = sessions
        self._reading = reading
        self._lost = lost
        self._watermark_seconds = watermark_seconds
        self._awake = asyncio.Event()
        self._leads = False
        self._end = _End(0, 0)
        self._marked = 0
        self._digest: tuple[int, Digest] = (-1, Digest())

    def wake(self) -> None:
        """There are new rows."""
        self._awake.set()

    @property
    def sent(self) -> int:
        """The last revision that is known to be in the stream."""
        return self._end.revision

    @property
    def leads(self) -> bool:
        """Whether it is this one that publishes, as far as it knows."""
        return self._leads

    async def run(self) -> None:
        """Relay until cancelled; an outage only makes the outbox grow."""
        subscription = await self._client.subscribe(subjects.RELAY, cb=self._called)
        try:
            await retrying.retry_forever(self._attempt, "relay.lost")
        finally:
            if self._client.is_connected:
                await subscription.unsubscribe()

    async def _called(self, _message: Msg) -> None:
        """By a relay that stands by. Two of them must not call each other for ever."""
        if self._leads:
            self.wake()

    async def _attempt(self) -> None:
        try:
            self._leads = True
            await self._lead()
        except bus.WrongSequence:
            # Another relay is at work, or our own last publish was stored without our knowing.
            log.info("relay.outrun", extra={"revision": self._end.revision})
        finally:
            self._leads = False
        await self._stand_by()
        log.warning("relay.takes_over", extra={"revision": self._end.revision})

    async def _stand_by(self) -> None:
        """Return when rows or the next watermark wait longer than they would with a relay."""
        # Two that wait for the same silence should not both end it.
        patience = PATIENCE_SECONDS * random.uniform(1.0, 2.0)
        loop = asyncio.get_running_loop()
        moved = waiting = loop.time()
        self._awake.set()  # What was written for us to publish is still to be published.
        while True:
            retrying.raise_if_cancelled()
            await self._pass_calls_on()
            end = await self._look()
            if end.sequence != self._end.sequence:
                moved = loop.time()
            self._end = end
            if await self._current() <= end.revision:
                waiting = loop.time()
            silent = loop.time() - max(moved, waiting)
            if silent > patience or loop.time() - moved > self._watermark_seconds + patience:
                return

    async def _pass_calls_on(self) -> None:
        """To the relay that publishes, until it is time to look again."""
        try:
            async with asyncio.timeout(_STANDBY_LOOK_SECONDS):
                while True:
                    await self._awake.wait()
                    self._awake.clear()
                    await self._client.publish(subjects.RELAY, b"")
        except TimeoutError:
            return
        except nats.errors.Error as error:
            raise Unavailable(f"cannot call the relay at work: {error}") from error

    async def _current(self) -> int:
        return int(await ask(self._reading, sa.select(revision.c.value)))

    async def _lead(self) -> None:
        await self._reconcile()
        loop = asyncio.get_running_loop()
        watermark = mark = 0.0
        tidy = loop.time() + _TIDY_SECONDS
        while True:
            retrying.raise_if_cancelled()
            self._awake.clear()
            # A watermark is true only when there is nothing more to be sent, and writers without a
            # pause leave few such moments.
            await self._drain(wholly=loop.time() >= watermark)
            now = loop.time()
            if now >= watermark and await self._publish_watermark():
                watermark = loop.time() + self._watermark_seconds
            if now >= mark and self._marked < self._end.revision:
                await self._mark()
                mark = loop.time() + _MARK_SECONDS
            if now >= tidy:
                await self._tidy()
                tidy = now + _TIDY_SECONDS
            pause = min(_LOOK_SECONDS, max(_AGAIN_SECONDS, watermark - loop.time()))
            try:
                async with asyncio.timeout(pause):
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
        # A message of somebody else says nothing of what was sent; nor does the end of the stream.
        said = (message.headers or {}).get(REVISION, "")
        return _End(state.last_seq, int(said) if said.isdecimal() else 0)

    async def _reconcile(self) -> None:
        """Mark what the stream has; announce everything again if it lost what was sent."""
        # Sent is asked before the stream and the database after it, so that others that go on
        # meanwhile, for however long, never make the stream look short or ahead.
        async with transaction(self._reading) as session:
            sent, _ = await _sent_and_current(session)
        self._end = end = await self._look()
        await self._mark()
        async with transaction(self._reading) as session:
            _, current = await _sent_and_current(session)
        if not sent <= end.revision <= current:
            await self._resync(sent)

    async def _resync(self, sent: int) -> None:
        """Unless another relay has done it since."""
        end = self._end.revision
        names = await stream_subjects(self._client)
        async with transaction(self._sessions) as session:
            await lock(session)
            still_sent, current = await _sent_and_current(session)
            if min(sent, still_sent) <= end <= current:
                return
            log.error("relay.resync", extra={"stream": end, "sent": sent, "database": current})
            if end > current:
                # The database is older than the stream; its next revisions must be newer.
                await session.execute(revision.update().values(value=end))
            await resync(session, names)
            # The last row that was sent is lost too; what was announced again stands for it.
            lost = sa.and_(outbox.c.sent_at.is_not(None), outbox.c.revision > end)
            await session.execute(outbox.delete().where(lost))
            self._digest = (-1, Digest())
        await self._lost()

    async def _drain(self, *, wholly: bool) -> None:
        """Publish what the stream does not hold yet; also what comes meanwhile, where asked to."""
        while found := await self._newer():
            for row in found:
                await self._publish(row)
            if not wholly and len(found) < _BATCH:
                return

    async def _newer(self) -> list[_Row]:
        # Not those that are not marked: what another relay has published and marked meanwhile must
        # be tried too, or we would never learn that there is another one.
        found = await rows(self._reading, _NEWER, {"end": self._end.revision})
        return [_Row(*row) for row in found]

    async def _mark(self) -> None:
        """What the stream holds is sent."""
        sent = sa.and_(outbox.c.sent_at.is_(None), outbox.c.revision <= self._end.revision)
        last = self._end.revision
        async with transaction(self._sessions) as session:
            await session.execute(outbox.update().where(sent).values(sent_at=datetime.now(UTC)))
        self._marked = last

    async def _tidy(self) -> None:
        """Remove what was sent long ago, but not the last row."""
        old = sa.and_(
            outbox.c.sent_at < datetime.now(UTC) - _KEEP_SENT, outbox.c.revision < self._marked
        )
        async with transaction(self._sessions) as session:
            await session.execute(outbox.delete().where(old))

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
        # The answer to a message that the stream has already is the place where it is.
        self._end = _End(max(sequence, self._end.sequence), row.revision)

    async def _publish_watermark(self) -> bool:
        """Say what every view must be like now; not while there are rows to be sent."""
        current, digest = await self._live_digest()
        if current != self._end.revision:
            return False
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

    async def _live_digest(self) -> tuple[int, Digest]:
        """Of the database, at a revision. Only what has changed is read, where that is known."""
        held, digest = self._digest
        found = await self._changed_since(held) if held >= 0 else []
        current = found[0][0] if found else held
        if held < 0 or current - held != len(found) - (found[0][1] is None):
            current, digest = await self._whole_digest()
        else:
            for _, subject, number in found:
                if number is not None:
                    digest.put(str(subject), number)
                elif subject is not None:
                    digest.drop(subject)
        self._digest = (current, digest)
        return self._digest

    async def _changed_since(self, held: int) -> list[tuple[int, str | None, int | None]]:
        """The current revision, and the live revision of each subject that a row names."""
        # One statement, so that all is of one moment.
        newer = revision.outerjoin(outbox, outbox.c.revision > held)
        live = newer.outerjoin(settings, settings.c.subject == outbox.c.subject)
        query = sa.select(revision.c.value, outbox.c.subject, settings.c.revision)
        return [tuple(row) for row in await rows(self._reading, query.select_from(live))]

    async def _whole_digest(self) -> tuple[int, Digest]:
        everything = revision.outerjoin(settings, sa.true())
        query = sa.select(revision.c.value, settings.c.subject, settings.c.revision)
        found = await rows(self._reading, query.select_from(everything))
        digest = Digest()
        for _, subject, number in found:
            if subject is not None:
                digest.put(subject, number)
        return found[0][0], digest


async def _sent_and_current(session: AsyncSession) -> tuple[int, int]:
    """The last row that is marked as sent, and the last revision."""
    sent = sa.select(sa.func.max(outbox.c.revision)).where(outbox.c.sent_at.is_not(None))
    row = (await session.execute(sa.select(sent.scalar_subquery(), revision.c.value))).one()
    return row[0] or 0, row[1]


async def stream_subjects(client: Client) -> list[str]:
    """Those that SETTINGS has a message of, tombstones among them. Raises `Unavailable`."""
    try:
        info = await client.jetstream(timeout=bus.TIMEOUT_SECONDS).stream_info(
            subjects.SETTINGS, subjects_filter="trimtab.>"
        )
    except (nats.errors.Error, TimeoutError) as error:
        raise Unavailable(f"cannot list the subjects of SETTINGS: {error}") from error
    return sorted(set(info.state.subjects or {}) - {subjects.WATERMARK})
