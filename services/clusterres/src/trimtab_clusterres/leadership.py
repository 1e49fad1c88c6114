"""The lease by which one of several replicas of clusterres is active, and the others stand by."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from uuid import uuid4

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from trimtab.errors import Conflict, Retryable, Unavailable
from trimtab.messages import subjects
from trimtab.runtime import bus, tasks
from trimtab.runtime.retrying import raise_if_cancelled

log = logging.getLogger(__name__)

_ACT_SHARE = 0.8
"""The part of a lease in which its holder acts; requests that it has sent end in the rest."""
_LONGEST_PAUSE_SECONDS = 0.4
"""The longest delay until a standby notices that the lease was released."""
_NO_MESSAGE = 10037
"""The server's code for a subject without a message."""


class NotActive(Retryable):
    """This replica may not act now."""


class Claim(NamedTuple):
    """The last message on the subject of the lease."""

    sequence: int = 0
    """0 where there is no message."""
    holder: str = ""
    """Empty where the holder has released the lease."""


@dataclass(frozen=True)
class _Message:
    holder: str
    event_type = "trimtab.leader.claimed"

    def body(self) -> bytes:
        return json.dumps({"holder": self.holder}).encode()


class Leadership:
    """A lease that the active replica renews, each time by a compare-and-set on one subject.

    A replica acts until its own deadline, which begins before it requests the lease. Another one
    takes the lease after it has seen no renewal for a whole lease, so no clocks are compared. Where
    the message or its stream is deleted, the holder claims the lease again.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._id = uuid4().hex
        self._deadline = float("-inf")
        self._seen = Claim(-1)
        self._seen_at = 0.0
        self._gained = asyncio.Event()

    @property
    def is_active(self) -> bool:
        return time.monotonic() < self._deadline

    def check(self) -> None:
        """Raise `NotActive` where this replica may not act; call it directly before each write."""
        if not self.is_active:
            raise NotActive("this replica is a standby")

    def summary(self) -> dict[str, object]:
        """Return the role, for ``/readyz``."""
        return {"role": "active" if self.is_active else "standby"}

    async def wait(self) -> None:
        """Wait until this replica is active."""
        while not self.is_active:
            self._gained.clear()
            await self._gained.wait()

    async def follow(self, client: Client, gained: Callable[[], None]) -> None:
        """Hold the lease or wait for it until cancelled; call ``gained`` on becoming active."""

        pause = min(self._lease_seconds / 12, _LONGEST_PAUSE_SECONDS)

        async def work() -> None:
            while True:
                await self._step(client, gained)
                await asyncio.sleep(self._lease_seconds / 3 if self.is_active else pause)

        await tasks.retry_forever(work, "leadership.interrupted", first=pause, longest=pause)

    async def release(self, client: Client) -> None:
        """Stop acting, and let another replica take over at once. Raises nothing."""
        if not self.is_active:
            return
        self._deadline = float("-inf")
        try:
            async with asyncio.timeout(self._lease_seconds / 3):
                claim = await _read(client)
                if claim.holder == self._id:
                    await _claim(client, "", claim)
        except (Conflict, Retryable, TimeoutError) as error:
            log.info("leadership.not_released", extra={"error": str(error)})

    async def _step(self, client: Client, gained: Callable[[], None]) -> None:
        """Renew the lease, or take it where it is free. Raises `Unavailable`."""
        try:
            async with asyncio.timeout(self._lease_seconds / 3):
                began = time.monotonic()
                claim = await _read(client)
                if not await self._may_claim(client, claim, began):
                    return
                await _claim(client, self._id, claim)
        except TimeoutError as error:
            raise Unavailable("NATS did not answer for the lease of clusterres") from error
        except bus.WrongSequence:
            return  # another replica was first, which the next step reads
        raise_if_cancelled()
        was_active = self.is_active
        self._deadline = began + self._lease_seconds * _ACT_SHARE
        if not was_active and self.is_active:
            log.info("leadership.gained")
            gained()
            self._gained.set()

    async def _may_claim(self, client: Client, claim: Claim, now: float) -> bool:
        if claim != self._seen:
            self._seen, self._seen_at = claim, now
        if claim.holder == self._id or (not claim.sequence and self.is_active):
            return True
        if self.is_active:
            log.warning("leadership.lost")
            self._deadline = float("-inf")
        if now - self._seen_at >= self._lease_seconds:
            return True
        if claim.sequence:
            return not claim.holder
        # Where there is no claim, a holder may act whose claim was deleted; except where no
        # replica has ever published a status.
        return await _is_unused(client)


async def _claim(client: Client, holder: str, last: Claim) -> None:
    await bus.publish(
        client,
        subjects.LEADERS,
        subjects.CLUSTERRES_LEADER,
        _Message(holder),
        last_subject_sequence=last.sequence,
    )


async def _read(client: Client) -> Claim:
    """Return the last claim; declare the stream where there is none. Raises `Unavailable`."""
    jetstream = client.jetstream(timeout=bus.TIMEOUT_SECONDS)
    try:
        message = await jetstream.get_last_msg(subjects.LEADERS, subjects.CLUSTERRES_LEADER)
    except nats.js.errors.NotFoundError as error:
        if error.err_code != _NO_MESSAGE:
            await _declare(jetstream)
        return Claim()
    except (nats.errors.Error, TimeoutError) as error:
        raise Unavailable(f"NATS did not return the lease of clusterres: {error}") from error
    try:
        holder = str(json.loads(message.data or b"")["holder"])
    except (ValueError, KeyError, TypeError):
        holder = "unreadable"  # waited for like any other
    return Claim(message.seq or 0, holder)


async def _declare(jetstream: JetStreamContext) -> None:
    """Create the stream, which only clusterres reads and writes: a deleted one is no loss."""
    config = StreamConfig(
        name=subjects.LEADERS, subjects=[subjects.ALL_LEADERS], max_msgs_per_subject=1
    )
    try:
        await jetstream.add_stream(config)
    except (nats.errors.Error, TimeoutError) as error:
        raise Unavailable(f"NATS did not declare {subjects.LEADERS}: {error}") from error


async def _is_unused(client: Client) -> bool:
    """Whether no replica has ever published a status."""
    jetstream = client.jetstream(timeout=bus.TIMEOUT_SECONDS)
    try:
        return (await jetstream.stream_info(subjects.NAMESPACES)).state.last_seq == 0
    except (nats.errors.Error, TimeoutError) as error:
        raise Unavailable(f"NATS did not describe {subjects.NAMESPACES}: {error}") from error
