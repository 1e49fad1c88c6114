"""The status of a namespace on a cluster: built from a try, and published on NAMESPACES."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple

from nats.aio.client import Client

from trimtab.errors import TrimtabError
from trimtab.levels import Scope
from trimtab.messages import parsing, subjects
from trimtab.messages.events import NamespaceStatus, ObjectStatus
from trimtab.messages.parsing import Foreign
from trimtab.runtime import bus, tasks
from trimtab.runtime.bus import StoredMessage
from trimtab.runtime.foreign import ForeignMessages
from trimtab.templates.manifests import Manifest
from trimtab_clusterres.clusters.port import Inventory, Result
from trimtab_clusterres.hiding import secret_values, without_values
from trimtab_clusterres.namespaces import Layout, Placement
from trimtab_clusterres.pruning.pruner import Pruned
from trimtab_clusterres.shortening import MAX_BYTES, MAX_ERROR, shorten, shortened

_BAD = ("failed", "conflicted")
_HEADERS_BYTES = 4096
"""The part of a message that its headers may take."""
_CHANGED = {"applied": "unchanged", "pruned": "", "released": ""}
"""The outcomes of a change, with that of the next try; empty where there is no object any more."""


@dataclass(frozen=True)
class Attempt:
    """How one try to bring a namespace up to date went."""

    revision: int = 0
    """The revision of the settings that were rendered; 0 where the try did not come so far."""
    manifests: Sequence[Manifest] = ()
    """The rendered objects; empty where rendering failed."""
    results: Sequence[Result] = ()
    """The result of each object; empty where nothing was applied."""
    error: str = ""
    """Why the namespace is not up to date; empty where it is."""
    seconds: float = 0.0
    pruned: Pruned = field(default_factory=Pruned)
    """The objects that nothing renders any longer."""
    inventory: Inventory | None = None
    """The record of the cluster after a try that failed; ``None`` where it was not read."""


def status(
    cluster: str, namespace: str, target: Scope, attempt: Attempt, *, was_usable: bool = False
) -> NamespaceStatus:
    """Return the status of a namespace; ``target`` is its first project and domain."""
    details = (*map(_detail, attempt.results), *attempt.pruned.details)
    return NamespaceStatus(
        cluster=cluster,
        namespace=namespace,
        project=target.project,
        domain=target.domain,
        revision=attempt.revision,
        state="failed" if attempt.error else "ready",
        usable=_is_usable(attempt, was_usable=was_usable),
        objects=tuple(str(manifest) for manifest in attempt.manifests),
        counts=Counter(detail.outcome for detail in details),
        details=details,
        prune_digest=attempt.pruned.digest,
        seconds=round(attempt.seconds, 3),
        error=attempt.error,
        at=datetime.now(UTC),
    )


def removed(placement: Placement, target: Scope, attempt: Attempt, reason: str) -> NamespaceStatus:
    """Return the status of a namespace that is not kept up to date, for the reason."""
    made = status(*placement, target, attempt)
    if attempt.error:
        return made
    return made.model_copy(update={"state": "removed", "usable": False, "error": reason})


def first_failure(results: Iterable[Result]) -> str:
    """Return the error of the first object that is not as rendered; empty where none is."""
    failed = [one for one in results if one.outcome in _BAD]
    others = f" (and {len(failed) - 1} more objects)" if len(failed) > 1 else ""
    return next((f"{one.key}: {one.message}{others}" for one in failed), "")


def error_text(failure: Exception) -> str:
    """Return the text of a failure as a status can hold it."""
    text = str(failure)
    if not isinstance(failure, TrimtabError):
        text = f"a defect of clusterres: {type(failure).__name__}: {text}"
    return shorten(text, MAX_ERROR)


def presentable(attempt: Attempt) -> Attempt:
    """Return the attempt without values of Secrets, and without a long error."""
    if not attempt.error and not any(result.message for result in attempt.results):
        return attempt
    secrets = secret_values(attempt.manifests)
    results = tuple(
        replace(result, message=without_values(result.message, secrets))
        for result in attempt.results
    )
    error = shorten(without_values(attempt.error, secrets), MAX_ERROR)
    return replace(attempt, results=results, error=error)


class _Stored(NamedTuple):
    sequence: int
    status: NamespaceStatus


class Statuses:
    """Publishes the statuses of namespaces, and knows the last one of each from the stream.

    A status that states the same as the last one is not published again, so that a check that
    finds nothing to do publishes nothing. A new revision of the settings is published also where
    it changed no object, because readers wait for it.
    """

    def __init__(self, client: Client, fence: Callable[[], None] = lambda: None) -> None:
        """``fence`` is called directly before each status; where it raises, none is published."""
        self._client = client
        self._fence = fence
        self._last: dict[str, _Stored] = {}  # by subject
        self._is_loaded = asyncio.Event()
        self._has_changed = asyncio.Event()
        self._foreign = ForeignMessages(subjects.NAMESPACES)

    async def follow(self) -> None:
        """Read what was published, also by another replica, until cancelled."""
        await tasks.retry_forever(self._read, "statuses.interrupted")

    async def last(self, placement: Placement) -> NamespaceStatus | None:
        """Return the status that was published last, also by a process before this one."""
        await self._is_loaded.wait()
        stored = self._last.get(subjects.namespace(*placement))
        return None if stored is None else stored.status

    async def publish(self, status: NamespaceStatus) -> None:
        """Publish a status, shortened. Raises `trimtab.errors.Unavailable`."""
        placement = Placement(status.cluster, status.namespace)
        limit = min(MAX_BYTES, self._client.max_payload - _HEADERS_BYTES)
        short = shortened(status, limit)
        if not is_news(short, await self.last(placement)):
            return
        subject = subjects.namespace(*placement)
        stored = self._last.get(subject)
        self._fence()
        # A process that is suspended here must not replace what was published meanwhile.
        sequence = await bus.publish(
            self._client,
            subjects.NAMESPACES,
            subject,
            short,
            last_subject_sequence=stored.sequence if stored else 0,
        )
        self._last[subject] = _Stored(sequence, short)

    async def remove_missing(self, layout: Callable[[], Layout | None]) -> None:
        """Publish which namespaces the layout does not have any longer, until cancelled.

        Call `notify` after a change of the layout, which is ``None`` before it is known.
        """

        async def work() -> None:
            self.notify()
            while await self._has_changed.wait():
                self._has_changed.clear()
                if (present := layout()) is not None:
                    await self._remove_missing(present)

        await tasks.retry_forever(work, "statuses.unpublished")

    def notify(self) -> None:
        """Compare the last statuses with the layout soon."""
        self._has_changed.set()

    async def _remove_missing(self, layout: Layout) -> None:
        for _, last in list(self._last.values()):
            placement = Placement(last.cluster, last.namespace)
            if last.state != "removed" and (reason := layout.missing_reason(placement)):
                await self.publish(_removed(last, reason))

    async def _read(self) -> None:
        read: dict[str, _Stored] = {}
        stream, all_namespaces = subjects.NAMESPACES, subjects.ALL_NAMESPACES
        async with aclosing(bus.follow(self._client, stream, all_namespaces)) as messages:
            async for message in messages:
                if message is not None:
                    self._keep(read, message)
                    continue
                # What the stream has lost is published again.
                self._last = read
                self._is_loaded.set()
                self.notify()

    def _keep(self, read: dict[str, _Stored], message: StoredMessage) -> None:
        known = self._last.get(message.subject)
        if known is not None and known.sequence == message.sequence:
            read[message.subject] = known  # usually what this service has published
            return
        try:
            status = parsing.namespace_status(message.subject, message.headers, message.body)
        except Foreign as error:
            self._foreign.report(message.subject, str(error))
            return
        held = read.get(message.subject)
        # This service may have published a newer one meanwhile.
        if held is None or held.sequence < message.sequence:
            read[message.subject] = _Stored(message.sequence, status)


def is_news(status: NamespaceStatus, last: NamespaceStatus | None) -> bool:
    """Return whether a status states more than the last one: not only other times.

    What was changed on the cluster is news, also where the try before changed it as well.
    """
    if last is None or any(status.counts.get(outcome) for outcome in _CHANGED):
        return True
    return _facts(status) != _facts(last)


def _facts(status: NamespaceStatus) -> dict[str, object]:
    """Return what the next try states too, if nothing happens until then."""
    facts = status.model_dump(exclude={"at", "seconds"})
    counts: Counter[str] = Counter()
    for outcome, count in status.counts.items():
        counts[_CHANGED.get(outcome, outcome)] += count
    details = [
        (detail.object, _CHANGED.get(detail.outcome, detail.outcome), _lasting_message(detail))
        for detail in status.details
        if _CHANGED.get(detail.outcome, detail.outcome)
    ]
    return {**facts, "details": details, "counts": {key: counts[key] for key in counts if key}}


def _lasting_message(detail: ObjectStatus) -> str:
    return "" if detail.outcome in _CHANGED else detail.message


def _is_usable(attempt: Attempt, *, was_usable: bool) -> bool:
    """Return whether each object has been applied once, by this try or an earlier one.

    What a deleted namespace had applied is lost with its inventory.
    """
    if not attempt.error:
        return True
    if attempt.inventory is None:
        return was_usable
    entries = attempt.inventory.entries.values()
    return bool(entries) and (was_usable or all(entry.uid for entry in entries))


def _removed(last: NamespaceStatus, reason: str) -> NamespaceStatus:
    update = {"state": "removed", "usable": False, "error": reason, "at": datetime.now(UTC)}
    return last.model_copy(update=update)


def _detail(result: Result) -> ObjectStatus:
    return ObjectStatus(
        object=str(result.key),
        outcome=result.outcome,
        message=result.message,
        seconds=round(result.seconds, 3),
    )
