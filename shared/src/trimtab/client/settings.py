"""All records, projects, domains, clusters and pools together."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from trimtab.api.effective import EffectiveAllBody
from trimtab.api.settings import ApplyBody, ChangesBody, DocumentBody, HistoryBody
from trimtab.client.requests import Noun, because, dry, given, parts
from trimtab.errors import Unavailable
from trimtab.levels import Scope

SILENCE_SECONDS = 45.0
"""Three heartbeats of a watch."""
_RETRY_SECONDS = 1.0


class Settings(Noun):
    """All records, projects, domains, clusters and pools together."""

    async def apply(
        self,
        documents: Sequence[DocumentBody],
        *,
        prune: str = "",
        dry_run: bool = False,
        reason: str = "",
    ) -> ChangesBody:
        """Write all of them in one transaction, or nothing.

        ``prune``, a label such as ``owner=team-a``, is given to each record of the documents, and
        records that have it and are not among them are deleted.
        """
        request: dict[str, Any] = {"params": given(prune=prune), "headers": because(reason)}
        request = dry(request) if dry_run else request
        body = ApplyBody(documents=tuple(documents))
        return await self._calls.one(ChangesBody, "POST", "/apply", body=body, **request)

    async def diff(self, documents: Sequence[DocumentBody], *, prune: str = "") -> ChangesBody:
        """What `apply` would change, for whom."""
        return await self.apply(documents, prune=prune, dry_run=True)

    async def export(self, *, readable_only: bool = False) -> Sequence[DocumentBody]:
        """Everything, as documents that `apply` takes back.

        Raises `Rejected` where a record cannot be read by admin, unless they are left out.
        """
        params = {"readable_only": "true"} if readable_only else {}
        return (await self._calls.one(ApplyBody, "GET", "/export", params=params)).documents

    async def effective(self, target: Scope) -> EffectiveAllBody:
        """What applies to a target, of every kind."""
        return await self._calls.one(EffectiveAllBody, "GET", "/effective", params=parts(target))

    async def history(
        self,
        kind: str | None = None,
        *,
        since: int | None = None,
        limit: int | None = None,
        **where: str,
    ) -> Sequence[HistoryBody]:
        """Changes, the newest first, of a kind and of parts of a scope."""
        params = given(kind=kind, since=since, limit=limit, **where)
        return await self._calls.many(HistoryBody, "/history", params, limit)

    async def watch(
        self, kind: str | None = None, *, since: int | None = None, **where: str
    ) -> AsyncGenerator[HistoryBody, None]:
        """Changes as they are committed, after a revision or from now on; it ends with its user.

        It goes on after an outage where it was. Raises `trimtab.errors.Gone` where admin no longer
        has all changes since then: read everything again.
        """
        params = given(kind=kind, since=since, **where)
        while True:
            try:
                async with self._calls.lines("/watch", params, SILENCE_SECONDS) as lines:
                    async for line in lines:
                        name, _, value = line.partition(": ")
                        if name == "id":
                            params["since"] = value
                        elif name == "data":
                            yield HistoryBody.model_validate_json(value)
            except Unavailable:
                if "since" not in params:
                    raise
            await asyncio.sleep(_RETRY_SECONDS)
