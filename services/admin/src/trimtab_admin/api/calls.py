"""What surrounds every call: its trace, its request id and its line in the log."""

import logging
import re
import time
from uuid import uuid4

from opentelemetry.trace import SpanKind
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trimtab.runtime import metrics, telemetry

log = logging.getLogger(__name__)

_METHODS = frozenset(["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"])
_durations = metrics.seconds("http.server.request.duration", "From a call to the end of its answer")

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:/+=-]{1,200}")


class Calls:
    """ASGI middleware; the request id is in ``request.state.request_id`` and in the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        started = time.perf_counter()
        with telemetry.span(scope["method"], headers, SpanKind.SERVER) as span:
            await self._app(scope, receive, answer)
            # The router has said meanwhile which of its routes it was.
            route = getattr(scope.get("route"), "path", "")
            span.update_name(f"{scope['method']} {route}".strip())
            span.set_attribute("http.response.status_code", status)
            _measure(scope, route, status, time.perf_counter() - started)
            fields = {"method": scope["method"], "path": scope["path"], "status": status}
            milliseconds = round(1000 * (time.perf_counter() - started))
            level = logging.DEBUG if scope["method"] == "GET" else logging.INFO
            log.log(level, "call.done", extra={**fields, "ms": milliseconds, "id": request_id})


def _measure(scope: Scope, route: str, status: int, seconds: float) -> None:
    method = scope["method"]
    attributes: dict[str, str | int] = {
        # Anybody may send any word.
        "http.request.method": method if method in _METHODS else "_OTHER",
        "http.response.status_code": status,
        "url.scheme": scope["scheme"],
    }
    if route:
        attributes["http.route"] = route
    if status >= 500:
        attributes["error.type"] = str(status)
    _durations.record(seconds, attributes)
