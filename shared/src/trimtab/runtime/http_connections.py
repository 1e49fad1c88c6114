"""HTTP connections with limits on the head of a request, and on the headers after a chunked body:
how large they may be, and how long the head may take.

uvicorn has no such limit; it ends only connections that are idle between two requests. What it
cannot parse it answers in plain text. Here it gets a problem of RFC 9457, like all other errors.
"""

import asyncio
import http
import json
import logging
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any
from uuid import uuid4

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeadLimits:
    """Limits of the head of a request: its line and its headers."""

    bytes: int
    seconds: float


class _Part(Enum):
    """The part of a request that the client sends next."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()
    TRAILERS = auto()
    """Data, or headers that end the body: either may follow each chunk of it."""
    DROPPED = auto()
    """More from a client that has been refused."""


_OF_BODY = (_Part.BODY, _Part.TRAILERS)


class _TooLarge(Exception):
    """The head of the request exceeds its limit. A name for `httptools`, which wraps it."""


class LimitedConnection(HttpToolsProtocol):
    """The server's side of one connection.

    Within the time for a head a new connection must send one, and a client whose request is
    answered must send the rest of the body, which is dropped.
    """

    def __init__(self, *, limits: HeadLimits, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._limits = limits
        self._part = _Part.NOTHING
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        super().eof_received()
        # uvicorn would invite a body that can no longer arrive; uvloop refuses the write.
        if self.cycle is not None:
            self.cycle.waiting_for_100_continue = False

    def data_received(self, data: bytes) -> None:
        if self._part is _Part.DROPPED:
            return
        self._unset_keepalive_if_required()
        if self._part is _Part.NOTHING:
            self._part = _Part.HEAD
        if self._part in (_Part.HEAD, _Part.TRAILERS):
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade:
            # An upgrade is never made. What follows could be of the other protocol.
            self.cycle.keep_alive = False
        except HttpParserError as error:
            self._refuse(*self._reason(error))
        else:
            if self._part is _Part.HEAD:
                self._check_head()
            elif self._part is _Part.TRAILERS and self._head_bytes > self._limits.bytes:
                self._refuse(431, self._size_allowed)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._part = _Part.HEAD

    def on_headers_complete(self) -> None:
        self._head_bytes = len(self.url) + sum(
            len(name) + len(value) for name, value in self.headers
        )
        if self._head_bytes > self._limits.bytes:
            raise _TooLarge
        self._stop_timer()
        # It raises where the URL is not valid, and then there is no request yet.
        super().on_headers_complete()
        self._part = _Part.BODY

    def on_chunk_header(self) -> None:
        self._part, self._head_bytes = _Part.TRAILERS, 0

    def on_body(self, body: bytes) -> None:
        self._part = _Part.BODY
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._part, self._head_bytes = _Part.NOTHING, 0

    def on_response_complete(self) -> None:
        super().on_response_complete()
        is_answered = self._part in _OF_BODY and self.cycle.response_complete
        if is_answered and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self._start_timer()

    def _check_head(self) -> None:
        """Refuse the part of a head that has arrived if it is too large; limit the time for it."""
        if self._head_bytes > self._limits.bytes:
            self._refuse(431, self._size_allowed)
        elif self._timer is None:
            self._start_timer()

    @property
    def _size_allowed(self) -> str:
        return f"the request line and headers are too large; allowed: {self._limits.bytes} bytes"

    def _reason(self, error: HttpParserError) -> tuple[int, str]:
        """Return the status and detail of a request that could not be parsed."""
        cause = error.__context__
        if isinstance(cause, _TooLarge):
            return 431, self._size_allowed
        return 400, f"the request is not HTTP/1.1: {'Invalid URL' if cause else error}"

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self._limits.seconds, self._on_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        if self._part is _Part.HEAD and self.flow.read_paused:
            # The rest may have arrived. It is read after the responses to earlier requests.
            self._start_timer()
            return
        if self._part is _Part.HEAD:
            seconds = f"{self._limits.seconds:g} s"
            self._refuse(408, f"the request line and headers did not arrive within {seconds}")
        self.transport.close()

    def _refuse(self, status: int, detail: str) -> None:
        """Answer what is not a request, and end the connection.

        What the client still sends is dropped for a while: closed at once, the connection could be
        reset before the client reads the response.
        """
        request_id = str(uuid4())
        client = self.client[0] if self.client else ""
        refused = {"status": status, "client": client, "reason": detail, "id": request_id}
        log.info("http.refused", extra=refused)
        if not self._is_next_to_answer():
            self.transport.close()
            return
        if self.cycle is not None:
            self.cycle.waiting_for_100_continue = False
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(_problem(status, detail, request_id))
        self._part = _Part.DROPPED
        self._stop_timer()
        self._start_timer()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _is_next_to_answer(self) -> bool:
        """Return whether the client would take a response for that of what it sends now."""
        if self._part in _OF_BODY:
            return not (self.pipeline or self.cycle.response_started)
        return self.cycle is None or self.cycle.response_complete


def _problem(status: int, detail: str, request_id: str) -> bytes:
    title = http.HTTPStatus(status).phrase
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    body = json.dumps(problem).encode()
    head = (
        f"HTTP/1.1 {status} {title}\r\n"
        "content-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\n"
        f"x-request-id: {request_id}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + body
