"""The resync: everything live is published again, for readers that have lost messages."""

import logging

import sqlalchemy as sa

from trimtab.api.maintenance import ResyncBody
from trimtab.messages.executions import ENDED
from trimtab_admin.nats_tasks import NatsTasks
from trimtab_admin.storage import outbox, relay, tables
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.outbox import Author

log = logging.getLogger(__name__)

_IS_UNFINISHED = tables.executions.c.phase.not_in(ENDED)


class Resync:
    """Does on request what the relay does by itself when the stream has lost messages.

    In addition, it requests all unfinished executions again.
    """

    def __init__(self, sessions: Sessions, reading: Sessions, nats_tasks: NatsTasks) -> None:
        self._sessions = sessions
        self._reading = reading
        self._nats_tasks = nats_tasks

    async def run(self, author: Author) -> ResyncBody:
        """Append all live settings to the outbox again, with new revisions.

        A revision is also a version, so versions change; values and their authors stay. Raises
        `Unavailable` during an outage of NATS, because subjects that the stream has and the
        database lacks get a tombstone.
        """
        names = await relay.stream_subjects(self._nats_tasks.client)
        row = tables.executions.c
        async with transaction(self._sessions) as session:
            revisions = await outbox.resync(session, names)
            revision = revisions[-1] if revisions else await outbox.lock(session)
            # The requester skips executions that are requested in the streams that exist now, so
            # the mark has to differ from their identity, and from the mark of another resync.
            unfinished = tables.executions.update().where(_IS_UNFINISHED)
            marked = unfinished.returning(row.id).values(requested_in=f"before {revision}")
            executions = len((await session.execute(marked)).all())
        log.warning("settings.resync", extra={"revision": revision, "actor": author.actor})
        self._nats_tasks.wake_relay()
        self._nats_tasks.wake_requester()
        return ResyncBody(revision=revision, settings=len(revisions), executions=executions)

    async def dry_run(self) -> ResyncBody:
        """Return what `run` would, without its lock: it would hold up all writes. Raises as it."""
        names = await relay.stream_subjects(self._nats_tasks.client)
        executions = sa.select(sa.func.count()).where(_IS_UNFINISHED)
        async with transaction(self._reading) as session:
            count = await outbox.count_resync(session, names)
            revision = count + await outbox.current_revision(session)
            unfinished = (await session.execute(executions)).scalar_one()
        return ResyncBody(revision=revision, settings=count, executions=unfinished)
