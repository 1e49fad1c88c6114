"""Publishes the outbox to SETTINGS.

The end of the stream is the relay's cursor: its last message carries the last revision that was
published, whichever process published it. Several relays may run on one database. Each append names
the sequence that it must follow, so only one of two concurrent appends is stored; the other relay
then becomes a standby until the leader is silent.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from opentelemetry.trace import SpanKind

from trimtab.errors import Unavailable
from trimtab.messages import parsing, subjects
from trimtab.messages.events import COMMIT, REVISION, TRACEPARENT, Watermark
from trimtab.messages.parsing import Foreign
from trimtab.runtime import bus, retrying, tasks, telemetry
from trimtab.runtime.foreign import ForeignMessages
from trimtab.settings.state import Digest
from trimtab_admin import slices
from trimtab_admin.messaging import streams
from trimtab_admin.storage import outbox
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.fresh_rows import FreshRows
from trimtab_admin.storage.outbox import RELAY_BATCH, OutboxRow

log = logging.getLogger(__name__)

_WATERMARK_SECONDS = 5.0
_TAKEOVER_SECONDS = 0.75
"""How long a standby lets the leader be late. A leader that ended looks like one that is paused."""
_POLL_SECONDS = 1.0
"""How often the leader reads the outbox without a wake-up message."""
_WATERMARK_RETRY_SECONDS = 0.02
"""The delay before another try of a watermark that could not be published."""
_STANDBY_POLL_SECONDS = 0.25
_MARK_SECONDS = 0.5
"""How often rows are marked as sent. The marks show a lost stream, and inform operators."""
_CLEANUP_SECONDS = 3600.0
_IN_FLIGHT = 64
"""How many rows are published without a wait for a response."""
_ROUNDS = 16
"""How often rows are taken from the outbox before marks and watermarks have their turn."""
_RETENTION = timedelta(days=7)
"""How long rows stay after they were sent, for operators. The last row always stays: `_reconcile`
compares it with the stream."""


_LOOK_BACK = 1000
"""How many sequences are searched for the last message of a relay, behind which all are foreign. If
there is none, the stream may have lost messages, and a resync publishes everything again."""


@dataclass(frozen=True)
class _StreamEnd:
    """The end of the stream, as far as relays have published it."""

    sequence: int
    """The last sequence of the stream."""
    revision: int
    """The revision of the last message of a relay; 0 if none was found."""
    relay_sequence: int = 0
    """The sequence of that message."""
    foreign: frozenset[str] = frozenset()
    """The subjects of settings among those of the foreign messages behind it."""


async def _do_nothing() -> None:
    return


class Relay:
    """Publishes changes in the order of their revisions, and a watermark every few seconds."""

    def __init__(
        self,
        client: Client,
        sessions: Sessions,
        reading: Sessions,
        *,
        on_resync: Callable[[], Awaitable[None]] = _do_nothing,
        watermark_seconds: float = _WATERMARK_SECONDS,
    ) -> None:
        """``on_resync`` is awaited after the relay published everything again.

        The stream had lost messages then, so other streams of the server may have lost some too.
        """
        self._client = client
        self._sessions = sessions
        self._reading = reading
        self._on_resync = on_resync
        self._watermark_seconds = watermark_seconds
        self._awake = asyncio.Event()
        self._fresh = FreshRows()
        self._must_read = True
        """Whether the outbox may have rows that are not among the fresh ones."""
        self._is_leader = False
        self._end = _StreamEnd(0, 0)
        self._marked = 0
        self._foreign = ForeignMessages(subjects.SETTINGS)
        self._digest: tuple[int, Digest] | None = None
        """A revision and the digest of the live settings at it."""

    def wake(self) -> None:
        """Read the outbox soon, because it has new rows."""
        self._must_read = True
        self._awake.set()

    def publish_soon(self, committed: Sequence[OutboxRow]) -> None:
        """Publish rows soon that this process has committed."""
        if not self._is_leader or not self._fresh.add(committed):
            self._must_read = True
        self._awake.set()

    @property
    def sent(self) -> int:
        """The last revision that is known to be in the stream."""
        return self._end.revision

    @property
    def is_leader(self) -> bool:
        """Whether this relay publishes, as far as it knows."""
        return self._is_leader

    async def run(self) -> None:
        """Relay until cancelled; an outage only makes the outbox grow."""
        subscription = await self._client.subscribe(subjects.RELAY, cb=self._on_wake_up)
        try:
            await tasks.retry_forever(self._run_once, "relay.failed")
        finally:
            if self._client.is_connected:
                await subscription.unsubscribe()

    async def _on_wake_up(self, _message: Msg) -> None:
        """Handle a standby's message. Two standbys must not wake each other up indefinitely."""
        if self._is_leader:
            self.wake()

    async def _run_once(self) -> None:
        """Lead until another relay publishes, then stand by until the leader is silent."""
        try:
            self._is_leader = True
            await self._lead_among_foreign_messages()
        except bus.WrongSequence:
            # Another relay publishes, or our last message was stored without an acknowledgement.
            log.info("relay.standing_by", extra={"revision": self._end.revision})
        finally:
            self._is_leader = False
        await self._stand_by()
        log.warning("relay.takeover", extra={"revision": self._end.revision})

    async def _lead_among_foreign_messages(self) -> None:
        """Lead, again where only foreign messages follow our last one. Raises `WrongSequence`."""
        while True:
            try:
                await self._lead()
            except bus.WrongSequence:
                published = self._end.sequence
                end = await self._read_stream_end()
                if not published or end.relay_sequence > published or end.sequence <= published:
                    raise

    async def _stand_by(self) -> None:
        """Return when rows, or the next watermark, are later than any leader would publish them."""
        # Random, so that two standbys do not take over from a silent leader at the same time.
        tolerance = _TAKEOVER_SECONDS * random.uniform(1.0, 2.0)
        loop = asyncio.get_running_loop()
        stream_moved = outbox_empty = loop.time()
        self._awake.set()  # Rows that we were woken up for are still to be published.
        while True:
            retrying.raise_if_cancelled()
            await self._forward_wake_ups()
            end = await self._read_stream_end()
            # A foreign message is no sign of a leader.
            if end.relay_sequence != self._end.relay_sequence:
                stream_moved = loop.time()
            self._end = end
            if await outbox.fetch_current_revision(self._reading) <= end.revision:
                outbox_empty = loop.time()
            silent = loop.time() - max(stream_moved, outbox_empty)
            overdue = loop.time() - stream_moved > self._watermark_seconds + tolerance
            if silent > tolerance or overdue:
                return

    async def _forward_wake_ups(self) -> None:
        """Wake the leader up for rows that this process wrote, until the next poll is due."""
        try:
            async with asyncio.timeout(_STANDBY_POLL_SECONDS):
                while True:
                    await self._awake.wait()
                    self._awake.clear()
                    await self._client.publish(subjects.RELAY, b"")
        except TimeoutError:
            return
        except nats.errors.Error as error:
            raise Unavailable(f"cannot wake up the leading relay: {error}") from error

    async def _lead(self) -> None:
        await self._reconcile()
        # Rows from before an outage may have been replaced since by those of a restored database.
        self._fresh.clear()
        self._must_read = True
        loop = asyncio.get_running_loop()
        next_watermark = next_mark = 0.0
        next_cleanup = loop.time() + _CLEANUP_SECONDS
        while True:
            retrying.raise_if_cancelled()
            self._awake.clear()
            await self._publish_rows()
            now = loop.time()
            if now >= next_watermark and await self._publish_watermark():
                next_watermark = loop.time() + self._watermark_seconds
            if now >= next_mark and self._marked < self._end.revision:
                await self._mark_sent()
                next_mark = loop.time() + _MARK_SECONDS
            if now >= next_cleanup:
                await self._delete_old_rows()
                next_cleanup = now + _CLEANUP_SECONDS
            retry = max(_WATERMARK_RETRY_SECONDS, next_watermark - loop.time())
            try:
                async with asyncio.timeout(min(_POLL_SECONDS, retry)):
                    await self._awake.wait()
            except TimeoutError:
                self._must_read = True

    async def _read_stream_end(self) -> _StreamEnd:
        """Read where the stream ends; create the stream if it does not exist."""
        jetstream = self._client.jetstream(timeout=bus.TIMEOUT_SECONDS)
        try:
            state = (await jetstream.stream_info(subjects.SETTINGS)).state
            if not state.messages:
                return _StreamEnd(state.last_seq, 0)
            return await self._look_back(jetstream, state.last_seq)
        except nats.js.errors.NotFoundError:
            await streams.bootstrap(self._client)
            return _StreamEnd(0, 0)
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable(f"cannot read the end of {subjects.SETTINGS}: {error}") from error

    async def _look_back(self, jetstream: JetStreamContext, last: int) -> _StreamEnd:
        """Find the last message of a relay. Foreign ones are behind it, usually none."""
        foreign: set[str] = set()
        for sequence in range(last, max(last - _LOOK_BACK, 0), -1):
            try:
                message = await jetstream.get_msg(subjects.SETTINGS, sequence)
            except nats.js.errors.NotFoundError:
                continue  # a later message of its subject has replaced it
            try:
                revision = _revision_of(message)
            except Foreign as error:
                subject = message.subject or ""
                self._foreign.report(subject, str(error))
                if subjects.settings_names(subject) is not None:
                    foreign.add(subject)
            else:
                return _StreamEnd(last, revision, sequence, frozenset(foreign))
        return _StreamEnd(last, 0)

    async def _reconcile(self) -> None:
        """Mark the rows that the stream has; resync if the stream lost rows that were sent."""
        # The marks are read before the stream, and the database after it. However long other
        # relays go on meanwhile, they never make the stream look short or ahead.
        async with transaction(self._reading) as session:
            sent, _ = await outbox.sent_and_current(session)
        self._end = end = await self._read_stream_end()
        await self._mark_sent()
        async with transaction(self._reading) as session:
            _, current = await outbox.sent_and_current(session)
        if not sent <= end.revision <= current:
            await self._resync(sent)
        elif end.foreign:
            await self._replace(end.foreign)

    async def _replace(self, foreign: frozenset[str]) -> None:
        """Append the settings again whose last message in the stream a foreign one has replaced.

        A reader that begins would miss them. They are few, so no resync of everything is needed.
        """
        async with transaction(self._sessions) as session:
            replaced = await outbox.append_again(session, foreign)
        if replaced:
            log.warning("relay.replaced", extra={"subjects": replaced})

    async def _resync(self, sent: int) -> None:
        """Append everything to the outbox again, if no other relay did so in the meantime."""
        end = self._end.revision
        names = await stream_subjects(self._client)
        async with transaction(self._sessions) as session:
            await outbox.lock(session)
            still_sent, current = await outbox.sent_and_current(session)
            if min(sent, still_sent) <= end <= current:
                return
            log.error("relay.resync", extra={"stream": end, "sent": sent, "database": current})
            if end > current:
                # The database is older than the stream; its next revisions must be newer.
                await outbox.raise_revision(session, end)
            await outbox.resync(session, names)
            # The last row that was sent is lost too; the new rows replace it.
            await outbox.delete_sent_after(session, end)
            self._digest = None
        await self._on_resync()

    async def _publish_rows(self) -> None:
        """Publish the rows after the end of the stream.

        Of those that are committed meanwhile, only some are published too: writers that never pause
        must delay neither marks nor watermarks.
        """
        for _ in range(_ROUNDS):
            fresh = self._fresh.take_after(self._end.revision)
            if fresh:
                await self._publish_each(fresh)
                continue
            # Fresh rows that are left follow rows that another process has committed.
            if not (self._must_read or self._fresh):
                return
            # Before the read: what is committed during it is for the next one.
            self._must_read = False
            # The marks are not considered: rows that another relay published and marked are tried
            # too, because the refusal is how this relay learns of the other one.
            rows = await outbox.fetch_to_publish(self._reading, self._end.revision)
            is_full = len(rows) == RELAY_BATCH
            self._must_read |= is_full
            await self._publish_each(rows)
            if not is_full:
                return
        # There may be more.
        self._awake.set()

    async def _publish_up_to(self, revision: int) -> None:
        """Publish the rows up to a revision, and none after it."""
        while self._end.revision < revision:
            rows = await outbox.fetch_to_publish(self._reading, self._end.revision)
            wanted = [row for row in rows if row.revision <= revision]
            if not wanted:
                return
            await self._publish_each(wanted)

    async def _publish_each(self, rows: Sequence[OutboxRow]) -> None:
        for start in range(0, len(rows), _IN_FLIGHT):
            await self._publish_together(rows[start : start + _IN_FLIGHT])

    async def _publish_together(self, rows: Sequence[OutboxRow]) -> None:
        """Publish rows without a wait for the response to each.

        Each names the sequence that it must follow, and the event too: a foreign message
        may have the sequence, and then no row may follow it that leaves out the rows before.
        """
        last = self._end.sequence
        ids = ["", *(row.event_id for row in rows)]
        published = await asyncio.gather(
            *(self._publish(row, last + n, ids[n]) for n, row in enumerate(rows)),
            return_exceptions=True,
        )
        for row, sequence in zip(rows, published, strict=True):
            if isinstance(sequence, BaseException):
                raise sequence
            self._end = _StreamEnd(sequence, row.revision, sequence)
        retrying.raise_if_cancelled()

    async def _mark_sent(self) -> None:
        end = self._end.revision
        await outbox.mark_sent(self._sessions, end)
        self._marked = end

    async def _delete_old_rows(self) -> None:
        await outbox.delete_sent(self._sessions, datetime.now(UTC) - _RETENTION, self._marked)

    async def _publish(self, row: OutboxRow, last_sequence: int, last_event_id: str) -> int:
        """Return the sequence of the row, which must follow the given message."""
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
                last_sequence=last_sequence,
                last_event_id=last_event_id,
            )
        # For a message that the stream has already, the server returns its earlier sequence.
        return max(sequence, last_sequence)

    async def _publish_watermark(self) -> bool:
        """Publish the rows so far and the digest of the live settings after them.

        Return false where the outbox does not have the rows.
        """
        current, digest = await self._live_digest()
        await self._publish_up_to(current)
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
        self._end = _StreamEnd(sequence, current, sequence)
        return True

    async def _live_digest(self) -> tuple[int, Digest]:
        """Return the current revision and the digest of the live settings at it.

        Only the changes since the last digest are read, if the outbox still has all of them.
        """
        if self._digest is None:
            self._digest = await self._read_digest()
            return self._digest
        at, digest = self._digest
        current, changed = await outbox.fetch_live_revisions_after(self._reading, at)
        if current - at != len(changed):
            self._digest = await self._read_digest()
            return self._digest
        # Read again where this task ends in the middle.
        self._digest = None
        await _add(digest, changed)
        self._digest = (current, digest)
        return self._digest

    async def _read_digest(self) -> tuple[int, Digest]:
        current, live = await outbox.fetch_live_revisions(self._reading)
        digest = Digest()
        await _add(digest, live)
        return current, digest


async def _add(digest: Digest, changed: Sequence[tuple[str, int | None]]) -> None:
    """Add the revision of each subject to the digest in slices; ``None`` removes the subject."""
    async for part in slices.of(changed):
        for subject, number in part:
            if number is None:
                digest.drop(subject)
            else:
                digest.put(subject, number)


def _revision_of(message: RawStreamMsg) -> int:
    """Return the revision of a message of a relay. Raises `Foreign`."""
    headers, body = message.headers or {}, message.data or b""
    if message.subject == subjects.WATERMARK:
        return parsing.watermark(headers, body).revision
    return parsing.settings_change(message.subject or "", headers, body).revision


async def stream_subjects(client: Client) -> list[str]:
    """Return the subjects that SETTINGS has a message of, tombstones included.

    Raises `Unavailable`.
    """
    try:
        info = await client.jetstream(timeout=bus.TIMEOUT_SECONDS).stream_info(
            subjects.SETTINGS, subjects_filter="trimtab.>"
        )
    except (nats.errors.Error, TimeoutError) as error:
        raise Unavailable(f"cannot list the subjects of SETTINGS: {error}") from error
    return sorted(set(info.state.subjects or {}) - {subjects.WATERMARK})
