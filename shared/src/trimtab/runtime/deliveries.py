"""Deliveries of work queues: the error of a handler decides what happens to its message."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import nats.errors
from faststream import BaseMiddleware, StreamMessage
from faststream.exceptions import NackMessage, RejectMessage
from faststream.response import PublishCommand
from nats.aio.msg import Msg
from pydantic import ValidationError
from pydantic_core import from_json

from trimtab.errors import Rejected, Retryable
from trimtab.messages.events import EVENT_ID
from trimtab.runtime import dead_letters, metrics, telemetry
from trimtab.runtime.retrying import backoff_seconds

log = logging.getLogger(__name__)

_PROGRESS_SECONDS = 1.0
"""The interval of progress reports to the server; shorter than any sensible ack wait."""
_FIRST_DELAY_SECONDS = 2.0
_LONGEST_DELAY_SECONDS = 30.0


async def decode_json(message: StreamMessage[Msg]) -> Any:
    """Return the JSON value in the body of a message. Raises `Rejected`."""
    try:
        return from_json(message.body)
    except ValueError as error:
        raise Rejected(f"the body is no JSON: {error}") from error


class DeliveryOutcome(BaseMiddleware[PublishCommand, Msg]):
    """Acknowledges, redelivers later, or copies to DEAD_LETTERS, by what the handler raises.

    `Rejected` and ``ValidationError`` make a dead letter. `Retryable` and every unexpected error
    have the message redelivered, after the delay that the error names or a growing one.
    """

    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Msg]], Awaitable[object]], msg: StreamMessage[Msg]
    ) -> object:
        fields: dict[str, object] = {
            "subject": msg.raw_message.subject,
            "event_id": msg.headers.get(EVENT_ID, ""),
            "attempt": msg.raw_message.metadata.num_delivered,
        }
        started = time.perf_counter()
        try:
            with (
                telemetry.consuming(msg.raw_message.subject, msg.headers),
                metrics.processing(msg.raw_message.subject),
            ):
                async with _report_progress(msg.raw_message):
                    result = await call_next(msg)
        except Exception as error:
            raise await self._outcome_of(error, msg.raw_message, fields) from error
        log.info(
            "event.handled", extra={**fields, "ms": round(1000 * (time.perf_counter() - started))}
        )
        return result

    async def _outcome_of(
        self, error: Exception, message: Msg, fields: dict[str, object]
    ) -> RejectMessage | NackMessage:
        delay = backoff_seconds(
            message.metadata.num_delivered or 1,
            first=_FIRST_DELAY_SECONDS,
            longest=_LONGEST_DELAY_SECONDS,
        )
        match error:
            case Rejected() | ValidationError():
                log.error("event.dead_lettered", extra={**fields, "error": str(error)})
                try:
                    await self._copy_to_dead_letters(message, str(error))
                except (nats.errors.Error, TimeoutError) as failure:
                    log.warning("event.not_dead_lettered", extra={**fields, "error": str(failure)})
                    return NackMessage(delay=delay)
                return RejectMessage()
            case Retryable():
                delay = error.delay_seconds or delay
                log.warning("event.retried", extra={**fields, "error": str(error), "delay": delay})
            case _:
                # A defect. Nothing else logs it, and a nack without a delay would spin.
                log.error("event.failed", extra=fields, exc_info=error)
        return NackMessage(delay=delay)

    async def _copy_to_dead_letters(self, message: Msg, reason: str) -> None:
        await dead_letters.copy(
            message._client,
            stream=message.metadata.stream,
            consumer=message.metadata.consumer,
            subject=message.subject,
            headers=message.headers,
            body=message.data,
            reason=reason,
        )


@asynccontextmanager
async def _report_progress(message: Msg) -> AsyncIterator[None]:
    """Restart the server's ack wait again and again, so that it does not redeliver the message."""

    async def report() -> None:
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            with suppress(nats.errors.Error):
                await message.in_progress()

    reporting = asyncio.create_task(report())
    try:
        yield
    finally:
        reporting.cancel()
