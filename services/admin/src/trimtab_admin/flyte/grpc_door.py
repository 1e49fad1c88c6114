"""The gRPC door: a server on a port of its own, which serves the tables of RPCs.

Every method of the services has a handler, also those that are not served: each answer is one
sentence. Reflection describes the services to programs such as grpcurl.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import grpc
from google.protobuf.empty_pb2 import Empty
from google.rpc import code_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from trimtab.echoes import cut
from trimtab.errors import Invalid, Rejected
from trimtab.runtime.service import GRACE_SECONDS, bind
from trimtab_admin.access.call import Call
from trimtab_admin.access.control import AccessControl
from trimtab_admin.flyte.grpc_calls import Context, GrpcCalls, Method
from trimtab_admin.flyte.rpc import Rpc, RpcError, Service, any_caller

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The largest message, as of Flyte: gRPC's own default."""

_MAX_CALLS = 512
"""How many RPCs are served at once; more are refused with RESOURCE_EXHAUSTED."""
_MAX_STREAMS = 128
"""How many RPCs a connection may have at once; a client queues more."""
_MILLIS = 1000
_REFLECTION_SECONDS = 10.0
"""The longest stream of reflection, which would otherwise be as long as its client lets it."""
_REFLECTION = f"/{reflection.SERVICE_NAME}/ServerReflectionInfo"


@dataclass(frozen=True)
class Listener:
    """Where the door listens."""

    host: str
    port: int
    certificate: Path | None = None
    """The file with the chain of certificates in PEM; without it, the port has no TLS."""
    key: Path | None = None
    reuse_port: bool = False
    """Whether other processes may listen on the same port."""
    request_seconds: float = 10.0
    """How long a client may take for its handshake, and for the message of a call."""

    @property
    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def credentials(self) -> grpc.ServerCredentials | None:
        """Return the credentials of TLS; ``None`` without it. Raises `OSError` and `Invalid`."""
        if self.certificate is None and self.key is None:
            return None
        if self.certificate is None or self.key is None:
            missing = "grpc_certificate" if self.certificate is None else "grpc_key"
            raise Invalid(missing, None, "a file: TLS needs a certificate and its key")
        certificate, key = self.certificate.read_bytes(), self.key.read_bytes()
        # gRPC would accept any file, and then fail each handshake.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, password="")
        except ssl.SSLError as error:
            files = f"{self.certificate} and {self.key}"
            raise Invalid(
                "grpc_certificate and grpc_key",
                files,
                f"PEM files of a certificate and of its key without a password ({error})",
            ) from error
        return grpc.ssl_server_credentials([(key, certificate)])

    def check(self) -> None:
        """Raise `Rejected` where the port is not free."""
        try:
            # It must not listen: the kernel would give it connections of the others on the port.
            bind(self.host, self.port, reuse_port=self.reuse_port).close()
        except OSError as error:
            raise self.not_free(str(error.strerror or error)) from error

    def not_free(self, reason: str) -> Rejected:
        return Rejected(
            f"it cannot listen on {self.address} for gRPC: {reason}; "
            "set TRIMTAB_GRPC_PORT to a port that is free"
        )


class GrpcDoor:
    """Serves while its context is open."""

    def __init__(
        self,
        services: Sequence[Service],
        access: AccessControl,
        listener: Listener,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        """Raises `OSError`, `Invalid` and `Rejected` where it cannot listen so."""
        self._listener = listener
        self._grace_seconds = grace_seconds
        self._credentials = listener.credentials()
        listener.check()
        self._calls = GrpcCalls(access, listener.request_seconds)
        self._handlers = _Handlers(services, self._calls)
        self._server: grpc.aio.Server | None = None
        self._stopping: asyncio.Task[None] | None = None
        self.port = listener.port
        """The port on which it listens; before the start 0, where that is to be a free one."""

    @property
    def has_tls(self) -> bool:
        return self._credentials is not None

    async def __aenter__(self) -> None:
        """Listen. Raises `Rejected`."""
        self._server = grpc.aio.server(
            handlers=[self._handlers],
            options=_options(self._listener),
            maximum_concurrent_rpcs=_MAX_CALLS,
        )
        address = self._listener.address
        try:
            if self._credentials is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise self._listener.not_free("the port is taken") from error
        await self._server.start()
        log.info(
            "grpc.listening",
            extra={"address": f"{self._listener.host}:{self.port}", "tls": self.has_tls},
        )

    def begin_stop(self) -> None:
        """Accept no further calls. Leaving the context awaits the end of those that are open."""
        if self._server is not None and self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop(self._server))
            self._server = None

    async def __aexit__(self, *_error: object) -> None:
        """Stop within the grace of the service; open calls are cancelled at its end."""
        self.begin_stop()
        if self._stopping is not None:
            await self._stopping

    async def _stop(self, server: grpc.aio.Server) -> None:
        await server.stop(self._grace_seconds)
        await self._calls.end()


def _options(listener: Listener) -> Sequence[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", int(listener.reuse_port)),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", _MAX_STREAMS),
        ("grpc.server_handshake_timeout_ms", round(listener.request_seconds * _MILLIS)),
        # A peer that is gone, a connection without calls and one that holds calls open all end.
        ("grpc.keepalive_time_ms", 60 * _MILLIS),
        ("grpc.keepalive_timeout_ms", 20 * _MILLIS),
        ("grpc.max_connection_idle_ms", 600 * _MILLIS),
        ("grpc.max_connection_age_ms", 1800 * _MILLIS),
        ("grpc.max_connection_age_grace_ms", 60 * _MILLIS),
        # Clients may check every ten seconds that the server is there; more often is abuse.
        ("grpc.http2.min_ping_interval_without_data_ms", 10 * _MILLIS),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10 * _MILLIS),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Finds the handler of a method; a method that does not exist has one too."""

    def __init__(self, services: Sequence[Service], calls: GrpcCalls) -> None:
        self._services = {service.name: service for service in services}
        self._calls = calls
        self._handlers: dict[str, Any] = {
            f"/{service.name}/{name}": self._unary(_method(service, name))
            for service in services
            for name in service.descriptor.methods_by_name
        }
        self._handlers[_REFLECTION] = _reflection([*self._services, reflection.SERVICE_NAME])

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return self._handlers.get(details.method) or self._unary(self._unknown(details.method))

    def _unary(self, method: Method) -> Any:
        async def serve(_requests: AsyncIterator[bytes], context: Context) -> bytes:
            return await self._calls.serve(method, context)

        # A handler of one message would be called when that has arrived, which may be never.
        return grpc.stream_unary_rpc_method_handler(serve)

    def _unknown(self, path: str) -> Method:
        name, _, method = path.removeprefix("/").rpartition("/")
        reason = f"unknown service {cut(name)}"
        if name in self._services:
            reason = f"unknown method {cut(method)} for service {name}"
        return _unserved("_OTHER", cut(path), RpcError(code_pb2.UNIMPLEMENTED, reason))


def _method(service: Service, name: str) -> Method:
    full_name, path = f"{service.name}/{name}", f"/{service.name}/{name}"
    rpc: Rpc | None = service.by_name.get(name)
    if rpc is None:
        return _unserved(full_name, path, service.unimplemented(name))
    return Method(full_name, path, rpc, service.request_type(name).FromString)


def _unserved(name: str, path: str, error: RpcError) -> Method:
    """Return a method that has only this answer, whatever the message."""

    async def refuse(_call: Call, _message: Empty) -> NoReturn:
        raise error

    rpc = Rpc(path.rpartition("/")[2], refuse, any_caller, is_open=True)
    return Method(name, path, rpc, lambda _message: Empty())


def _reflection(names: Sequence[str]) -> Any:
    servicer = ReflectionServicer(names)

    async def serve(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        async with asyncio.timeout(_REFLECTION_SECONDS):
            async for response in servicer.ServerReflectionInfo(requests, context):
                yield response

    return grpc.stream_stream_rpc_method_handler(
        serve,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
