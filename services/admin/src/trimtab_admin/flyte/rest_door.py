"""The REST door: the services of Flyte 1 at the methods and paths that their protos annotate.

It behaves like Flyte's gateway, except for what docs/flyte-compatibility.md lists.
"""

import asyncio
import html
import posixpath
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, unquote_to_bytes

from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from trimtab.errors import TrimtabError
from trimtab_admin.access.call import Call
from trimtab_admin.access.control import AccessControl
from trimtab_admin.access.throttling import Throttled
from trimtab_admin.api import requests
from trimtab_admin.api.problems import ProblemError
from trimtab_admin.api.requests import BodyLimit
from trimtab_admin.flyte import field_values, marshalers, rpc
from trimtab_admin.flyte.field_values import FieldError
from trimtab_admin.flyte.marshalers import Marshaler, Unreadable
from trimtab_admin.flyte.rpc import RpcError, Service
from trimtab_admin.flyte.transcoding import Binding, Bindings

T = TypeVar("T")

_PREFIX = "/api/v1/"
_HEALTH = "/healthcheck"
_FORM = "application/x-www-form-urlencoded"
_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_MAX_BODY_BYTES = 2 * _MAX_MESSAGE_BYTES
"""JSON has more bytes than the message."""
_LONG = 64 * 1024
"""A longer text is read or written in a thread, so that the event loop goes on."""
_MAX_CACHED = 512
"""The longest path with its query whose message is kept."""
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_TIMEOUT = re.compile(r"([+-]?[0-9]{1,18})([HMSmun])")
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_METADATA = {"Grpc-Metadata-Content-Type": "application/grpc"}
_HTTP_STATUS = {
    code_pb2.CANCELLED: 499,
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.DEADLINE_EXCEEDED: 504,
    code_pb2.NOT_FOUND: 404,
    code_pb2.ALREADY_EXISTS: 409,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.UNAUTHENTICATED: 401,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.FAILED_PRECONDITION: 400,
    code_pb2.ABORTED: 409,
    code_pb2.OUT_OF_RANGE: 400,
    code_pb2.UNIMPLEMENTED: 501,
    code_pb2.UNAVAILABLE: 503,
}
"""500 for the other codes of errors."""


class RestDoor:
    """Serves services as Flyte's REST API, on the port of admin's own API."""

    name = "rest"

    def __init__(
        self, services: Sequence[Service], access: AccessControl, pause_seconds: float
    ) -> None:
        """``pause_seconds`` is how long the next part of a body is awaited."""
        self._services = {service.name: service for service in services}
        self._bindings = Bindings([service.descriptor for service in services])
        self._access = access
        self._body_limit = BodyLimit(_MAX_BODY_BYTES, pause_seconds)
        paths = {binding.path: binding for binding in self._bindings}
        self._other_paths = {_HEALTH, *(p for p in paths if not p.startswith(_PREFIX))}
        self._open_paths = {_HEALTH, *(p for p, b in paths.items() if self._is_open(b))}

    def _is_open(self, binding: Binding) -> bool:
        served = self._services[binding.service].by_name.get(binding.rpc)
        return served is not None and served.is_open

    def serves(self, path: str) -> bool:
        return path.startswith(_PREFIX) or path in self._other_paths

    def is_open(self, scope: Scope) -> bool:
        """Return whether the request needs no API token; a browser has none for ``OPTIONS``."""
        return scope["method"] == "OPTIONS" or scope["path"] in self._open_paths

    def error(self, scope: Scope, error: TrimtabError) -> Response:
        response = _error_response(rpc.of_error(error), _choice(Request(scope)).response)
        if isinstance(error, Throttled):
            response.headers["Retry-After"] = f"{error.delay_seconds}"
        if scope["method"] == "OPTIONS":
            return Response(status_code=response.status_code)
        return response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        if request.method == "OPTIONS" or request.scope["path"] == _HEALTH:
            return Response()
        raw_path = request.scope["raw_path"]
        if _BAD_ESCAPE.search(raw_path):
            return PlainTextResponse("400 Bad Request", 400)
        choice = _choice(request)
        try:
            path = _decode(raw_path)
            if (clean := _clean(path)) != path:
                return _redirect(request, clean)
            message = await self._call(request, path, choice.request)
            size = message.ByteSize()
            content = await _in_thread_if_long(size, choice.response.write, message)
        except RpcError as error:
            return _error_response(error, choice.response)
        except (FieldError, Unreadable) as error:
            return _error_response(_invalid(str(error)), choice.response)
        except ProblemError as error:
            return _body_error(error, choice.response)
        return Response(content, headers=_METADATA, media_type=choice.response.content_type)

    async def _call(self, request: Request, path: str, marshaler: Marshaler) -> Message:
        """Return the response of the RPC at a path.

        Raises `RpcError`, `FieldError`, `Unreadable`, `ProblemError` and `ClientDisconnect`.
        """
        method = _Method.of(request)
        binding, values = self._found(path, method)
        request.scope["route"] = binding
        service = self._services[binding.service]
        served = service.by_name.get(binding.rpc)
        if served is None:
            raise service.unimplemented(binding.rpc)
        seconds = _timeout(request)
        message_type: Any = service.request_type(binding.rpc)
        message = message_type()
        takes_body = bool(binding.body) or method.is_form
        query = request.scope["query_string"]
        if not takes_body and len(path) + len(query) <= _MAX_CACHED:
            message.ParseFromString(_parsed(message_type, binding, values, query))
            return await self._handle(served, request.state.call, message, seconds)
        body = await requests.read(request, self._body_limit) if takes_body else b""
        form = b""
        if method.is_form and (method.override or not binding.body):
            # The form is parameters, and then there is no other body.
            form, body = body, b""
        if binding.body:
            await _in_thread_if_long(len(body), marshaler.read, body, message)
        await _in_thread_if_long(
            len(query) + len(form), _set_fields, message, binding, values, query, form
        )
        size = message.ByteSize()
        if size > _MAX_MESSAGE_BYTES:
            raise _too_large(f"{size}")
        return await self._handle(served, request.state.call, message, seconds)

    def _found(self, path: str, method: "_Method") -> tuple[Binding, tuple[str, ...]]:
        """Raises `RpcError`."""
        bindings = self._bindings.methods(path)
        if not bindings:
            raise RpcError(code_pb2.NOT_FOUND, "Not Found")
        name = method.override or method.name
        if method.is_form and name not in bindings and not method.override:
            name = "GET"
        if name not in bindings:
            raise RpcError(code_pb2.UNIMPLEMENTED, "Method Not Allowed")
        return bindings[name]

    async def _handle(
        self, served: rpc.Rpc, call: Call, message: Message, seconds: float | None
    ) -> Message:
        """Raises `RpcError`."""
        if seconds is None:
            return await rpc.respond(served, call, message, self._access)
        try:
            async with asyncio.timeout(seconds) as timeout:
                return await rpc.respond(served, call, message, self._access)
        except TimeoutError as error:
            if not timeout.expired():
                raise
            exceeded = RpcError(code_pb2.DEADLINE_EXCEEDED, "context deadline exceeded")
            raise exceeded from error


class _Method(NamedTuple):
    """The method of a request; a form may stand for another one, because its URL is too long."""

    name: str
    is_form: bool
    override: str
    """The method that the request has in truth; empty where it does not name one."""

    @classmethod
    def of(cls, request: Request) -> "_Method":
        is_form = request.method == "POST" and request.headers.get("content-type") == _FORM
        override = request.headers.get("x-http-method-override", "") if is_form else ""
        return cls(request.method, is_form, override.upper())


def _choice(request: Request) -> marshalers.Choice:
    headers = request.headers
    return marshalers.choose(headers.getlist("content-type"), headers.getlist("accept"))


def _decode(raw_path: bytes) -> str:
    try:
        return unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError as error:
        raise _invalid("the path is not UTF-8") from error


def _clean(path: str) -> str:
    """Return the path without empty segments, ``.`` and ``..``."""
    if "//" not in path and "/." not in path:
        return path
    clean = "/" + posixpath.normpath(path).lstrip("/")
    return f"{clean}/" if path.endswith("/") and clean != "/" else clean


def _redirect(request: Request, path: str) -> Response:
    query = request.scope["query_string"].decode("latin-1")
    location = quote(path, safe="/$&+,:;=@~") + (f"?{query}" if query else "")
    response = Response(status_code=307, headers={"Location": location})
    if request.method != "GET":
        return response
    link = f'<a href="{html.escape(location)}">Temporary Redirect</a>.\n\n'
    return HTMLResponse(link, 307, {"Location": location})


def _timeout(request: Request) -> float | None:
    """Return the seconds that the client waits. Raises `RpcError`."""
    given = request.headers.get("grpc-timeout", "")
    if not given:
        return None
    match = _TIMEOUT.fullmatch(given)
    if match is None:
        raise _invalid(f"invalid grpc-timeout: {given}")
    return int(match[1]) * _SECONDS[match[2]] or None


@lru_cache(maxsize=4096)
def _parsed(
    message_type: type[Message], binding: Binding, values: Sequence[str], query: bytes
) -> bytes:
    """Return the message of a request without a body. Raises `FieldError`.

    Clients read the same targets again and again.
    """
    message = message_type()
    _set_fields(message, binding, values, query, b"")
    content: bytes = message.SerializeToString()
    return content


def _set_fields(
    message: Message, binding: Binding, values: Sequence[str], query: bytes, form: bytes
) -> None:
    """Set the variables of the path, and where no body is due the parameters of a form and the
    query. Raises `FieldError`.
    """
    for variable, value in zip(binding.variables, values, strict=True):
        _set_variable(message, variable, value)
    if binding.body:
        return
    of_form, of_query = field_values.parameters(form), field_values.parameters(query)
    given = {
        name: [*of_form.get(name, ()), *of_query.get(name, ())] for name in {**of_form, **of_query}
    }
    field_values.set_parameters(message, given, binding.variables)


def _set_variable(message: Message, path: field_values.Path, value: str) -> None:
    """Set a variable of the path. Raises `FieldError`."""
    try:
        field_values.set_field(message, path, [value])
    except FieldError as error:
        name = ".".join(path)
        raise FieldError(f"type mismatch, parameter: {name}, error: {error}") from error


async def _in_thread_if_long(size: int, function: Callable[..., T], *arguments: Any) -> T:
    """Call a function whose work grows with a size in bytes."""
    if size <= _LONG:
        return function(*arguments)
    return await asyncio.to_thread(function, *arguments)


def _invalid(message: str) -> RpcError:
    return RpcError(code_pb2.INVALID_ARGUMENT, message)


def _too_large(size: str) -> RpcError:
    message = f"grpc: received message larger than max ({size} vs. {_MAX_MESSAGE_BYTES})"
    return RpcError(code_pb2.RESOURCE_EXHAUSTED, message)


def _body_error(error: ProblemError, marshaler: Marshaler) -> Response:
    """Return the response for a body that is too large, or does not arrive."""
    if error.problem.status == 413:
        return _error_response(_too_large(f"at least {_MAX_BODY_BYTES}"), marshaler)
    late = RpcError(code_pb2.DEADLINE_EXCEEDED, error.problem.detail)
    return _error_response(late, marshaler, error.problem.status)


def _error_response(error: RpcError, marshaler: Marshaler, http_status: int = 0) -> Response:
    status = status_pb2.Status(code=error.code, message=error.message)
    for detail in error.details:
        status.details.add().Pack(detail)
    response = Response(
        marshaler.write(status),
        http_status or _HTTP_STATUS.get(error.code, 500),
        media_type=marshaler.content_type,
    )
    if error.code == code_pb2.UNAUTHENTICATED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
