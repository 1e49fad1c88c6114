"""Calls by gRPC: each RPC is one `Call` with a trace, a metric and a line in the log."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol
from urllib.parse import unquote
from uuid import uuid4

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, status_pb2
from opentelemetry.trace import Span, SpanKind, StatusCode

from trimtab.errors import TrimtabError
from trimtab.runtime import metrics, tasks, telemetry
from trimtab_admin.access.call import Call
from trimtab_admin.access.control import AccessControl
from trimtab_admin.flyte.rpc import Rpc, RpcError, of_error, respond

log = logging.getLogger(__name__)

MAX_TEXT_BYTES = 32_000
"""Where Flyte cuts the text of an error, which then has no details: they are metadata, of which a
client accepts little."""

_DOOR = "grpc"
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:/+=-]{1,200}")
_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
_DEFECTS = frozenset(
    {
        code_pb2.DATA_LOSS,
        code_pb2.DEADLINE_EXCEEDED,
        code_pb2.INTERNAL,
        code_pb2.UNAVAILABLE,
        code_pb2.UNIMPLEMENTED,
        code_pb2.UNKNOWN,
    }
)
"""The codes that OpenTelemetry counts as errors of a server."""
_UNDECODABLE = RpcError(
    code_pb2.INTERNAL,
    "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data",
)

_NO_MESSAGE = RpcError(code_pb2.CANCELLED, "no message of a request has come")

_durations = metrics.seconds(
    "rpc.server.call.duration", "From the message of a request to that of its response"
)


class Context(Protocol):
    """The part of `grpc.aio.ServicerContext` that is used."""

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]: ...

    def peer(self) -> str: ...

    async def read(self) -> object: ...

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str | bytes], ...]) -> None: ...

    async def abort(
        self,
        code: grpc.StatusCode,
        details: str,
        trailing_metadata: tuple[tuple[str, str | bytes], ...],
    ) -> NoReturn: ...


@dataclass(frozen=True)
class Method:
    """One method of a service, and its RPC."""

    name: str
    """The name in traces and metrics, ``service/method``: there are few."""
    path: str
    rpc: Rpc
    decode: Callable[[bytes], Message]
    """Raises `DecodeError`."""

    @property
    def is_read(self) -> bool:
        return self.rpc.name.startswith(("Check", "Get", "List"))


class GrpcCalls:
    """Serves the calls of all methods."""

    def __init__(self, access: AccessControl, request_seconds: float) -> None:
        """``request_seconds`` is how long the message of a call is awaited."""
        self._access = access
        self._request_seconds = request_seconds
        self._writes: set[asyncio.Task[bytes | RpcError]] = set()

    async def serve(self, method: Method, context: Context) -> bytes:
        """Return the response; an error ends the call at once."""
        # The first value wins, as in HTTP.
        given = reversed(context.invocation_metadata())
        metadata = {key: value for key, value in given if isinstance(value, str)}
        call = _call(method.path, metadata, context.peer())
        authorization = metadata.get("authorization", "")
        began = time.perf_counter()
        outcome: bytes | RpcError | None = None
        # As over HTTP, the span continues the client's trace also where nothing is exported.
        with telemetry.span(method.name, metadata, SpanKind.SERVER) as span:
            try:
                request = await self._message(context)
                work = self._answer(method, call, authorization, request)
                outcome = await (work if method.is_read else self._completed(work))
            finally:
                _record(method, call, outcome, time.perf_counter() - began, span)
        request_id = ("x-request-id", call.request_id)
        if isinstance(outcome, RpcError):
            await _abort(context, outcome, request_id)
        context.set_trailing_metadata((request_id,))
        return outcome

    async def end(self) -> None:
        """Cancel the writes that go on after the end of their calls."""
        for write in self._writes:
            write.cancel()
        await asyncio.gather(*self._writes, return_exceptions=True)

    async def _message(self, context: Context) -> bytes | None:
        """Return the message of the call; ``None`` where none comes."""
        try:
            async with asyncio.timeout(self._request_seconds):
                message = await context.read()
        except TimeoutError:
            return None
        return message if isinstance(message, bytes) else None

    async def _answer(
        self, method: Method, call: Call, authorization: str, request: bytes | None
    ) -> bytes | RpcError:
        if request is None:
            return _NO_MESSAGE
        try:
            message = method.decode(request)
            if not method.rpc.is_open:
                call = await self._access.authenticate(call, authorization)
            response = await respond(method.rpc, call, message, self._access)
            return bytes(response.SerializeToString())
        except DecodeError:
            return _UNDECODABLE
        except RpcError as error:
            return error
        except TrimtabError as error:
            return of_error(error)
        except Exception as error:  # noqa: BLE001  # the boundary: it fails only its own call
            tasks.report_failure("call.failed", error, _fields(call))
            return RpcError(
                code_pb2.INTERNAL,
                f"{method.name} failed unexpectedly; the log of admin has the reason, with the "
                f"request id {call.request_id}",
            )

    async def _completed(self, work: Coroutine[Any, Any, bytes | RpcError]) -> bytes | RpcError:
        """Await a write, which goes on where its client leaves or its deadline passes."""
        write = asyncio.get_running_loop().create_task(work)
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)
        return await asyncio.shield(write)


def _call(path: str, metadata: Mapping[str, str], peer: str) -> Call:
    given = metadata.get("x-request-id", "")
    request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid4())
    return Call(_address(peer), "GRPC", path, request_id, door=_DOOR)


def _address(peer: str) -> str:
    """Return the address in the name of a peer, such as ``ipv6:%5B::1%5D:40000``."""
    return unquote(peer.partition(":")[2]).rpartition(":")[0].strip("[]")


async def _abort(context: Context, error: RpcError, request_id: tuple[str, str]) -> NoReturn:
    text = error.message.encode()
    metadata: list[tuple[str, str | bytes]] = [request_id]
    if error.details and len(text) <= MAX_TEXT_BYTES:
        status = status_pb2.Status(code=error.code, message=error.message)
        for detail in error.details:
            status.details.add().Pack(detail)
        metadata.append(("grpc-status-details-bin", status.SerializeToString()))
    cut = text[:MAX_TEXT_BYTES].decode(errors="ignore")
    await context.abort(_CODES[error.code], cut, tuple(metadata))


def _record(
    method: Method, call: Call, outcome: bytes | RpcError | None, seconds: float, span: Span
) -> None:
    """Record the call in the span, the metrics and the log. ``None`` is a call that was left."""
    code = outcome.code if isinstance(outcome, RpcError) else code_pb2.OK
    if outcome is None:
        code = code_pb2.CANCELLED
    status = code_pb2.Code.Name(code)
    attributes: dict[str, str | int] = {
        "rpc.system.name": "grpc",
        "rpc.method": method.name,
        "rpc.response.status_code": status,
    }
    if code in _DEFECTS:
        attributes["error.type"] = status
        span.set_status(StatusCode.ERROR)
    span.set_attributes(attributes)
    _durations.record(seconds, attributes)
    event = "call.done" if outcome is not None else "call.abandoned"
    level = logging.DEBUG if method.is_read else logging.INFO
    if log.isEnabledFor(level):
        fields = {**_fields(call), "status": status, "ms": round(1000 * seconds)}
        log.log(level, event, extra=fields)


def _fields(call: Call) -> dict[str, str]:
    return {"method": call.method, "path": call.path, "id": call.request_id}
