"""What is held of pools and waited for, as resmgr says it, and what an admin does about that."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from trimtab.errors import Unavailable
from trimtab.tokens.protocol import (
    ForceRelease,
    Inspect,
    Inspected,
    Recount,
    Recounted,
    Released,
    Reprioritize,
    Reprioritized,
)
from trimtab.tokens.resmgr import ResmgrClient
from trimtab_admin.access.audit import Audit as Trail
from trimtab_admin.access.audit import Entry
from trimtab_admin.settings.entities import POOLS
from trimtab_admin.settings.reading import Reader
from trimtab_admin.storage.outbox import Author

log = logging.getLogger(__name__)


class Usage:
    """Every method raises `NotFound` on an unknown pool, and `Unavailable`."""

    def __init__(
        self,
        reader: Reader,
        resmgr: Callable[[str], ResmgrClient],
        trail: Trail,
    ) -> None:
        """``resmgr`` gives that of a cohort; ``trail`` keeps what admins do."""
        self._reader = reader
        self._resmgr = resmgr
        self._trail = trail

    async def inspect(self, pool: str) -> Inspected:
        resmgr = await self._of(pool)
        return await resmgr.request(Inspect(pool=pool), Inspected)

    async def audit(self, pool: str) -> Recounted:
        """Count the pool anew, and tell what admins took away in its cohort."""
        resmgr = await self._of(pool)
        return await resmgr.request(Recount(pool=pool), Recounted)

    async def force_release(
        self, pool: str, token: str, others: Sequence[str], author: Author, note: Entry
    ) -> Released:
        """Take a token, or the place of one that waits, away. ``others`` are its other pools.

        ``note`` is the call, for the audit trail.
        """
        resmgr = await self._of(pool)
        ask = ForceRelease(
            token=token, pools=_all(pool, others), actor=author.actor, why=author.reason
        )
        released = await resmgr.request(ask, Released)
        fields = {"pools": ask.pools, "token": token, "actor": author.actor, "why": author.reason}
        outcome = {"held": released.released, "waited": released.withdrew}
        log.warning("token.forced", extra={**fields, **outcome, "id": author.request_id})
        if released.released or released.withdrew:
            what = "token" if released.released else "the place of token"
            await self._keep(note, f"took {what} {token} away: {author.reason}")
        return released

    async def reprioritize(
        self, pool: str, token: str, others: Sequence[str], priority: int, author: Author
    ) -> Reprioritized:
        """Let one that waits come earlier or later."""
        resmgr = await self._of(pool)
        ask = Reprioritize(token=token, pools=_all(pool, others), priority=priority)
        reprioritized = await resmgr.request(ask, Reprioritized)
        fields = {"pools": ask.pools, "token": token, "priority": priority}
        actor = {"actor": author.actor, "why": author.reason, "id": author.request_id}
        log.info("token.reprioritized", extra={**fields, **actor})
        return reprioritized

    async def _keep(self, note: Entry, what: str) -> None:
        try:
            await self._trail.add(replace(note, reason=what))
        except Unavailable as error:
            # It is done, and would not be done again: the log has it, and so has resmgr.
            log.error("audit.unavailable", extra={"error": str(error), "id": note.request_id})

    async def _of(self, pool: str) -> ResmgrClient:
        return self._resmgr((await self._reader.entity(POOLS, pool)).cohort)


def _all(pool: str, others: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({pool, *others}))
