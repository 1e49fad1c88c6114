"""Says that this propeller lives, hears who else does, and takes over what nobody acts for."""

import asyncio
import logging
import time
from contextlib import aclosing, suppress

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from trimtab.errors import Retryable, Unreadable
from trimtab.messages import subjects
from trimtab.messages.events import Heartbeat
from trimtab.messages.executions import parse_event
from trimtab.runtime import bus, retrying
from trimtab.runtime.bus import WrongSequence
from trimtab_propeller.claims import Claim, Claims
from trimtab_propeller.journal import take_over
from trimtab_propeller.runs import Runs

log = logging.getLogger(__name__)


class Watcher:
    """Run `follow`, `beat` and `look` for as long as the propeller acts."""

    def __init__(self, client: Client, owner: str, runs: Runs, beat_seconds: float) -> None:
        self._client = client
        self._owner = owner
        self._runs = runs
        self._beat_seconds = beat_seconds
        self._claims = Claims(owner, beat_seconds)
        self._watching = False

    @property
    def watching(self) -> bool:
        """Whether the claims are all known and up to date."""
        return self._watching

    async def follow(self) -> None:
        """Keep the claims up to date until cancelled."""
        await retrying.retry_forever(self._read, "watcher.lost")

    async def beat(self) -> None:
        """Say that we live, until cancelled."""
        body = Heartbeat(owner=self._owner).body()
        while True:
            # While the server is away nobody can hear us, and nothing can be taken over either.
            with suppress(nats.errors.Error):
                await self._client.publish(subjects.HEARTBEATS, body)
            await asyncio.sleep(self._beat_seconds)

    async def look(self) -> None:
        """Take over what nobody acts for, until cancelled."""
        await self._client.subscribe(subjects.HEARTBEATS, cb=self._hear)
        connection = self._reconnects
        while True:
            before = time.monotonic()
            await asyncio.sleep(self._beat_seconds)
            now = time.monotonic()
            if now - before > 2 * self._beat_seconds or self._reconnects != connection:
                # This process was stopped, or cut off: others were not silent, we were deaf.
                self._claims.wake(now)
                connection = self._reconnects
            if self._watching:
                for claim in self._claims.orphans(now, self._runs):
                    await self._take_over(claim)

    @property
    def _reconnects(self) -> int:
        return self._client.stats["reconnects"]

    async def _hear(self, message: Msg) -> None:
        with suppress(ValidationError):
            heartbeat = Heartbeat.model_validate_json(message.data)
            self._claims.hear(heartbeat.owner, time.monotonic())

    async def _read(self) -> None:
        self._claims = Claims(self._owner, self._beat_seconds)
        subject = subjects.ALL_EVENTS
        try:
            async with aclosing(
                bus.follow(self._client, subjects.EXECUTION_EVENTS, subject)
            ) as messages:
                async for message in messages:
                    if message is None:
                        self._watching = True
                    else:
                        self._see(message)
        finally:
            self._watching = False

    def _see(self, message: bus.StoredMessage) -> None:
        try:
            event = parse_event(message.body)
        except ValidationError as error:
            log.error("watcher.unreadable", extra={"subject": message.subject, "error": str(error)})
            return
        self._claims.see(event, time.monotonic())
        if event.owner != self._owner and event.execution in self._runs:
            # Our next append would fail too, but it may be long until then.
            log.warning("execution.superseded", extra={"execution": event.execution})
            self._runs.stop(event.execution)

    async def _take_over(self, claim: Claim) -> None:
        fields = {"execution": claim.execution, "former": claim.owner, "epoch": claim.epoch}
        try:
            journal = await take_over(self._client, self._owner, claim.execution, epoch=claim.epoch)
        except WrongSequence:
            return  # somebody else was faster, and its claim is on its way to us
        except Retryable as error:
            log.warning("execution.not_taken_over", extra={**fields, "error": str(error)})
        except Unreadable as error:
            log.error("execution.unreadable", extra={**fields, "error": str(error)})
            self._claims.forget(claim.execution)
        else:
            if journal is None:
                self._claims.drop(claim)
            else:
                log.warning("execution.taken_over", extra=fields)
                self._runs.start(journal)
