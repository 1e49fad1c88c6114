"""ASGI middleware around every request: the call with its trace and log line, then access."""

import ipaddress
import logging
import re
import time
from urllib.parse import urlsplit
from uuid import uuid4

from opentelemetry.trace import SpanKind
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trimtab.errors import Forbidden, TrimtabError
from trimtab.runtime import metrics, telemetry
from trimtab_admin.access.call import Call
from trimtab_admin.access.control import AccessControl
from trimtab_admin.api.responses import ProblemResponse

log = logging.getLogger(__name__)

_METHODS = frozenset(["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"])
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:/+=-]{1,200}")
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))(?::[0-9]{1,5})?")
"""``Host`` of RFC 9110, without the user that a URL may have before it."""
_HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
"""Supervisors have no API token, and these paths disclose nothing that needs one."""

_durations = metrics.seconds(
    "http.server.request.duration", "From the start of a request to the end of its response"
)


class CallMiddleware:
    """Makes the `Call` of each request, with a request id; traces, measures and logs the request.

    The call is ``request.state.call``. The response repeats the request id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        call = _call(scope, headers)
        scope.setdefault("state", {})["call"] = call
        status = 0

        async def respond(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = call.request_id
            await send(message)

        started = time.perf_counter()
        # The span continues the client's trace even where nothing is exported, because history and
        # the outbox store the trace.
        with telemetry.span(scope["method"], headers, SpanKind.SERVER) as span:
            await self._app(scope, receive, respond)
            # The router has set the route by now, unless the path is unknown.
            route = getattr(scope.get("route"), "path", "")
            span.update_name(f"{call.method} {route}".strip())
            span.set_attribute("http.response.status_code", status)
            seconds = time.perf_counter() - started
            _measure(scope, route, status, seconds)
            fields = {"method": call.method, "path": call.path, "status": status}
            level = logging.DEBUG if call.method == "GET" else logging.INFO
            extra = {**fields, "ms": round(1000 * seconds), "id": call.request_id}
            log.log(level, "call.done", extra=extra)


def _call(scope: Scope, headers: Headers) -> Call:
    given = headers.get("x-request-id", "")
    request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid4())
    peer = scope["client"][0] if scope.get("client") else ""
    return Call(peer, scope["method"], scope["path"], request_id)


def _measure(scope: Scope, route: str, status: int, seconds: float) -> None:
    method = scope["method"]
    attributes: dict[str, str | int] = {
        # A client may send any word, and each would be a time series.
        "http.request.method": method if method in _METHODS else "_OTHER",
        "http.response.status_code": status,
        "url.scheme": scope["scheme"],
    }
    if route:
        attributes["http.route"] = route
    if status >= 500:
        attributes["error.type"] = str(status)
    _durations.record(seconds, attributes)


class AccessMiddleware:
    """Rejects requests of web pages of other origins, then authenticates the call.

    Authorization follows in the router, because each operation requires something else.
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
        try:
            scope["state"]["call"] = await self._admit(scope["state"]["call"], Headers(scope=scope))
        except TrimtabError as error:
            await ProblemResponse.of(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _admit(self, call: Call, headers: Headers) -> Call:
        """Return the authenticated call. Raises what the client receives."""
        try:
            self._check_origin(headers)
        except Forbidden as error:
            raise await self._access.refuse(call, error) from error
        if call.path in _HEALTH_PATHS:
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
