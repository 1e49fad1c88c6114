"""All records and entities together: apply, export, history, watch."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from trimtab.api.settings import ApplyBody, ChangesBody, DocumentBody, EffectiveAllBody, HistoryBody
from trimtab.client.http import (
    Collection,
    as_dry_run,
    reason_header,
    scope_parameters,
    without_empty,
)
from trimtab.errors import Unavailable
from trimtab.levels import Scope

SILENCE_SECONDS = 45.0
"""Three heartbeats of a watch."""
_RETRY_SECONDS = 1.0


class Settings(Collection):
    """All records and entities."""

    async def apply(
        self,
        documents: Sequence[DocumentBody],
        *,
        prune: str = "",
        dry_run: bool = False,
        reason: str = "",
    ) -> ChangesBody:
        """Write all documents in one transaction.

        ``prune`` is a label such as ``owner=team-a``: each record of the documents gets it, and
        other records that have it are deleted.
        """
        request: dict[str, Any] = {
            "params": without_empty(prune=prune),
            "headers": reason_header(reason),
        }
        request = as_dry_run(request) if dry_run else request
        body = ApplyBody(documents=tuple(documents))
        return await self._http.fetch(ChangesBody, "POST", "/apply", body=body, **request)

    async def diff(self, documents: Sequence[DocumentBody], *, prune: str = "") -> ChangesBody:
        """Return the changes that `apply` would make, and their blast radius."""
        return await self.apply(documents, prune=prune, dry_run=True)

    async def export(self, *, readable_only: bool = False) -> Sequence[DocumentBody]:
        """Return everything as documents that `apply` accepts.

        Raises `Rejected` where admin cannot read a record; ``readable_only`` leaves those out.
        """
        params = {"readable_only": "true"} if readable_only else {}
        return (await self._http.fetch(ApplyBody, "GET", "/export", params=params)).documents

    async def effective(self, target: Scope) -> EffectiveAllBody:
        """Return the effective values of all kinds for a target."""
        return await self._http.fetch(
            EffectiveAllBody, "GET", "/effective", params=scope_parameters(target)
        )

    async def history(
        self,
        kind: str | None = None,
        *,
        since: int | None = None,
        limit: int | None = None,
        **where: str,
    ) -> Sequence[HistoryBody]:
        """Return the changes of a kind and of parts of a scope, the newest first."""
        params = without_empty(kind=kind, since=since, limit=limit, **where)
        return await self._http.fetch_list(HistoryBody, "/history", params, limit)

    async def watch(
        self, kind: str | None = None, *, since: int | None = None, **where: str
    ) -> AsyncGenerator[HistoryBody, None]:
        """Yield changes as they are committed, after a revision or from now on, indefinitely.

        It resumes after an outage. Raises `trimtab.errors.Gone` where admin no longer has all
        changes since then; the caller has to read everything again.
        """
        params = without_empty(kind=kind, since=since, **where)
        while True:
            try:
                async with self._http.stream_lines("/watch", params, SILENCE_SECONDS) as lines:
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
