"""Claim requests while there is room, one project-domain after the other.

The claim's compare-and-set decides between propellers. One that finds that an execution has a log
deletes its request, which is then without use. All that this module remembers can be lost: the
stream lists what there is to do.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress

from nats.aio.client import Client

from trimtab.errors import Rejected, Retryable
from trimtab.messages.executions import Request
from trimtab.runtime import metrics as runtime_metrics
from trimtab.runtime import retrying, tasks, telemetry
from trimtab.runtime.bus import StoredMessage, WrongSequence
from trimtab.settings.view import View
from trimtab_propeller import execution_log, metrics, requests
from trimtab_propeller.availability import ExecutorAvailability
from trimtab_propeller.execution_log import Claimer
from trimtab_propeller.namespaces import RequiredNamespaces
from trimtab_propeller.owned import OwnedExecutions
from trimtab_propeller.requests import RequestStream
from trimtab_propeller.turns import AwaitedNamespaces, EarlyRequests, Turns, UnplacedRequests

log = logging.getLogger(__name__)

_LIST_SECONDS = 2.0
"""How often the subjects of the stream are listed, because a hint may be missing."""
_POLL_SECONDS = 0.05
"""How often to look whether the view has the settings that requests must see."""
_STORED_SECONDS = 0.1
"""How long after a hint the stream may not have stored its request yet."""
_VISIBLE_SECONDS = 10.0
"""After so long a wait for settings or a namespace, the reason is logged."""


class RequestClaiming:
    """Claims requested executions, and drives them. Run `claim_requests` for as long as it may."""

    def __init__(
        self,
        client: Client,
        claimer: Claimer,
        view: View,
        executions: OwnedExecutions,
        availability: ExecutorAvailability,
        namespaces: RequiredNamespaces,
    ) -> None:
        self._client = client
        self._claimer = claimer
        self._view = view
        self._executions = executions
        self._availability = availability
        self._namespaces = namespaces
        self._stream = RequestStream(client)
        self._turns = Turns()
        self._early = EarlyRequests()
        self._awaited = AwaitedNamespaces()
        self._unplaced = UnplacedRequests()
        self._created = ""
        """When the stream was created whose requests were passed."""
        self._awake = asyncio.Event()
        self._hinted: set[str] = set()
        self._list_at = 0.0
        self._reported: set[str] = set()

    async def claim_requests(self) -> None:
        """Claim requests until cancelled."""
        async with self._stream.hints(self._on_hint):
            await tasks.retry_forever(self._claim, "requests.interrupted")

    async def follow_namespaces(self) -> None:
        """Give turns to the project-domains whose namespaces become usable, until cancelled."""
        await self._namespaces.follow(self._client, self._return_usable)

    def reasons(self) -> Mapping[str, str]:
        """Return why requests are not claimed, by subject, of the project-domains that wait."""
        shown = self._view.settings.revision
        early = self._early.waiting(time.monotonic(), _VISIBLE_SECONDS)
        reasons = {
            subject: f"it needs the settings at revision {revision}; propeller has those of {shown}"
            for subject, revision in early.items()
        }
        reasons |= self._unplaced.waiting(time.monotonic(), 0)
        for namespace, waiting in self._awaited.by_namespace.items():
            if problem := self._namespaces.problem(namespace):
                reasons |= dict.fromkeys(waiting, problem)
        return reasons

    async def _claim(self) -> None:
        self._list_at = 0.0
        while True:
            retrying.raise_if_cancelled()
            await self._executions.wait_for_room()
            # The requests are left to propellers that can start attempts.
            await self._availability.wait()
            if not self._view.ready:
                await asyncio.sleep(_POLL_SECONDS)
                continue
            if time.monotonic() >= self._list_at:
                await self._list()
            self._return_due()
            subject = self._turns.next()
            if subject is None:
                await self._wait()
                continue
            try:
                await self._take_turn(subject)
            except Retryable:
                raise
            except Exception:  # the boundary: the requests of other project-domains do not wait
                log.exception("request.defect", extra={"subject": subject})
                self._turns.remove(subject)

    def _return_due(self) -> None:
        """Give turns to the subjects whose first requests the view has the settings for by now."""
        for subject, since in self._early.take_due(self._view.settings.revision).items():
            metrics.record_view_wait(time.monotonic() - since)
            # All that were passed are read again, the first one first.
            self._unplaced.forget(subject)
            self._reported.discard(subject)
            self._turns.add(subject)

    def _return_usable(self, namespace: str) -> None:
        """Give turns to the subjects that wait for a namespace, if it can be used by now."""
        self._return_unplaced(self._unplaced.take_changed(namespace))
        if namespace not in self._awaited.by_namespace or self._namespaces.problem(namespace):
            return
        for subject, since in self._awaited.take(namespace).items():
            metrics.record_namespace_wait(time.monotonic() - since)
            self._reported.discard(subject)
            self._turns.add(subject)
        self._awake.set()

    def _return_unplaced(self, subjects: Mapping[str, float]) -> None:
        """Read the requests of the subjects again, from the first one on."""
        for subject, since in subjects.items():
            metrics.record_namespace_wait(time.monotonic() - since)
            self._early.forget(subject)
            self._reported.discard(subject)
            self._turns.add(subject)
            self._awake.set()

    async def _list(self) -> None:
        listed = await self._stream.list()
        if listed.created != self._created:
            # The requests of a recreated stream have lower sequences.
            self._created, self._early = listed.created, EarlyRequests()
            self._unplaced = UnplacedRequests()
        self._awaited.retain(listed.counts)
        self._unplaced.retain(listed.counts)
        self._reported.intersection_update(listed.counts)
        for namespace in list(self._awaited.by_namespace):
            # The cluster may have been deleted meanwhile.
            self._return_usable(namespace)
        self._return_unplaced(self._unplaced.take_older(self._view.settings.revision))
        for subject in listed.counts:
            self._add_turn(subject)
        self._list_at = time.monotonic() + _LIST_SECONDS

    async def _wait(self) -> None:
        """Wait for a hint, for the time of the next list, or for newer settings."""
        now = time.monotonic()
        self._report_early(now)
        self._report_awaited(now)
        pause = max(0.0, self._list_at - now)
        self._awake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(pause, _POLL_SECONDS) if self._early else pause):
                await self._awake.wait()

    def _report_early(self, now: float) -> None:
        for subject, revision in self._early.waiting(now, _VISIBLE_SECONDS).items():
            if subject not in self._reported:
                self._reported.add(subject)
                shown = self._view.settings.revision
                fields = {"subject": subject, "revision": revision, "view_revision": shown}
                log.warning("request.settings_awaited", extra=fields)

    def _report_awaited(self, now: float) -> None:
        reasons = self._unplaced.waiting(now, _VISIBLE_SECONDS)
        for namespace, waiting in self._awaited.by_namespace.items():
            for subject, since in waiting.items():
                if now - since > _VISIBLE_SECONDS:
                    reasons[subject] = self._namespaces.problem(namespace)
        for subject in reasons.keys() - self._reported:
            self._reported.add(subject)
            fields = {"subject": subject, "error": reasons[subject]}
            log.warning("request.namespace_awaited", extra=fields)

    def _add_turn(self, subject: str) -> None:
        """Give the subject a turn, unless its namespace cannot be used."""
        if subject not in self._awaited:
            self._turns.add(subject)

    def _on_hint(self, subject: str) -> None:
        self._add_turn(subject)
        self._awake.set()
        if subject not in self._hinted:
            # The hint may be here before the stream has the request.
            self._hinted.add(subject)
            asyncio.get_running_loop().call_later(_STORED_SECONDS, self._repeat_hint, subject)

    def _repeat_hint(self, subject: str) -> None:
        self._hinted.discard(subject)
        self._add_turn(subject)
        self._awake.set()

    async def _take_turn(self, subject: str) -> None:
        """Claim the first request of a project-domain whose settings the view has.

        Its namespace depends on them, so it is awaited after them.
        """
        passed = self._early, self._unplaced
        sequence = max(each.first_sequence(subject) for each in passed)
        message = await self._stream.first(subject, sequence)
        if message is None:
            self._turns.remove(subject)
            return
        try:
            request = requests.parse(message)
            namespace = self._namespaces.name(request.project, request.domain)
        except Rejected as error:
            await self._reject(message, str(error))
            return
        if request.revision > self._view.settings.revision:
            now = time.monotonic()
            self._early.record(subject, message.sequence, request.revision, now)
            return
        if problem := self._namespaces.problem_of(request):
            self._pass(message, namespace, problem)
            return
        if not self._executions.has_room:
            return  # an execution was taken over meanwhile
        with (
            telemetry.consuming(subject, message.headers),
            runtime_metrics.processing(subject),
            self._executions.reserve(),
        ):
            await self._claim_request(message, request)

    def _pass(self, message: StoredMessage, namespace: str, problem: str) -> None:
        """Leave a request until its namespace can be used on a cluster that may be selected.

        Those behind it are read, unless the namespace can be used on no cluster.
        """
        subject, now = message.subject, time.monotonic()
        if self._namespaces.problem(namespace):
            self._turns.remove(subject)
            self._awaited.record(subject, namespace, now)
            return
        revision = self._view.settings.revision
        self._unplaced.record(subject, message.sequence, namespace, revision, problem, now)

    async def _claim_request(self, message: StoredMessage, request: Request) -> None:
        fields = {"execution": request.execution, "subject": message.subject}
        try:
            claimed = await execution_log.claim(self._client, self._claimer, request)
        except WrongSequence:
            # It was requested again, or another propeller was faster: that owner drives it.
            log.info("execution.already_claimed", extra=fields)
        except Rejected as error:
            await self._reject(message, str(error))
            return
        else:
            log.info("execution.claimed", extra=fields)
            self._executions.start(claimed)
        await self._stream.delete(message)

    async def _reject(self, message: StoredMessage, reason: str) -> None:
        """Copy a message that can never be claimed, end its execution, and delete it."""
        execution = requests.execution_of(message)
        fields = {"subject": message.subject, "execution": execution, "error": reason}
        log.error("request.dead_lettered", extra=fields)
        await self._stream.copy_to_dead_letters(message, reason)
        if execution:
            await execution_log.fail_unclaimed(self._client, self._claimer, execution, reason)
        await self._stream.delete(message)
