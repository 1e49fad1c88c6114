"""Ownership of executions: claims of requests, heartbeats, takeovers, and the owned executions.

`trimtab_propeller.claims` decides which executions have no living owner.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing, suppress

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from trimtab.errors import Retryable, Unreadable
from trimtab.messages import subjects
from trimtab.messages.events import Heartbeat
from trimtab.messages.executions import ExecutionRequested, parse_event
from trimtab.runtime import bus, retrying
from trimtab.runtime.bus import WrongSequence
from trimtab.settings.view import View
from trimtab_propeller import execution_log, metrics
from trimtab_propeller.claims import Claim, Claims
from trimtab_propeller.driver import VIEW_TIMEOUT_SECONDS, ExecutionDriver
from trimtab_propeller.execution_log import ExecutionLog

log = logging.getLogger(__name__)


class OwnedExecutions:
    """The executions that this propeller drives, one asyncio task for each."""

    def __init__(
        self, group: asyncio.TaskGroup, make_driver: Callable[[ExecutionLog], ExecutionDriver]
    ) -> None:
        """``group`` holds the tasks, so that they end with the service."""
        self._group = group
        self._make_driver = make_driver
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __contains__(self, execution: object) -> bool:
        return execution in self._tasks

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, claimed: ExecutionLog) -> None:
        """Drive an execution under a new claim, and no longer under an older one."""
        execution = claimed.state.execution
        self.stop(execution)
        task = self._group.create_task(self._make_driver(claimed).run(), name=execution)
        self._tasks[execution] = task
        task.add_done_callback(lambda done: self._remove(execution, done))

    def stop(self, execution: str) -> None:
        """Stop driving an execution. Its running attempts go on."""
        task = self._tasks.pop(execution, None)
        if task is not None:
            task.cancel()

    def stop_all(self) -> None:
        for execution in list(self._tasks):
            self.stop(execution)

    def _remove(self, execution: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(execution) is task:
            del self._tasks[execution]


class Ownership:
    """Claims executions for this propeller.

    Run `follow_claims`, `send_heartbeats` and `take_over_orphans` as long as it drives executions.
    """

    def __init__(
        self,
        client: Client,
        owner: str,
        view: View,
        executions: OwnedExecutions,
        heartbeat_seconds: float,
    ) -> None:
        self._client = client
        self._owner = owner
        self._view = view
        self._executions = executions
        self._heartbeat_seconds = heartbeat_seconds
        self._claims = Claims(owner, heartbeat_seconds)
        self._is_current = False

    @property
    def is_current(self) -> bool:
        """Whether the claims of all propellers are known and up to date."""
        return self._is_current

    async def on_execution_requested(self, event: ExecutionRequested) -> None:
        """Claim a requested execution and drive it. The request is acknowledged once it is claimed.

        Raises `trimtab.errors.Retryable` while this propeller's settings are older than the
        request, so that another propeller can claim it.
        """
        request = event.request
        with metrics.measure_view_wait():
            await self._view.wait_for(request.revision, VIEW_TIMEOUT_SECONDS)
        try:
            claimed = await execution_log.claim(self._client, self._owner, request)
        except WrongSequence:
            # The request was delivered or made again: the owner of its execution drives it.
            log.info("execution.already_claimed", extra={"execution": request.execution})
            return
        self._executions.start(claimed)

    async def follow_claims(self) -> None:
        """Keep the claims up to date until cancelled."""
        await retrying.retry_forever(self._follow_claims, "claims.interrupted")

    async def send_heartbeats(self) -> None:
        """Publish heartbeats until cancelled."""
        body = Heartbeat(owner=self._owner).body()
        while True:
            # While the server is away no heartbeat arrives, and no execution can be taken over.
            with suppress(nats.errors.Error):
                await self._client.publish(subjects.HEARTBEATS, body)
            await asyncio.sleep(self._heartbeat_seconds)

    async def take_over_orphans(self) -> None:
        """Take over executions whose owners are silent, until cancelled."""
        await self._client.subscribe(subjects.HEARTBEATS, cb=self._on_heartbeat)
        reconnects = self._reconnects
        while True:
            before = time.monotonic()
            await asyncio.sleep(self._heartbeat_seconds)
            now = time.monotonic()
            if now - before > 2 * self._heartbeat_seconds or self._reconnects != reconnects:
                # This process was suspended or cut off, so that it missed heartbeats of others.
                self._claims.restart_timeouts(now)
                reconnects = self._reconnects
            if self._is_current:
                for claim in self._claims.orphans(now, self._executions):
                    await self._take_over(claim)

    @property
    def _reconnects(self) -> int:
        return self._client.stats["reconnects"]

    async def _on_heartbeat(self, message: Msg) -> None:
        with suppress(ValidationError):
            heartbeat = Heartbeat.model_validate_json(message.data)
            self._claims.record_heartbeat(heartbeat.owner, time.monotonic())

    async def _follow_claims(self) -> None:
        self._claims = Claims(self._owner, self._heartbeat_seconds)
        subject = subjects.ALL_EVENTS
        try:
            async with aclosing(
                bus.follow(self._client, subjects.EXECUTION_EVENTS, subject)
            ) as messages:
                async for message in messages:
                    if message is None:
                        self._is_current = True
                    else:
                        self._on_event(message)
        finally:
            self._is_current = False

    def _on_event(self, message: bus.StoredMessage) -> None:
        try:
            event = parse_event(message.body)
        except ValidationError as error:
            fields = {"subject": message.subject, "error": str(error)}
            log.error("claims.unreadable_event", extra=fields)
            self._claims.apply_foreign(subjects.name_of(message.subject), time.monotonic())
            return
        self._claims.apply(event, time.monotonic())
        if event.owner != self._owner and event.execution in self._executions:
            # The next append would fail too, but it may be a long time until then.
            log.warning("execution.superseded", extra={"execution": event.execution})
            self._executions.stop(event.execution)

    async def _take_over(self, claim: Claim) -> None:
        fields = {"execution": claim.execution, "former": claim.owner, "epoch": claim.epoch}
        try:
            claimed = await execution_log.take_over(
                self._client, self._owner, claim.execution, epoch=claim.epoch
            )
        except WrongSequence:
            return  # another propeller has claimed it, and its claim arrives soon
        except Retryable as error:
            log.warning("execution.takeover_failed", extra={**fields, "error": str(error)})
        except Unreadable as error:
            log.error("execution.unreadable", extra={**fields, "error": str(error)})
            self._claims.remove(claim.execution)
        else:
            if claimed is None:
                self._claims.remove_unchanged(claim)
            else:
                log.warning("execution.taken_over", extra=fields)
                self._executions.start(claimed)
