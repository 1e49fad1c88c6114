"""ASGI middleware around every request: the call with its trace and log line, then access."""

import asyncio
import ipaddress
import logging
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes, urlsplit

from opentelemetry.trace import Span, SpanKind, StatusCode
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trimtab.echoes import cut
from trimtab.errors import Forbidden, Invalid, TrimtabError, Unavailable
from trimtab.runtime import metrics, tasks, telemetry
from trimtab_admin.access.call import Call
from trimtab_admin.access.control import AccessControl
from trimtab_admin.api import home
from trimtab_admin.api.doors import Door
from trimtab_admin.api.responses import ProblemResponse

log = logging.getLogger(__name__)

_METHODS = frozenset(["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"])
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:/+=-]{1,200}")
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))(?::[0-9]{1,5})?")
"""``Host`` of RFC 9110, without the user that a URL may have before it."""
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_DISCONNECTED = "client_disconnected"
"""The error of a response that the client has not received whole."""
_OPEN_PATHS = frozenset({"/healthz", "/readyz", *home.PATHS})
"""Supervisors have no API token, nor have people who open the address for the first time. These
paths disclose nothing that needs one."""

_durations = metrics.seconds(
    "http.server.request.duration", "From the start of a request to the end of its response"
)


@dataclass
class _Sent:
    """The response, as far as it has been sent."""

    send: Send
    request_id: str
    status: int | None = None
    is_complete: bool = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            named = (b"x-request-id", self.request_id.encode())
            message["headers"] = [*message["headers"], named]
        await self.send(message)
        if message["type"] == "http.response.body":
            self.is_complete = not message.get("more_body", False)


class CallMiddleware:
    """Makes the `Call` of each request, with a request id; traces, measures and logs the request.

    The call is ``request.state.call``, the door of its path ``request.state.door``, and the headers
    are ``request.state.headers``. The response repeats the request id, also that of a request whose
    handling fails unexpectedly. A failure is logged here, and raised no further.
    """

    def __init__(self, app: ASGIApp, doors: Sequence[Door]) -> None:
        self._app = app
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        door = next((door for door in self._doors if door.serves(scope["path"])), None)
        call = _call(scope, headers, "" if door is None else door.name)
        scope.setdefault("state", {}).update(call=call, door=door, headers=headers)
        sent = _Sent(send, call.request_id)
        started = time.perf_counter()
        # The span continues the client's trace even where nothing is exported, because history and
        # the outbox store the trace.
        with telemetry.span(scope["method"], headers, SpanKind.SERVER) as span:
            failure = None
            try:
                failure = await self._respond(call, scope, receive, sent)
            except asyncio.CancelledError:
                if sent.status is None:
                    stopping = _error_response(scope, Unavailable("admin is stopping"))
                    await stopping(scope, receive, sent)
                raise
            finally:
                _record(call, scope, sent, failure, time.perf_counter() - started, span)

    async def _respond(
        self, call: Call, scope: Scope, receive: Receive, sent: _Sent
    ) -> Exception | None:
        """Send the response; return the exception where the request failed unexpectedly."""
        try:
            await self._app(scope, receive, sent)
        except ClientDisconnect:
            return None
        except Exception as error:  # noqa: BLE001  # the boundary: it fails only its own call
            # Starlette wraps an error that arises behind the start of the response.
            cause = error.__cause__
            known = cause if isinstance(cause, TrimtabError) else error
            tasks.report_failure("call.failed", known, _fields(call))
            if sent.status is None:
                detail = (
                    f"{call.method} {cut(call.path)} failed unexpectedly; the log of "
                    f"admin has the reason, with the request id {call.request_id}"
                )
                await _error_response(scope, TrimtabError(detail))(scope, receive, sent)
            return error
        return None


def _error_response(scope: Scope, error: TrimtabError) -> ASGIApp:
    door: Door | None = scope["state"]["door"]
    return ProblemResponse.of(error) if door is None else door.error(scope, error)


def _record(
    call: Call,
    scope: Scope,
    sent: _Sent,
    failure: Exception | None,
    seconds: float,
    span: Span,
) -> None:
    """Record the call in the span, the metrics and the log."""
    # The router has set the route by now, unless the path is unknown.
    route = getattr(scope.get("route"), "path", "")
    span.update_name(f"{call.method} {route}".strip())
    error_type = _error_type(sent, failure)
    if sent.status is not None:
        span.set_attribute("http.response.status_code", sent.status)
    if error_type:
        span.set_attribute("error.type", error_type)
    if failure is not None:
        span.record_exception(failure)
        span.set_status(StatusCode.ERROR)
    _measure(scope, route, sent.status, error_type, seconds)
    event = "call.abandoned" if error_type == _DISCONNECTED else "call.done"
    level = logging.DEBUG if call.method == "GET" else logging.INFO
    if log.isEnabledFor(level):
        extra = {**_fields(call), "status": sent.status, "ms": round(1000 * seconds)}
        log.log(level, event, extra=extra)


def _fields(call: Call) -> dict[str, str]:
    return {"method": call.method, "path": call.path, "id": call.request_id}


def _error_type(sent: _Sent, failure: Exception | None) -> str:
    """Return the error as OpenTelemetry names it; empty where there is none."""
    if sent.status is not None and sent.status >= 500:
        return str(sent.status)
    if failure is not None:
        return type(failure).__name__
    return "" if sent.is_complete else _DISCONNECTED


def _call(scope: Scope, headers: Headers, door: str) -> Call:
    given = headers.get("x-request-id", "")
    request_id = given if _REQUEST_ID.fullmatch(given) else os.urandom(16).hex()
    peer = scope["client"][0] if scope.get("client") else ""
    return Call(peer, scope["method"], scope["path"], request_id, door=door)


def _measure(scope: Scope, route: str, status: int | None, error_type: str, seconds: float) -> None:
    method = scope["method"]
    attributes: dict[str, str | int] = {
        # A client may send any word, and each would be a time series.
        "http.request.method": method if method in _METHODS else "_OTHER",
        "url.scheme": scope["scheme"],
    }
    if status is not None:
        attributes["http.response.status_code"] = status
    if route:
        attributes["http.route"] = route
    if error_type:
        attributes["error.type"] = error_type
    _durations.record(seconds, attributes)


class AccessMiddleware:
    """Rejects requests of web pages of other origins, then authenticates the call.

    Authorization follows in the router or the door, because each operation requires something else.
    """

    def __init__(self, app: ASGIApp, access: AccessControl, *, loopback_only: bool) -> None:
        """With ``loopback_only`` the header ``Host`` must name this machine.

        A loopback address alone protects nothing: a web page in a browser on this machine can send
        requests to it under a host name of its own that resolves to the address.
        """
        self._app = app
        self._access = access
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope["state"]
        try:
            headers = state["headers"]
            if state["door"] is None:
                _check_form(scope, headers)
            state["call"] = await self._admit(scope, state["call"], headers)
        except TrimtabError as error:
            await _error_response(scope, error)(scope, receive, send)
            return
        app = self._app if state["door"] is None else state["door"]
        await app(scope, receive, send)

    async def _admit(self, scope: Scope, call: Call, headers: Headers) -> Call:
        """Return the authenticated call. Raises what the client receives."""
        try:
            self._check_origin(headers)
        except Forbidden as error:
            raise await self._access.refuse(call, error) from error
        door: Door | None = scope["state"]["door"]
        if call.path in _OPEN_PATHS if door is None else door.is_open(scope):
            return call
        return await self._access.authenticate(call, headers.get("authorization", ""))

    def _check_origin(self, headers: Headers) -> None:
        """Raises `Forbidden`."""
        host = ", ".join(headers.getlist("host"))
        if self._loopback_only and not is_loopback(_hostname(host)):
            raise Forbidden(
                f'Host "{host}" is not allowed: this API listens on loopback and serves only '
                "localhost, 127.0.0.1 and [::1]"
            )
        origin = headers.get("origin")
        if origin is not None and _netloc(origin) != host:
            raise Forbidden(f'Origin "{origin}" is not allowed: it is not the API\'s own')


def _check_form(scope: Scope, headers: Headers) -> None:
    """Raise `Invalid` for a request that a server must not guess the meaning of."""
    if headers.get("upgrade", "").lower() == "websocket":
        raise Invalid("Upgrade", "websocket", "none: there are no websockets here")
    for name, text in (("path", scope.get("raw_path", b"")), ("query", scope["query_string"])):
        try:
            unquote_to_bytes(text).decode()
            is_encoded = not _BAD_ESCAPE.search(text)
        except UnicodeDecodeError:
            is_encoded = False
        if not is_encoded:
            raise Invalid(name, text.decode("latin-1"), "UTF-8 with valid percent-encoding")


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Return whether a name or address is that of this machine alone; other names are not looked
    up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _hostname(host: str) -> str:
    match = _HOST.fullmatch(host)
    return "" if match is None else match[1] or match[2]
