"""Who may call, and with what: checked before anything else, because the API runs commands.

A loopback address alone protects nothing: any web page that a browser shows can send requests to
it, under a name of its own that it lets point there.
"""

import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trimtab.api import Problem
from trimtab_admin import problems

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""For supervisors, which have no token; they tell nothing that is worth one."""
_APPLY = "/api/v2/apply"
_JSON = {
    "POST": ("application/json",),
    "PUT": ("application/json",),
    "PATCH": ("application/merge-patch+json", "application/json"),
}


def is_loopback(host: str) -> bool:
    return host in _LOOPBACK


@dataclass(frozen=True)
class Rules:
    """What every call is held to."""

    token: str
    """Empty where the API is open."""
    loopback_only: bool
    """Whether the Host header must name this machine."""
    max_body_bytes: int
    max_apply_bytes: int

    def max_bytes(self, path: str) -> int:
        """Of the body of a call. What is applied together is told one by one."""
        return self.max_apply_bytes if path == _APPLY else self.max_body_bytes

    def refusal(self, method: str, path: str, headers: Headers) -> Problem | None:
        """Why a call may not be made; ``None`` where it may."""
        host = headers.get("host", "")
        if self.loopback_only and not is_loopback(_hostname(host)):
            return _forbidden(f"this API is for this machine; Host may not be {host!r}")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return _forbidden(f"pages of {origin!r} may not call this API")
        if path in _OPEN_PATHS:
            return None
        if not self._is_known(headers.get("authorization", "")):
            return problems.of_status(401, "the header Authorization: Bearer <token> is needed")
        allowed = _JSON.get(method, ())
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if allowed and content_type not in allowed:
            wanted = " or ".join(allowed)
            return problems.of_status(415, f"{method} needs Content-Type: {wanted}")
        return None

    def _is_known(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        # Bytes, because compare_digest takes only ASCII as text.
        same = secrets.compare_digest(given.strip().encode(), self.token.encode())
        return not self.token or (scheme.lower() == "bearer" and same)


class Guard:
    """ASGI middleware that holds every call to the rules."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        problem = self._rules.refusal(scope["method"], scope["path"], headers)
        if problem is not None:
            wanted = {"WWW-Authenticate": "Bearer"} if problem.status == 401 else None
            await problems.Answer(problem, wanted)(scope, receive, send)
            return
        limit = self._rules.max_bytes(scope["path"])
        await self._app(scope, _limited(receive, limit), send)


def _limited(receive: Receive, limit: int) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413, f"a body may have at most {limit} bytes")
        return message

    return counted


def _forbidden(detail: str) -> Problem:
    return problems.of_status(403, detail)


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
