"""10,000 malformed messages at the port of gRPC: each has a response, and admin goes on serving."""

import asyncio
import base64
import json
import random
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from flyteidl.admin.version_pb2 import GetVersionRequest
from flyteidl.service import admin_pb2, auth_pb2
from flyteidl.service.admin_pb2_grpc import AdminServiceStub
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass

from tests.flyte.admins import TOKEN, Admin
from tests.flyte.test_flytekit import KINDS, SCOPES
from tests.servers import PATIENCE_SECONDS
from trimtab.release import VERSION

MESSAGES = 10_000
AT_ONCE = 32
MEMORY_BYTES = 64 * 1024 * 1024
"""How much the process may grow; a leak of 16 KiB per message would be more than twice that."""
BEARER = f"Bearer {TOKEN}"
ADMIN = admin_pb2.DESCRIPTOR.services_by_name["AdminService"]
METHODS = [
    f"/{service.full_name}/{method.name}"
    for module in (admin_pb2, auth_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
UNPARSABLE = "grpc: error unmarshalling request"
"""How the text of Flyte begins where a message is no protobuf, with the code INTERNAL."""
EXPECTED = "OK", "NOT_FOUND", "INVALID_ARGUMENT", "INTERNAL", "UNAUTHENTICATED", "UNIMPLEMENTED"
"""Codes that many of the messages have to end with: they are not all refused for one reason."""
ENUM_NAMES = {*KINDS, "USE_DEFAULT"}
TEXTS = (
    *("", " ", "\0", "-1", "0", "1e400", "1" * 400, "../..", "*", "%", "' OR 1=1", "eq(name,x)"),
    *("Ünï", "\u202e", "\N{PILE OF POO}", "x" * 300, "y" * 3_000, "shop", "production", "attic"),
)
Request = tuple[str, Mapping[str, Any]]
Fields = Mapping[str, Any]
Metadata = Sequence[tuple[str, str | bytes]]


@asynccontextmanager
async def channel(admin: Admin) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(admin.grpc) as channel:
        yield channel


def requests() -> Iterator[Request]:
    """Yield a valid request of each RPC on attributes at each level, and of those on projects."""
    for level, scope in SCOPES.items():
        for kind, target in KINDS.items():
            one = {**scope, "resourceType": kind}
            yield (
                f"Update{level}Attributes",
                {"attributes": {**scope, "matchingAttributes": target}},
            )
            yield f"Get{level}Attributes", one
            yield f"Delete{level}Attributes", one
            yield "ListMatchableAttributes", {"resourceType": kind}
    project = {"id": "shop", "name": "Shop", "labels": {"values": {"team": "shop"}}}
    yield "RegisterProject", {"project": project}
    yield "UpdateProject", project
    yield "GetProject", {"id": "shop"}
    yield "ListProjects", {"limit": 5, "filters": "eq(state,0)", "token": "1"}


def encoded(name: str, fields: Fields) -> bytes:
    message = GetMessageClass(ADMIN.methods_by_name[name].input_type)()
    return ParseDict(fields, message).SerializeToString()


def fuzzed(draw: random.Random, valid: Sequence[Request]) -> tuple[str, bytes]:
    """Return a method, and random bytes or a valid request that was changed a little."""
    name, fields = draw.choice(valid)
    other = draw.choice(METHODS)
    method = f"/{ADMIN.full_name}/{name}"
    match draw.randrange(5):
        case 0:
            return other, draw.randbytes(draw.randrange(200))
        case 1:
            return other, encoded(name, fields)
        case 2:
            changed = bytearray(encoded(name, fields))
            for _ in range(draw.randrange(1, 4)):
                at = draw.randrange(len(changed) + 1)
                changed[at : at + draw.randrange(4)] = draw.randbytes(draw.randrange(4))
            return method, bytes(changed)
        case _:
            return method, encoded(name, rewritten(draw, fields))


def rewritten(draw: random.Random, fields: Any) -> Any:
    """Return the fields of a request with other texts in place of about every third."""
    match fields:
        case dict():
            return {key: rewritten(draw, fields[key]) for key in fields}
        case list():
            return [rewritten(draw, each) for each in fields] * draw.choice((1, 1, 1, 0, 20))
        case str() if fields in ENUM_NAMES:
            return draw.choice((fields, fields, -1, 4, 8, 2**31 - 1))
        case str() if draw.random() < 0.3:
            return draw.choice(TEXTS)
    return fields


def metadata(draw: random.Random) -> Metadata:
    """Return metadata that is mostly that of an authenticated call."""
    noise = draw.randbytes(draw.randrange(60))
    text = base64.b64encode(noise).decode()
    return draw.choice(
        [
            *[[("authorization", BEARER)]] * 12,
            [("authorization", text)],
            [("authorization", BEARER), ("authorization", text)],
            [("authorization", BEARER), ("x-noise-bin", noise), ("traceparent", text)],
            [("authorization", BEARER), ("x-request-id", text), ("x-trimtab-reason", text)],
        ]
    )


async def outcome(
    channel: grpc.aio.Channel, method: str, message: bytes, metadata: Metadata
) -> tuple[grpc.StatusCode, str]:
    call = channel.unary_unary(method)(message, metadata=metadata, timeout=PATIENCE_SECONDS)
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


async def version(admin: Admin) -> str:
    async with channel(admin) as open_channel:
        stub = AdminServiceStub(open_channel)
        response = await stub.GetVersion(
            GetVersionRequest(), metadata=[("authorization", BEARER)], timeout=PATIENCE_SECONDS
        )
        return str(response.control_plane_version.Version)


@pytest.fixture(autouse=True)
def healthy(admin: Admin) -> Iterator[None]:
    """Check after each test that no call failed unexpectedly."""
    yield
    assert [line for line in admin.log().splitlines() if is_failure(line)] == []


def is_failure(line: str) -> bool:
    # gRPC itself logs metadata that is no UTF-8 as an error; not all its lines are JSON.
    return '"exception"' in line and not json.loads(line)["logger"].startswith("grpc.")


async def test_each_fuzzed_message_has_a_response(admin: Admin) -> None:
    draw = random.Random(1)
    valid = [*requests()]
    messages = iter([(*fuzzed(draw, valid), metadata(draw)) for _ in range(MESSAGES)])
    codes: dict[grpc.StatusCode, int] = {}

    async def send(open_channel: grpc.aio.Channel) -> None:
        for method, message, given in messages:
            code, text = await outcome(open_channel, method, message, given)
            codes[code] = codes.get(code, 0) + 1
            assert code is not grpc.StatusCode.UNKNOWN, (method, message, text)
            if code is grpc.StatusCode.INTERNAL:
                assert text.startswith(UNPARSABLE), (method, message, text)

    async with channel(admin) as open_channel, asyncio.TaskGroup() as group:
        before = admin.memory_bytes()
        for _ in range(AT_ONCE):
            group.create_task(send(open_channel))
    assert sum(codes.values()) == MESSAGES
    assert min(codes.get(grpc.StatusCode[name], 0) for name in EXPECTED) > MESSAGES / 100
    assert await version(admin)
    assert admin.memory_bytes() - before < MEMORY_BYTES


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, DATA, SETTINGS, CONTINUATION = 1, 0, 4, 9
END_STREAM, END_HEADERS = 1, 4
PATH = "/flyteidl.service.AdminService/GetVersion"
OPENED = PREFACE + b"\0\0\0\x04\0\0\0\0\0"
"""The preface of a client and its empty settings."""


def frame(kind: int, flags: int, stream: int, payload: bytes, length: int | None = None) -> bytes:
    """Return a frame of HTTP/2; ``length`` is what it declares, if that is not its own."""
    size = len(payload) if length is None else length
    return size.to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def head(**more: str) -> bytes:
    """Return the headers of a call, as literals of HPACK without an index."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": PATH,
        ":authority": "127.0.0.1",
        "content-type": "application/grpc",
        "te": "trailers",
        "authorization": BEARER,
    }
    fields |= {name.replace("_", "-"): value for name, value in more.items()}
    return b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode("latin-1")
        for name, value in fields.items()
    )


def call(message: bytes, **more: str) -> bytes:
    """Return a call with the bytes after its headers."""
    headers = frame(HEADERS, END_HEADERS, 1, head(**more))
    return OPENED + headers + frame(DATA, END_STREAM, 1, message)


def wrong_bytes(draw: random.Random) -> Iterator[bytes]:
    """Yield what connections send that are no calls of a correct client."""
    http = "GET /api/v1/projects HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    yield from (b"", b"\0", PREFACE[:10], PREFACE, OPENED, http.encode(), b"\x16\x03\x01\0\xa5")
    yield from (draw.randbytes(draw.randrange(1, 2_000)) for _ in range(60))
    yield from (OPENED + draw.randbytes(draw.randrange(1, 2_000)) for _ in range(60))
    yield call(b"\0\xff\xff\xff\xff")  # a message of 4 GiB
    yield call(b"\0\x00\x00\x00\x09x")  # the rest of the message is absent
    yield call(b"\1\0\0\0\0")  # compressed, without a name of the compression
    yield call(b"\1\0\0\0\4abcd", grpc_encoding="gzip")
    yield call(b"\0\0\0\0\0", grpc_encoding="zstd")
    yield call(b"\xff\0\0\0\0")
    yield call(b"")
    yield call(b"\0\0\0\0\0" * 50)  # many messages, where one is expected
    for name, value in (
        ("grpc_timeout", "soon"),
        ("grpc_timeout", "99999999999H"),
        ("authorization", "\xff\xfe"),
        ("authorization", ""),
        ("content_type", "text/plain"),
        ("x_noise_bin", "%%%"),
        (":path", "no path"),
        (":path", "/" * 100),
        (":method", "BREW"),
        (":unknown", "x"),
    ):
        yield call(b"\0\0\0\0\0", **{name: value})
    yield OPENED + frame(HEADERS, 0, 1, head())  # it never continues
    yield OPENED + frame(HEADERS, 0, 1, head()) + frame(CONTINUATION, 0, 1, head()) * 40
    yield OPENED + frame(HEADERS, END_HEADERS, 1, b"", length=0xFFFFFF)
    yield OPENED + frame(HEADERS, END_HEADERS, 2, head())  # streams of clients are odd
    yield OPENED + frame(DATA, END_STREAM, 1, b"\0\0\0\0\0")
    yield OPENED + b"".join(frame(SETTINGS, 0, 0, bytes([0, 4]) + b"\xff" * 4) for _ in range(50))
    yield OPENED + b"".join(frame(HEADERS, END_HEADERS, 2 * n + 1, head()) for n in range(300))


async def test_admin_serves_while_connections_send_wrong_bytes_and_stay_open(admin: Admin) -> None:
    before = admin.memory_bytes()
    with ExitStack() as opened:
        for number, sent in enumerate(wrong_bytes(random.Random(2))):
            connection = opened.enter_context(
                socket.create_connection(("127.0.0.1", admin.grpc_port), PATIENCE_SECONDS)
            )
            connection.sendall(sent)
            if number % 2:
                connection.shutdown(socket.SHUT_WR)
        assert await version(admin)
    assert await version(admin)
    assert admin.memory_bytes() - before < MEMORY_BYTES


def test_the_bytes_of_a_correct_call_are_served(admin: Admin) -> None:
    # So the wrong bytes above differ from a served call only in what they have wrong.
    with socket.create_connection(("127.0.0.1", admin.grpc_port), PATIENCE_SECONDS) as connection:
        connection.sendall(call(b"\0\0\0\0\0"))
        received = b""
        while b"grpc-status" not in received and (more := connection.recv(65_536)):
            received += more
    assert b"grpc-status" in received
    assert VERSION.encode() in received
