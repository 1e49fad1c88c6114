"""Ownership of executions: the claims of all propellers, heartbeats and takeovers.

`trimtab_propeller.claims` decides which executions have no living owner.
"""

import asyncio
import logging
import time
from contextlib import aclosing, suppress

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from trimtab.errors import Retryable
from trimtab.messages import subjects
from trimtab.messages.events import Heartbeat
from trimtab.messages.executions import AnyEvent, logged_event
from trimtab.runtime import bus, tasks
from trimtab.runtime.bus import WrongSequence
from trimtab.runtime.foreign import ForeignMessages
from trimtab_propeller import execution_log
from trimtab_propeller.availability import ExecutorAvailability
from trimtab_propeller.claims import (
    MISSED_HEARTBEATS,
    MISSED_WHERE_NONE_STARTS,
    Claim,
    Claims,
)
from trimtab_propeller.execution_log import Claimer, OutOfSight
from trimtab_propeller.owned import OwnedExecutions

log = logging.getLogger(__name__)


class Ownership:
    """Claims executions for this propeller.

    Run `follow_claims`, `send_heartbeats` and `take_over_orphans` as long as it drives executions.
    """

    def __init__(
        self,
        client: Client,
        claimer: Claimer,
        executions: OwnedExecutions,
        availability: ExecutorAvailability,
        heartbeat_seconds: float,
    ) -> None:
        self._client = client
        self._claimer = claimer
        self._owner = claimer.owner
        self._executions = executions
        self._availability = availability
        self._heartbeat_seconds = heartbeat_seconds
        self._claims = Claims(claimer.owner, heartbeat_seconds)
        self._is_current = False
        self._out_of_sight: dict[str, Claim] = {}
        """Executions that must be left alone until something new is appended to their logs."""
        self._foreign = ForeignMessages(subjects.EXECUTION_EVENTS)

    @property
    def is_current(self) -> bool:
        """Whether the claims of all propellers are known and up to date."""
        return self._is_current

    @property
    def out_of_sight(self) -> int:
        """The number of executions without an owner whose attempts are at other locations."""
        return len(self._out_of_sight)

    async def follow_claims(self) -> None:
        """Keep the claims up to date until cancelled."""
        await tasks.retry_forever(self._follow_claims, "claims.interrupted")

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
        await tasks.retry_forever(self._look_for_orphans, "takeovers.interrupted")

    async def _look_for_orphans(self) -> None:
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
                can_start = not self._availability.problem
                missed = MISSED_HEARTBEATS if can_start else MISSED_WHERE_NONE_STARTS
                await self._take_over_all(self._claims.orphans(now, self._executions, missed))

    async def _take_over_all(self, orphans: list[Claim]) -> None:
        """Take over as many executions as there is room for. The others are orphans next time."""
        by_execution = {claim.execution: claim for claim in orphans}
        known = self._out_of_sight
        self._out_of_sight = {e: c for e, c in known.items() if by_execution.get(e) == c}
        waiting = [claim for claim in orphans if claim.execution not in self._out_of_sight]
        for taken, claim in enumerate(waiting):
            # Requests would take each room at once, and an orphan may hold tokens.
            self._executions.keep_room(len(waiting) - taken)
            if not self._executions.has_room_for_orphans:
                return
            with self._executions.reserve():
                await self._take_over(claim)
        self._executions.keep_room(0)

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
                    elif (event := await self._event_in(message)) is not None:
                        self._on_event(event)
        finally:
            self._is_current = False

    async def _event_in(self, message: bus.StoredMessage) -> AnyEvent | None:
        """Return the event in a message.

        In place of a foreign message, return the event before it: the claim that this names is
        unknown where the foreign message was the last one when the stream was read first.
        """
        event = logged_event(message.subject, message.body)
        if event is not None:
            return event
        self._foreign.report(message.subject, "it is no event of this log")
        execution = subjects.logged_execution(message.subject)
        if execution is None or execution in self._claims:
            return None
        return await execution_log.last_event(self._client, execution)

    def _on_event(self, event: AnyEvent) -> None:
        is_ours = event.owner == self._owner
        if not is_ours and self._executions.has_event(event.execution, event.index):
            return  # It was published again, or it is of an owner from before our claim.
        self._claims.apply(event, time.monotonic())
        if not is_ours and event.execution in self._executions:
            # The next append would fail too, but it may be a long time until then.
            log.warning("execution.superseded", extra={"execution": event.execution})
            self._executions.supersede(event.execution)

    async def _take_over(self, claim: Claim) -> None:
        fields = {"execution": claim.execution, "former": claim.owner, "epoch": claim.epoch}
        try:
            claimed = await execution_log.take_over(
                self._client, self._claimer, claim.execution, epoch=claim.epoch
            )
        except WrongSequence:
            return  # another propeller has claimed it, and its claim arrives soon
        except Retryable as error:
            log.warning("execution.takeover_failed", extra={**fields, "error": str(error)})
        except OutOfSight as error:
            log.error("execution.out_of_sight", extra={**fields, "error": str(error)})
            self._out_of_sight[claim.execution] = claim
        except Exception as error:  # noqa: BLE001  # the boundary: others are taken over
            tasks.report_failure("execution.takeover_defect", error, fields)
        else:
            if claimed is None:
                await self._look_again(claim)
                return
            if claimed.problem:
                log.error("execution.unreadable", extra={**fields, "error": claimed.problem})
            else:
                log.warning("execution.taken_over", extra=fields)
            self._executions.start(claimed)

    async def _look_again(self, claim: Claim) -> None:
        """Replace a claim that is not the one of its log, which may end with a foreign event."""
        try:
            last = await execution_log.last_event(self._client, claim.execution)
        except Retryable:
            return  # It stays an orphan.
        self._claims.remove_unchanged(claim)
        if last is not None and claim.execution not in self._claims:
            self._claims.apply(last, time.monotonic())
