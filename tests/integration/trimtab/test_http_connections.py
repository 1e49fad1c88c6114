"""The HTTP server of every service: requests that it cannot parse, or that do not end."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from tests.servers import PATIENCE_SECONDS
from trimtab.runtime.http_connections import HeadLimits, LimitedConnection

NEVER = 1e6
AT_ONCE = 0.01
"""A time that is over before a client that has stopped sends more, however slow the machine is."""
GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        found: dict[str, Any] = json.loads(self.body)
        assert found["status"] == self.status
        return found


class Connection(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def response(self) -> Response:
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await self.reader.readexactly(int(headers["content-length"]))
        return Response(int(head[0].split()[1]), headers, body)

    async def rest(self) -> bytes:
        """Return what is sent until the connection is closed."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.reader.read()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    body = b"" if scope["path"] == "/unread" else await request.body()
    await PlainTextResponse(scope["path"].encode() + body)(scope, receive, send)


@asynccontextmanager
async def serving(seconds: float = NEVER, app: Any = echo) -> AsyncIterator[Callable[[bytes], Any]]:
    """Yield a function that opens a connection and sends bytes."""
    config = uvicorn.Config(app, ws="none", log_config=None)
    connection = partial(
        LimitedConnection,
        limits=HeadLimits(bytes=4096, seconds=seconds),
        config=config,
        server_state=ServerState(),
        app_state={},
    )
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    writers = []

    async def connect(data: bytes) -> Connection:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writers.append(writer)
        writer.write(data)
        return Connection(reader, writer)

    try:
        yield connect
    finally:
        for writer in writers:
            writer.close()
        server.close()


@pytest.mark.parametrize(
    ("request_text", "reason"),
    [
        (b"nonsense\r\n\r\n", "Invalid method"),
        (b"GET / HTTP/9.9\r\n\r\n", "Invalid HTTP version"),
        (b"CONNECT there:443 HTTP/1.1\r\n\r\n", "Invalid URL"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "Content-Length"),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", "overflow"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "can't"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "chunk size"),
    ],
)
async def test_what_is_not_http_gets_a_problem_with_a_request_id(
    request_text: bytes, reason: str
) -> None:
    async with serving() as connect:
        connection = await connect(request_text)
        response = await connection.response()
        assert await connection.rest() == b""
    assert response.status == 400
    assert reason in response.problem["detail"]
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    "request_text",
    [
        b"GET / HTTP/1.1\r\nX: " + b"x" * 5000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 5000,
        b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
        b"\r\n" * 5000,
    ],
)
async def test_a_head_over_the_limit_is_refused(request_text: bytes) -> None:
    async with serving() as connect:
        connection = await connect(b"")
        # In parts, so that the server also sees a head that has not ended.
        for start in range(0, len(request_text), 1000):
            connection.writer.write(request_text[start : start + 1000])
            await asyncio.sleep(0)
        response = await connection.response()
    assert response.status == 431
    assert "4096 bytes" in response.problem["detail"]


CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("trailers", [b"X: y\r\n" * 2000, b"x" * 10_000])
@pytest.mark.parametrize(("path", "start"), [(b"/", b"HTTP/1.1 431 "), (b"/unread", b"")])
async def test_headers_behind_a_body_are_limited_as_those_before_it(
    trailers: bytes, path: bytes, start: bytes
) -> None:
    async with serving() as connect, asyncio.timeout(PATIENCE_SECONDS):
        connection = await connect(CHUNKED.replace(b"/", path, 1) + b"0\r\nX: y")
        if path == b"/unread":
            assert (await connection.response()).body == path
        reading = asyncio.create_task(connection.rest())
        with suppress(ConnectionError):
            while not reading.done():
                connection.writer.write(trailers)
                await connection.writer.drain()
                await asyncio.sleep(0)
        with suppress(ConnectionError):
            assert (await reading).startswith(start)


async def test_chunks_and_headers_behind_them_are_read() -> None:
    chunks = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    async with serving() as connect:
        connection = await connect(CHUNKED)
        for start in range(0, len(chunks), 500):
            connection.writer.write(chunks[start : start + 500])
            await connection.writer.drain()
        connection.writer.write(chunks * 5 + b"0\r\nX: y\r\n\r\n" + GET)
        assert len((await connection.response()).body) == len("/") + 6 * 4096
        assert (await connection.response()).body == b"/"


async def test_a_body_may_be_larger_than_a_head() -> None:
    async with serving() as connect:
        head = b"POST / HTTP/1.1\r\nContent-Length: 50000\r\n\r\n"
        connection = await connect((head + b"x" * 50_000) * 2 + GET)
        sizes = [len((await connection.response()).body) for _ in range(3)]
    assert sizes == [50_001, 50_001, 1]


async def test_a_head_that_does_not_end_is_refused_in_time() -> None:
    async with serving(AT_ONCE) as connect:
        connection = await connect(GET[:20])
        response = await connection.response()
        assert await connection.rest() == b""
    assert response.status == 408
    assert "did not arrive within 0.01 s" in response.problem["detail"]


@pytest.mark.parametrize("data", [b"", b"\r\n"])
async def test_a_connection_without_a_request_is_closed_in_time(data: bytes) -> None:
    async with serving(AT_ONCE) as connect:
        await (await connect(data)).rest()


async def test_a_head_after_a_response_has_its_own_time() -> None:
    async with serving(0.2) as connect:
        connection = await connect(GET + GET[:20])
        assert (await connection.response()).status == 200
        assert (await connection.response()).status == 408


async def test_the_rest_of_a_body_after_its_response_is_dropped_in_time() -> None:
    async with serving(0.2) as connect:
        connection = await connect(b"POST /unread HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nx")
        assert (await connection.response()).body == b"/unread"
        connection.writer.write(b"x" * 500_000)
        assert await connection.rest() == b""


async def test_an_answer_that_is_being_made_is_not_cut_off() -> None:
    may_respond = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await may_respond.wait()
        await echo(scope, receive, send)

    async with serving(0.2, slow) as connect:
        connection = await connect(GET)
        # A connection that is opened later is closed when its time for a head is over.
        await (await connect(b"")).rest()
        may_respond.set()
        assert (await connection.response()).status == 200


async def test_a_head_has_time_while_the_server_does_not_read_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_over = asyncio.Event()
    on_timeout = LimitedConnection._on_timeout

    def observed(connection: LimitedConnection) -> None:
        on_timeout(connection)
        is_over.set()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await is_over.wait()
        await PlainTextResponse("late")(scope, receive, send)

    monkeypatch.setattr(LimitedConnection, "_on_timeout", observed)
    async with serving(seconds=AT_ONCE, app=slow) as connect:
        connection = await connect(GET * 2 + GET[:10])
        assert (await connection.response()).body == b"late"


async def test_a_refused_body_is_not_invited() -> None:
    ended = asyncio.get_running_loop().create_future()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            ended.set_result(await receive())
        except RuntimeError as error:
            ended.set_exception(error)

    head = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(app=app) as connect, asyncio.timeout(PATIENCE_SECONDS):
        connection = await connect(head + b"zz\r\n")
        assert (await connection.response()).status == 400
        assert (await ended)["type"] == "http.disconnect"
        assert await connection.rest() == b""


@pytest.mark.parametrize("requests", [1, 2])
@pytest.mark.parametrize("nonsense", [b"nonsense\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n"])
async def test_nonsense_behind_a_request_is_not_its_response(
    requests: int, nonsense: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    may_respond, has_responded = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await may_respond.wait()
        await PlainTextResponse("late")(scope, receive, send)
        has_responded.set()

    async with serving(app=slow) as connect, asyncio.timeout(PATIENCE_SECONDS):
        connection = await connect(GET * requests + nonsense)
        assert await connection.rest() == b""
        may_respond.set()
        await has_responded.wait()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_an_upgrade_is_not_made() -> None:
    headers = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    async with serving() as connect:
        connection = await connect(b"GET / HTTP/1.1\r\n" + headers + b"\r\n")
        response = await connection.response()
        assert (response.status, response.headers["connection"]) == (200, "close")
        assert await connection.rest() == b""
