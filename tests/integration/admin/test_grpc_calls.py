"""Calls by gRPC: their errors and details, deadlines, limits and traces, of a small service."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from flyteidl.admin.project_pb2 import GetDomainsResponse, InactiveProject, ProjectUpdateResponse
from flyteidl.service import admin_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from grpc import StatusCode

from tests.integration.admin.grpc_client import ADMIN, GrpcClient
from tests.servers import PATIENCE_SECONDS, free_port
from trimtab.errors import Rejected, Unavailable
from trimtab_admin.access.call import Call
from trimtab_admin.access.control import AccessControl
from trimtab_admin.flyte import grpc_calls, grpc_door
from trimtab_admin.flyte.grpc_door import MAX_MESSAGE_BYTES, GrpcDoor, Listener
from trimtab_admin.flyte.rpc import Rpc, RpcError, Service, any_caller

pytestmark = pytest.mark.usefixtures("grpc_threads")
GET, UPDATE = f"{ADMIN}/GetDomains", f"{ADMIN}/UpdateProject"
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
Handler = Callable[[Call, Any], Awaitable[Message]]


async def get(_call: Call, _request: Any) -> Message:
    return GetDomainsResponse()


async def update(_call: Call, _request: Any) -> Message:
    return ProjectUpdateResponse()


@asynccontextmanager
async def door(get: Handler = get, update: Handler = update, **more: Any) -> AsyncIterator[Any]:
    """Serve two RPCs with these handlers, which need no token, and yield a client."""
    rpcs = [
        Rpc("GetDomains", get, any_caller, is_open=True),
        Rpc("UpdateProject", update, any_caller, is_open=True),
    ]
    service = Service(admin_pb2.DESCRIPTOR.services_by_name["AdminService"], rpcs)
    # None of the calls is refused, and none is authenticated.
    access: AccessControl = None  # type: ignore[assignment]
    grace = more.pop("grace_seconds", 0.0)
    listener = Listener("127.0.0.1", more.pop("port", 0), **more)
    served = GrpcDoor([service], access, listener, grace)
    async with served, GrpcClient(served.port) as client:
        yield client


async def test_an_error_has_its_code_message_and_details() -> None:
    async def fail(_call: Call, _request: Any) -> Message:
        raise RpcError(
            code_pb2.INVALID_ARGUMENT, "project [p] is not active", (InactiveProject(id="p"),)
        )

    async with door(get=fail) as client:
        error = await client.error(GET)
    assert (error.code(), error.details()) == (
        StatusCode.INVALID_ARGUMENT,
        "project [p] is not active",
    )
    [encoded] = [v for key, v in error.trailing_metadata() if key == "grpc-status-details-bin"]
    status = status_pb2.Status.FromString(encoded)
    assert (status.code, status.message) == (code_pb2.INVALID_ARGUMENT, error.details())
    detail = InactiveProject()
    [packed] = status.details
    assert packed.Unpack(detail)
    assert detail.id == "p"


async def test_an_error_of_trimtab_has_the_code_of_its_kind() -> None:
    async def fail(_call: Call, _request: Any) -> Message:
        raise Unavailable("the database does not respond")

    async with door(get=fail) as client:
        error = await client.error(GET)
    assert (error.code(), error.details()) == (
        StatusCode.UNAVAILABLE,
        "the database does not respond",
    )


async def test_a_long_message_is_cut_where_flyte_cuts_it_and_has_no_details() -> None:
    async def fail(_call: Call, _request: Any) -> Message:
        raise RpcError(code_pb2.NOT_FOUND, "é" * 16_001, (InactiveProject(id="p"),))

    # As a client in Go: that in Python accepts 16 KiB of metadata.
    options = [
        ("grpc.max_metadata_size", 1_000_000),
        ("grpc.absolute_max_metadata_size", 1_000_000),
    ]
    async with door(get=fail) as client, GrpcClient(client.port, options=options) as in_go:
        error = await in_go.error(GET)
    assert error.details() == "é" * 16_000
    assert [key for key, _ in error.trailing_metadata()] == ["x-request-id"]


async def test_an_unexpected_failure_shows_the_request_id_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(_call: Call, _request: Any) -> Message:
        raise ZeroDivisionError("secret")

    async with door(get=fail) as client:
        error = await client.error(GET, metadata=(("x-request-id", "r-7"),))
    assert (error.code(), error.details()) == (
        StatusCode.INTERNAL,
        f"{GET[1:]} failed unexpectedly; the log of admin has the reason, with the request id r-7",
    )
    [record] = [each for each in caplog.records if each.getMessage() == "call.failed"]
    assert (vars(record)["id"], record.exc_info is not None) == ("r-7", True)


async def test_a_message_that_cannot_be_decoded_or_is_too_large_is_refused() -> None:
    async with door() as client:
        undecodable = await client.error(GET, b"\xff\xff\xff")
        too_large = await client.error(GET, b"\0" * (MAX_MESSAGE_BYTES + 1))
        await client.call(GET)
    assert (undecodable.code(), undecodable.details()) == (
        StatusCode.INTERNAL,
        "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data",
    )
    assert too_large.code() == StatusCode.RESOURCE_EXHAUSTED


async def test_a_deadline_ends_a_read_and_lets_a_write_complete() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()
    outcomes = []

    async def wait(call: Call, _request: Any) -> Message:
        begun.set()
        try:
            await ended.wait()
        except asyncio.CancelledError:
            outcomes.append((call.path, "cancelled"))
            raise
        outcomes.append((call.path, "completed"))
        return GetDomainsResponse()

    async with door(get=wait, update=wait) as client:
        for path in (GET, UPDATE):
            begun.clear()
            call = client.start(path, timeout=PATIENCE_SECONDS / 100)
            await begun.wait()
            assert await call.code() == StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not outcomes:
                await asyncio.sleep(0.01)
            ended.set()
            while len(outcomes) < 2:
                await asyncio.sleep(0.01)
        del call
    assert outcomes == [(GET, "cancelled"), (UPDATE, "completed")]


async def test_a_stop_awaits_open_calls_and_then_cancels_them() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(_call: Call, _request: Any) -> Message:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    async with door(update=wait) as client:
        call = client.start(UPDATE)
        waiting = asyncio.ensure_future(call.code())
        await begun.wait()
        del call
    assert cancelled.is_set()
    assert await waiting != StatusCode.OK


async def test_doors_share_a_port_and_the_other_serves_it_when_one_has_ended() -> None:
    served = set()

    def by(name: str) -> Handler:
        async def answer(_call: Call, _request: Any) -> Message:
            served.add(name)
            return GetDomainsResponse()

        return answer

    async with door(get=by("first"), port=free_port(), reuse_port=True) as client:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async with door(get=by("second"), port=client.port, reuse_port=True) as other:
                # The kernel gives each connection to one of the two.
                while served != {"first", "second"}:
                    async with GrpcClient(other.port, options=OWN_CONNECTION) as caller:
                        await caller.call(GET)
        served.clear()
        async with GrpcClient(client.port, options=OWN_CONNECTION) as caller:
            await caller.call(GET)
        assert served == {"first"}
        with pytest.raises(Rejected, match="in use"):
            Listener("127.0.0.1", client.port).check()


async def test_the_check_of_a_shared_port_receives_none_of_its_connections() -> None:
    async with door(port=free_port(), reuse_port=True) as client:
        listener = Listener("127.0.0.1", client.port, reuse_port=True)
        checked = asyncio.Event()

        def check() -> None:
            while not checked.is_set():
                listener.check()

        checking = asyncio.ensure_future(asyncio.to_thread(check))
        for _ in range(50):
            reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
            assert await reader.read(9)  # the settings of HTTP/2, which only a server sends
            writer.close()
            await writer.wait_closed()
        checked.set()
        await checking


async def test_a_client_cannot_hold_calls_without_sending_their_messages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpc_door, "_MAX_CALLS", 1)
    async with door(request_seconds=PATIENCE_SECONDS / 100) as client:

        async def code() -> StatusCode:
            found: StatusCode = await client.start(GET).code()
            return found

        async with asyncio.timeout(PATIENCE_SECONDS):
            outcome = None
            # A call with a message may be the first to arrive; then the silent one is refused.
            while outcome != (StatusCode.CANCELLED, True):
                silent, is_full = client.channel.stream_unary(GET)(), False
                while not silent.done():
                    is_full |= await code() == StatusCode.RESOURCE_EXHAUSTED
                outcome = (await silent.code(), is_full)
            while await code() != StatusCode.OK:
                await asyncio.sleep(0.01)


async def test_paths_and_metadata_that_are_no_text_end_only_their_own_calls() -> None:
    async with door() as client:
        for path, value in ((b"/\xff/x", b"v"), (GET.encode(), b"\xff"), (b"", b"v"), (b"/", b"")):
            reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
            writer.write(http2_request(path, value))
            writer.write_eof()
            await reader.read()
            writer.close()
            await writer.wait_closed()
            await client.call(GET)


def http2_request(path: bytes, value: bytes) -> bytes:
    """Return a request with an empty message, whose header ``x-request-id`` has the value."""
    headers = {b":method": b"POST", b":scheme": b"http", b":path": path, b":authority": b"x"}
    headers |= {b"content-type": b"application/grpc", b"te": b"trailers", b"x-request-id": value}
    block = b"".join(
        b"\0%c%b%c%b" % (len(name), name, len(text), text) for name, text in headers.items()
    )

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return struct.pack(">BHBBI", 0, len(payload), kind, flags, stream) + payload

    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
    return preface + frame(1, 4, 1, block) + frame(0, 1, 1, b"\0" * 5)


async def test_each_call_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    class Durations:
        def record(self, _seconds: float, attributes: dict[str, str]) -> None:
            measured.append(attributes)

    monkeypatch.setattr(grpc_calls, "_durations", Durations())
    async with door() as client:
        await client.call(GET)
        await client.error("/of.nobody/Anything")
    assert measured == [
        {
            "rpc.system.name": "grpc",
            "rpc.method": GET[1:],
            "rpc.response.status_code": "OK",
        },
        {
            "rpc.system.name": "grpc",
            "rpc.method": "_OTHER",
            "rpc.response.status_code": "UNIMPLEMENTED",
            "error.type": "UNIMPLEMENTED",
        },
    ]
