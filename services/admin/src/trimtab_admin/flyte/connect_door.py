"""The door of Flyte 2: the Connect protocol's unary calls over HTTP/1.1.

A message is binary or JSON, by its content type, and may be compressed with gzip. An error is JSON
with a status of HTTP that its code determines.
"""

import asyncio
import base64
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from trimtab.errors import Retryable, TrimtabError
from trimtab_admin.access.call import Call
from trimtab_admin.access.control import AccessControl
from trimtab_admin.api import requests
from trimtab_admin.api.problems import ProblemError
from trimtab_admin.api.requests import BodyLimit
from trimtab_admin.flyte.rpc import Rpc, RpcError, Service, of_error, respond

_STATUSES = {
    code_pb2.CANCELLED: 499,
    code_pb2.UNKNOWN: 500,
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.DEADLINE_EXCEEDED: 504,
    code_pb2.NOT_FOUND: 404,
    code_pb2.ALREADY_EXISTS: 409,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.FAILED_PRECONDITION: 400,
    code_pb2.ABORTED: 409,
    code_pb2.OUT_OF_RANGE: 400,
    code_pb2.UNIMPLEMENTED: 501,
    code_pb2.INTERNAL: 500,
    code_pb2.UNAVAILABLE: 503,
    code_pb2.DATA_LOSS: 500,
    code_pb2.UNAUTHENTICATED: 401,
}
"""The status of HTTP of each code, as the protocol has it."""
_NAMES = {code_pb2.CANCELLED: "canceled"}
"""Names of codes in the protocol that are not those of gRPC in small letters."""
_CODES_OF_PROBLEMS = {
    408: code_pb2.DEADLINE_EXCEEDED,
    413: code_pb2.RESOURCE_EXHAUSTED,
}
_VERSION = "1"
_TIMEOUT = re.compile("[0-9]{1,10}")
_GZIP = 16 + zlib.MAX_WBITS
_MARGIN_BYTES = 32 * 1024
"""Larger messages are decoded in a thread."""


class _Codec(NamedTuple):
    decode: Callable[[type[Message], bytes], Message]
    encode: Callable[[Message], bytes]


def _parse_json(request_type: type[Message], body: bytes) -> Message:
    return json_format.Parse(body, request_type())


_CODECS: Mapping[str, _Codec] = {
    "application/proto": _Codec(
        lambda request_type, body: request_type.FromString(body),
        lambda message: message.SerializeToString(),
    ),
    "application/json": _Codec(
        _parse_json, lambda message: json_format.MessageToJson(message, indent=None).encode()
    ),
}


@dataclass(frozen=True)
class _Route:
    """The template of a path, for metrics and traces."""

    path: str


class ConnectDoor:
    """Serves every method of the services below the path of its service."""

    name = "connect"

    def __init__(
        self, services: Sequence[Service], access: AccessControl, body_limit: BodyLimit
    ) -> None:
        self._access = access
        self._body_limit = body_limit
        self._services = tuple(f"/{service.name}/" for service in services)
        self._rpcs = {
            f"/{service.name}/{rpc.name}": (rpc, service.request_type(rpc.name))
            for service in services
            for rpc in service.rpcs
        }

    def serves(self, path: str) -> bool:
        return path.startswith(self._services)

    def is_open(self, scope: Scope) -> bool:
        found = self._rpcs.get(scope["path"])
        return found is not None and found[0].is_open

    def error(self, _scope: Scope, error: TrimtabError) -> ASGIApp:
        headers = {}
        if isinstance(error, Retryable) and error.delay_seconds is not None:
            headers["Retry-After"] = f"{error.delay_seconds:.0f}"
        return _error_response(of_error(error), headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._respond(request)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        found = self._rpcs.get(request.url.path)
        if found is None:
            return Response(status_code=404)
        request.scope["route"] = _Route(request.url.path)
        if request.method != "POST":
            return Response(status_code=405, headers={"Allow": "POST"})
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        codec = _CODECS.get(content_type)
        if codec is None:
            return Response(status_code=415, headers={"Accept-Post": ", ".join(_CODECS)})
        try:
            async with asyncio.timeout(_timeout_seconds(request.headers)):
                message = await self._call(request, *found, codec)
        except TimeoutError:
            expired = RpcError(code_pb2.DEADLINE_EXCEEDED, "the call took longer than its timeout")
            return _error_response(expired)
        except RpcError as error:
            return _error_response(error)
        except ProblemError as error:
            code = _CODES_OF_PROBLEMS[error.problem.status]
            return _error_response(RpcError(code, str(error)))
        return Response(codec.encode(message), media_type=content_type)

    async def _call(
        self, request: Request, rpc: Rpc, request_type: type[Message], codec: _Codec
    ) -> Message:
        call: Call = request.state.call
        encoding = _encoding(request.headers)
        body = await requests.read(request, self._body_limit)

        def decoded() -> Message:
            content = body
            if encoding == "gzip":
                content = _decompressed(body, self._body_limit.bytes)
            return _decoded(codec, request_type, content)

        is_large = encoding == "gzip" or len(body) > _MARGIN_BYTES
        message = await asyncio.to_thread(decoded) if is_large else decoded()
        return await respond(rpc, call, message, self._access)


def _timeout_seconds(headers: Headers) -> float | None:
    """Return the timeout of a call. Raises `RpcError` where the client speaks another protocol.

    Raises `TimeoutError` where there is no time.
    """
    version = headers.get("connect-protocol-version", _VERSION)
    if version != _VERSION:
        message = f"Connect-Protocol-Version is {version!r}, and only {_VERSION!r} is served"
        raise RpcError(code_pb2.INVALID_ARGUMENT, message)
    timeout = headers.get("connect-timeout-ms")
    if timeout is None:
        return None
    if not _TIMEOUT.fullmatch(timeout):
        message = f"Connect-Timeout-Ms is {timeout!r}, and not at most 10 digits"
        raise RpcError(code_pb2.INVALID_ARGUMENT, message)
    if not int(timeout):
        raise TimeoutError
    return int(timeout) / 1000


def _encoding(headers: Headers) -> str:
    """Return the compression of the body. Raises `RpcError`."""
    encoding = headers.get("content-encoding", "identity").strip().lower() or "identity"
    if encoding not in ("identity", "gzip"):
        message = f"unknown compression {encoding!r}: supported encodings are gzip, identity"
        raise RpcError(code_pb2.UNIMPLEMENTED, message)
    return encoding


def _decompressed(body: bytes, most: int) -> bytes:
    """Return the content of a gzip body. It is never larger in memory than a body may be.

    Raises `RpcError`.
    """
    stream = zlib.decompressobj(_GZIP)
    try:
        content = stream.decompress(body, most + 1)
    except zlib.error as error:
        raise RpcError(code_pb2.INVALID_ARGUMENT, f"the body is not gzip: {error}") from error
    if len(content) > most:
        message = f"the body is larger than {most} bytes when it is decompressed"
        raise RpcError(code_pb2.RESOURCE_EXHAUSTED, message)
    if not stream.eof or stream.unused_data:
        raise RpcError(code_pb2.INVALID_ARGUMENT, "the body is not one complete gzip file")
    return content


def _decoded(codec: _Codec, request_type: type[Message], body: bytes) -> Message:
    """Raises `RpcError`."""
    try:
        return codec.decode(request_type, body)
    except (DecodeError, json_format.ParseError, ValueError, RecursionError) as error:
        message = f"the body is no {request_type.DESCRIPTOR.full_name}: {error}"
        raise RpcError(code_pb2.INVALID_ARGUMENT, message) from error


def _error_response(error: RpcError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    content: dict[str, Any] = {
        "code": _NAMES.get(error.code, code_pb2.Code.Name(error.code).lower()),
        "message": error.message,
    }
    if error.details:
        content["details"] = [
            {
                "type": detail.DESCRIPTOR.full_name,
                "value": base64.b64encode(detail.SerializeToString()).decode().rstrip("="),
            }
            for detail in error.details
        ]
    sent = dict(headers or {})
    if error.code == code_pb2.UNAUTHENTICATED:
        sent["WWW-Authenticate"] = "Bearer"
    return JSONResponse(content, _STATUSES[error.code], sent)
