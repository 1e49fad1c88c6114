"""Admit an execution: resolve it, and store the resolution before any of its nodes starts."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from pydantic_core import to_json

from trimtab.blobs import resolutions as stored
from trimtab.blobs.port import BlobStore
from trimtab.errors import Retryable, Unavailable
from trimtab.messages.executions import Admitted, NodeState, NodeWaiting, Refused, Request
from trimtab.messages.resolutions import (
    MAX_BYTES,
    MAX_EVENT_BYTES,
    Resolution,
    ResolutionBlob,
    pack,
)
from trimtab.resolution.limits import Refusal
from trimtab.runtime import retrying
from trimtab.settings.state import Settings
from trimtab.settings.view import View
from trimtab_propeller import metrics, resolution
from trimtab_propeller.execution_log import ExecutionLog
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import Site

log = logging.getLogger(__name__)

VIEW_TIMEOUT_SECONDS = 10.0
"""How long to wait for the settings that a request must see, before it is tried again later."""
_FIRST_RETRY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 2.0
"""The delays between calls of a blob store that is unavailable."""

T = TypeVar("T")


async def resolve_in_threads(
    request: Request, settings: Settings, executor: Capabilities, site: Site, pod_of: str = ""
) -> Resolution:
    """Resolve in threads, because thousands of nodes would delay all other executions.

    Only what reads the settings, which change, is done in the event loop. ``pod_of`` is that of
    `PreparedResolution.resolve`. Raises `Refusal`.
    """
    await asyncio.to_thread(resolution.check, request, executor)
    prepared = resolution.prepare(request, settings, executor, site)
    return await asyncio.to_thread(prepared.resolve, pod_of)


class Admission:
    """The admission of one execution under one claim, or what an earlier owner stored of it."""

    def __init__(
        self,
        execution_log: ExecutionLog,
        view: View,
        executor: Capabilities,
        blobs: BlobStore,
        site: Callable[[Request], Site],
    ) -> None:
        self._log = execution_log
        self._view = view
        self._executor = executor
        self._blobs = blobs
        self._site = site

    async def admit(self) -> bool:
        """Resolve the whole graph, append the result, and return whether the execution may run."""
        with metrics.measure_admission():
            settings = await self._settings()
            try:
                site = self._site(self._log.request)
                resolved = await resolve_in_threads(
                    self._log.request, settings, self._executor, site
                )
                content = await asyncio.to_thread(_content, resolved)
            except Refusal as refusal:
                await self._refuse(refusal)
                return False
            if len(content) <= MAX_EVENT_BYTES:
                await self._set_reason("")
                await self._log.append(partial(Admitted, resolution=resolved))
            else:
                await self._append_with_blob(resolved, content)
            return True

    async def load(self) -> None:
        """Load the resolution that an earlier owner stored, unless the log has it.

        It waits while the blob store is unavailable. Raises `stored.UnreadableResolution`.
        """
        state = self._log.state
        blob = state.resolution_blob
        if state.resolution is None and blob is not None:
            state.resolution = await self._retried(lambda: stored.load(self._blobs, blob))

    async def _append_with_blob(self, resolved: Resolution, content: bytes) -> None:
        """Store the blob, and then the event that names it."""
        packed = await asyncio.to_thread(pack, content)
        digest = await self._retried(lambda: self._blobs.put(packed), self._show)
        blob = ResolutionBlob(digest=digest, size=len(content))
        await self._set_reason("")
        await self._log.append(partial(Admitted, blob=blob))
        self._log.state.resolution = resolved
        # The event may have waited for so long that admin has deleted a blob without a name.
        with suppress(Unavailable):
            if not await self._blobs.refresh(digest):
                await self._blobs.put(packed)

    async def _show(self, error: Unavailable) -> None:
        await self._set_reason(f"the resolution cannot be stored: {error}")

    async def _set_reason(self, reason: str) -> None:
        """Record why the execution waits as the reason of its first node, or that it does not.

        An earlier owner may have recorded a reason, too.
        """
        node = self._log.request.workflow.nodes[0].id
        if reason != self._log.state.nodes.get(node, NodeState()).reason:
            await self._log.append(
                partial(NodeWaiting, node=node, attempt=0, pool="", reason=reason)
            )

    async def _retried(
        self,
        call: Callable[[], Awaitable[T]],
        report: Callable[[Unavailable], Awaitable[None]] | None = None,
    ) -> T:
        """Return the result of a call of the blob store, which is repeated while unavailable."""
        failures = 0
        while True:
            retrying.raise_if_cancelled()
            try:
                return await call()
            except Unavailable as error:
                failures += 1
                fields = {"execution": self._log.state.execution, "error": str(error)}
                log.warning("execution.blobs_awaited", extra=fields)
                if report is not None:
                    await report(error)
            await asyncio.sleep(
                retrying.backoff_seconds(
                    failures, first=_FIRST_RETRY_SECONDS, longest=_LONGEST_RETRY_SECONDS
                )
            )

    async def _refuse(self, refusal: Refusal) -> None:
        await self._log.append(
            partial(
                Refused,
                node=refusal.node,
                path=refusal.path,
                value=refusal.value,
                limit=refusal.limit,
                scope=refusal.scope,
                message=str(refusal),
            )
        )

    async def _settings(self) -> Settings:
        """Wait for the settings of at least the revision that the request must see."""
        while True:
            try:
                return await self._view.wait_for(self._log.request.revision, VIEW_TIMEOUT_SECONDS)
            except Retryable as error:
                fields = {"execution": self._log.state.execution, "error": str(error)}
                log.warning("execution.settings_awaited", extra=fields)


def _content(resolved: Resolution) -> bytes:
    """Return the form of messages. Raises `Refusal` where it is too large to be stored."""
    content = to_json(resolved.content())
    if len(content) > MAX_BYTES:
        message = (
            f"the values of {len(resolved.nodes)} nodes take {len(content)} bytes; at most "
            f"{MAX_BYTES} are allowed, and values that nodes share count once"
        )
        raise Refusal("workflow", f"{len(content)} bytes", message, limit=str(MAX_BYTES))
    return content
