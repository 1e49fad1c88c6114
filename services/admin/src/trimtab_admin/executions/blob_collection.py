"""Bundles and resolutions in the blob store: what names them, and the deletion of all others.

A registration refreshes the bundle that it names before its transaction commits. The collection
lists the blobs before it looks for names, and the store deletes none that was refreshed since. So a
version that is registered meanwhile keeps its bundle, however many admins collect.

Propeller puts a resolution before it appends the event that names it, and refreshes it afterwards.
The collection leaves all that is not older than the first event that the database lacks. So the
blobs of events that were not delivered yet stay.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from trimtab.blobs.port import BlobStore
from trimtab.errors import Retryable
from trimtab.runtime import retrying
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import Sessions, transaction

log = logging.getLogger(__name__)

_COLLECT_SECONDS = 3600.0
_PAGE = 20
"""How many workflows or executions are searched at once; one has up to a megabyte."""
_DIGEST = re.compile("(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_EVENT = tables.execution_events.c
_EVENT_KEY = _EVENT.execution + ":" + sa.cast(_EVENT.index, sa.String)
_NAMING: tuple[tuple[sa.ColumnElement[Any], sa.Select[Any]], ...] = (
    (tables.workflows.c.id, sa.select(tables.workflows.c.id, tables.workflows.c.body)),
    (tables.executions.c.id, sa.select(tables.executions.c.id, tables.executions.c.request)),
    (
        _EVENT_KEY,
        sa.select(_EVENT_KEY, _EVENT.body).where(_EVENT.body.contains('"blob":{"digest":')),
    ),
)
"""The texts that name blobs, with the keys of their rows. No row of them is ever deleted: the event
with the resolution outlives the others of its log."""


class BlobCollection:
    """Deletes blobs that nothing has named for some days.

    A blob that is named is refreshed, so that each is looked up once in the days and not each time.
    """

    def __init__(
        self,
        store: Callable[[], BlobStore],
        searching: Sessions,
        days: int,
        stored_until: Callable[[], Awaitable[datetime]],
    ) -> None:
        """``store`` raises `trimtab.errors.Unavailable` where there is none.

        ``stored_until`` returns until when the database has all events of executions.
        """
        self._store = store
        self._searching = searching
        self._stored_until = stored_until
        self._grace = timedelta(days=days)

    async def run(self) -> None:
        """Run until cancelled; during an outage blobs only stay longer."""
        while True:
            try:
                await self.collect(datetime.now(UTC) - self._grace)
            except Retryable as error:
                log.warning("blobs.collection_failed", extra={"error": str(error)})
            retrying.raise_if_cancelled()
            await asyncio.sleep(_COLLECT_SECONDS)

    async def collect(self, before: datetime) -> int:
        """Delete blobs without a name that are older than a time; return how many.

        Raises `Retryable`.
        """
        store = self._store()
        before = min(before, await self._stored_until())
        old = {blob.digest: blob for blob in await store.list() if blob.stored_at < before}
        named = await self._named(frozenset(old))
        for digest in named:
            await store.refresh(digest)
        deleted = 0
        for digest in old.keys() - named:
            deleted += await store.delete(old[digest])
        unfinished = await store.delete_unfinished(before)
        if deleted or unfinished:
            log.info("blobs.collected", extra={"blobs": deleted, "unfinished": unfinished})
        return deleted

    async def _named(self, digests: frozenset[str]) -> frozenset[str]:
        """Return those of the digests that a version, an execution or its resolution names."""
        named: frozenset[str] = frozenset()
        for key, texts in _NAMING:
            query, last = texts.order_by(key).limit(_PAGE), None
            while named < digests:
                page = query if last is None else query.where(key > last)
                async with transaction(self._searching) as session:
                    rows = (await session.execute(page)).all()
                if not rows:
                    break
                for _, body in rows:
                    named |= digests.intersection(_DIGEST.findall(body))
                    await asyncio.sleep(0)
                last = rows[-1][0]
        return named
