"""Says everything again, for whoever has lost it: settings, and executions that have not ended."""

import logging

from trimtab.api.operations import ResyncBody
from trimtab.messages.executions import ENDED
from trimtab_admin.operations.exchange import Exchange
from trimtab_admin.storage import outbox, relay, tables
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.outbox import Author

log = logging.getLogger(__name__)


class Resyncing:
    """What the relay does by itself when the stream has lost something, on demand."""

    def __init__(self, sessions: Sessions, exchange: Exchange) -> None:
        self._sessions = sessions
        self._exchange = exchange

    async def run(self, author: Author) -> ResyncBody:
        """Give all that lives new revisions, which are new versions too.

        Values, and who set them, stay. Raises `Unavailable` while NATS is away, because what the
        stream holds that the database lacks is taken out of it.
        """
        names = await relay.stream_subjects(self._exchange.client)
        row = tables.executions.c
        async with transaction(self._sessions) as session:
            revisions = await outbox.resync(session, names)
            revision = revisions[-1] if revisions else await outbox.lock(session)
            # Its streams are the same, so the mark is what makes it another request.
            again = tables.executions.update().where(row.phase.not_in(ENDED)).returning(row.id)
            marked = again.values(requested_in=f"before {revision}")
            executions = len((await session.execute(marked)).all())
        log.warning("settings.resync", extra={"revision": revision, "actor": author.actor})
        self._exchange.settings_changed()
        self._exchange.execution_created()
        return ResyncBody(revision=revision, settings=len(revisions), executions=executions)
