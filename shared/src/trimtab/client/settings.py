"""All records and entities together: apply, export, history, watch."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from trimtab.api.settings import (
    EXPORT_HEAD,
    EXPORT_TAIL,
    ApplyBody,
    ChangesBody,
    DocumentBody,
    EffectiveAllBody,
    ExportBody,
    HistoryBody,
)
from trimtab.client.http import (
    TIMEOUT_SECONDS,
    Collection,
    Foreign,
    as_dry_run,
    lines_of,
    reason_header,
    scope_parameters,
    without_empty,
)
from trimtab.errors import Unavailable
from trimtab.levels import Scope

SILENCE_SECONDS = 45.0
"""Three heartbeats of a watch."""
_RETRY_SECONDS = 1.0
_SECONDS_PER_DOCUMENT = 0.02
"""Several times as long as admin needs, so that its answer is not missed."""


class Settings(Collection):
    """All records and entities."""

    async def apply(
        self,
        documents: Sequence[DocumentBody],
        *,
        prune: str = "",
        allow_empty: bool = False,
        dry_run: bool = False,
        reason: str = "",
    ) -> ChangesBody:
        """Write all documents, at most `trimtab.api.settings.MAX_DOCUMENTS`, in one transaction.

        ``prune`` is a label such as ``owner=team-a``: each record of the documents gets it, and
        other records that have it are deleted; all of them only with ``allow_empty``.
        """
        request: dict[str, Any] = {
            "params": without_empty(prune=prune, allow_empty="true" if allow_empty else None),
            "headers": reason_header(reason),
            "timeout": TIMEOUT_SECONDS + _SECONDS_PER_DOCUMENT * len(documents),
        }
        request = as_dry_run(request) if dry_run else request
        body = ApplyBody(documents=tuple(documents))
        return await self._http.fetch(ChangesBody, "POST", "/apply", body=body, **request)

    async def diff(
        self, documents: Sequence[DocumentBody], *, prune: str = "", allow_empty: bool = False
    ) -> ChangesBody:
        """Return the changes that `apply` would make, and their blast radius."""
        return await self.apply(documents, prune=prune, allow_empty=allow_empty, dry_run=True)

    async def export(self, *, readable_only: bool = False) -> Sequence[DocumentBody]:
        """Return everything as documents that `apply` accepts. Raises as `stream_export`."""
        async with aclosing(self.stream_export(readable_only=readable_only)) as documents:
            return [document async for document in documents]

    async def stream_export(
        self, *, readable_only: bool = False
    ) -> AsyncGenerator[DocumentBody, None]:
        """Yield everything as documents, as of one revision, without holding all of them.

        Entities come first, then records by kind and from broad to narrow. Raises `Rejected` before
        the first one where admin cannot read a record, which ``readable_only`` leaves out; and
        `Unavailable`, also after some of them.
        """
        params = {"readable_only": "true"} if readable_only else {}
        received = 0
        async with self._http.stream("/export", params, TIMEOUT_SECONDS) as response:
            async for line in lines_of(response.aiter_bytes()):
                for document in _exported(line):
                    received += 1
                    yield document
        # An earlier release does not send the number.
        expected = int(response.headers.get("X-Trimtab-Documents", received))
        if received != expected:
            raise Unavailable(f"the export ended after {received} of {expected} documents")

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
            except Unavailable as error:
                if "since" not in params or isinstance(error, Foreign):
                    raise
            await asyncio.sleep(_RETRY_SECONDS)


def _exported(line: bytes) -> Iterator[DocumentBody]:
    """Yield the documents of a line of an `ExportBody`, which is all of it in earlier releases."""
    if line in (EXPORT_HEAD, EXPORT_TAIL, b""):
        return
    if line.startswith(EXPORT_HEAD):
        yield from ExportBody.model_validate_json(line).documents
    else:
        yield DocumentBody.model_validate_json(line.removesuffix(b","))
