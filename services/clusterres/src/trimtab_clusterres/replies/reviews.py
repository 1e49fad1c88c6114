"""Reviews whether a cluster can be reached, and which permissions this service lacks there.

A missing permission does not make the service unready: namespaces of other clusters are not
affected, and those of this one fail with the reason of the API server.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from trimtab.api.doctor import ClusterReport
from trimtab.errors import TrimtabError
from trimtab.runtime import tasks
from trimtab.templates.files import TemplateSet
from trimtab_clusterres.clusters.port import ApiKind, Cluster

log = logging.getLogger(__name__)

_POLL_SECONDS = 5.0
"""How soon other templates are reviewed."""
_AGAIN_SECONDS = 120.0
"""How soon a cluster with a problem is reviewed again."""
_FRESH_SECONDS = 2.0
"""A younger report is not made again."""

Templates = Callable[[], Awaitable[TemplateSet]]


class ClusterReview:
    """The last report of one cluster. Run `run` for as long as it is used."""

    def __init__(
        self, name: str, cluster: Cluster, templates: Templates, *, deadline_seconds: float
    ) -> None:
        self.name = name
        self._cluster = cluster
        self._templates = templates
        self._deadline_seconds = deadline_seconds
        self._last: ClusterReport | None = None
        self._kinds: frozenset[ApiKind] | None = None
        """The kinds of the last review."""
        self._ended_at = 0.0
        self._lock = asyncio.Lock()

    @property
    def problems(self) -> list[str]:
        """Why the cluster or a permission cannot be used, by the last review."""
        return _problems(self._last)

    async def run(self) -> None:
        """Review the cluster until cancelled: at the start, when the templates have other kinds,
        and again while it has a problem."""
        await tasks.keep_running(self._watch, "review.failed")

    async def report(self, deadline_seconds: float) -> ClusterReport:
        """Review the cluster now, unless that was just done."""
        found, templates_error = await self._found()
        kinds = _kinds(found)
        async with self._lock:
            is_fresh = time.monotonic() - self._ended_at < _FRESH_SECONDS
            if self._last is None or kinds != self._kinds or not is_fresh:
                await self._review(kinds, deadline_seconds)
            assert self._last is not None  # it was just made
            objects = found.documents if found else 0
            update = {"objects": objects, "templates_error": templates_error}
            return self._last.model_copy(update=update)

    async def _watch(self) -> None:
        while True:
            kinds = _kinds((await self._found())[0])
            is_due = time.monotonic() - self._ended_at >= _AGAIN_SECONDS and self.problems
            if kinds != self._kinds or is_due:
                async with self._lock:
                    await self._review(kinds, self._deadline_seconds)
            await asyncio.sleep(_POLL_SECONDS)

    async def _found(self) -> tuple[TemplateSet | None, str]:
        """Return the templates, or why these cannot be used."""
        try:
            return await self._templates(), ""
        except TrimtabError as error:
            return None, str(error)

    async def _review(self, kinds: frozenset[ApiKind], deadline_seconds: float) -> None:
        missing: tuple[str, ...] = ()
        error = ""
        try:
            async with asyncio.timeout(deadline_seconds):
                missing = await self._cluster.missing_permissions(kinds)
        except TimeoutError:
            error = f"it did not answer within {deadline_seconds:g} s"
        except TrimtabError as failure:
            error = str(failure)
        except Exception as failure:  # noqa: BLE001  # it ends this review only
            tasks.report_failure("review.defect", failure, {"cluster": self.name})
            error = f"a defect of clusterres: {type(failure).__name__}: {failure}"
        report = ClusterReport(name=self.name, error=error, missing=missing, at=datetime.now(UTC))
        if (now := _problems(report)) != self.problems:
            level = logging.WARNING if now else logging.INFO
            log.log(level, "cluster.reviewed", extra={"cluster": self.name, "problems": now})
        self._last, self._kinds, self._ended_at = report, kinds, time.monotonic()


def _kinds(found: TemplateSet | None) -> frozenset[ApiKind]:
    return frozenset(ApiKind(*kind) for kind in found.kinds) if found else frozenset()


def _problems(report: ClusterReport | None) -> list[str]:
    if report is None:
        return []
    return [report.error] if report.error else list(report.missing)
