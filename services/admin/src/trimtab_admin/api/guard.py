"""Who may call, and with what: checked before anything else, because the API runs commands.

A loopback address alone protects nothing: any web page that a browser shows can send requests to
it, under a name of its own that it lets point there. What a caller who is known may do is decided
by the routes (`trimtab_admin.access.rights`).
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trimtab.api.problems import Problem
from trimtab.errors import Unauthorized, Unavailable
from trimtab_admin.access.tokens import Tokens
from trimtab_admin.api import problems
from trimtab_admin.api.problems import Answer
from trimtab_admin.api.refusals import Refusals

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""For supervisors, which have no token; they tell nothing that is worth one."""
_APPLY = "/api/v2/apply"


def is_loopback(host: str) -> bool:
    return host in _LOOPBACK


@dataclass(frozen=True)
class Rules:
    """What every call is held to, whoever makes it."""

    loopback_only: bool
    """Whether the Host header must name this machine."""
    max_body_bytes: int
    max_apply_bytes: int

    def foreign(self, headers: Headers) -> Problem | None:
        """Why a call from there may not be made; ``None`` where it may."""
        host = headers.get("host", "")
        if self.loopback_only and not is_loopback(_hostname(host)):
            return _forbidden(f"this API is for this machine; Host may not be {host!r}")
        origin = headers.get("origin")
        if origin is not None and _netloc(origin) != host:
            return _forbidden(f"pages of {origin!r} may not call this API")
        return None

    def max_bytes(self, path: str) -> int:
        """Of the body of a call. What is applied together is told one by one."""
        return self.max_apply_bytes if path == _APPLY else self.max_body_bytes


class Guard:
    """ASGI middleware that holds every call to the rules and finds out who makes it."""

    def __init__(self, app: ASGIApp, rules: Rules, tokens: Tokens, refusals: Refusals) -> None:
        self._app = app
        self._rules = rules
        self._tokens = tokens
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = await self._refusal(HTTPConnection(scope))
        if answer is not None:
            await answer(scope, receive, send)
            return
        await self._app(scope, _limited(receive, self._rules.max_bytes(scope["path"])), send)

    async def _refusal(self, call: HTTPConnection) -> Answer | None:
        """``None`` where the call may go on; ``state.caller`` is who makes it."""
        problem = self._rules.foreign(call.headers)
        if problem is not None:
            return await self._refusals.foreign(call, problem)
        if call.scope["path"] in _OPEN_PATHS:
            return None
        given = call.headers.get("authorization", "")
        try:
            call.state.caller = await self._tokens.caller(given)
        except Unauthorized as error:
            return await self._refusals.unknown(call, error, given)
        except Unavailable as error:
            return Answer(problems.of_error(error))
        return None


def _limited(receive: Receive, limit: int) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            problem = problems.of_field(413, "body", "more", f"at most {limit} bytes")
            raise problems.Refused(problem)
        return message

    return counted


def _forbidden(detail: str) -> Problem:
    return problems.of_status(403, detail)


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
