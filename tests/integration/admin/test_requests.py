"""Every parsed request gets a response with a request id, and is logged and measured once."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
from starlette.types import Message

from tests.integration.admin.running import TOKEN, running
from tests.servers import PATIENCE_SECONDS
from trimtab.errors import Unavailable
from trimtab_admin.api import middleware
from trimtab_admin.config import AdminConfig
from trimtab_admin.settings.reading import Reader

Measured = list[Mapping[str, Any]]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    """The attributes of each request that has been measured."""
    found: Measured = []
    monkeypatch.setattr(
        middleware._durations, "record", lambda _seconds, attributes: found.append(attributes)
    )
    return found


def fail(*_arguments: Any, **_more: Any) -> Any:
    raise RuntimeError("the disk is on fire")


def failures(log: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in log.records if record.exc_info]


async def test_an_unexpected_error_is_a_problem_that_is_logged_and_measured_once(
    admin: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    measured: Measured,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Reader, "entities", fail)
    response = await admin.get("/projects", headers={"X-Request-Id": "r-1"})
    assert (response.status_code, response.headers["x-request-id"]) == (500, "r-1")
    assert response.headers["content-type"] == "application/problem+json"
    assert "r-1" in response.json()["detail"]
    assert "fire" not in response.text
    [failed] = failures(caplog)
    assert (failed.getMessage(), failed.id) == ("call.failed", "r-1")  # type: ignore[attr-defined]
    assert [(each["http.response.status_code"], each["error.type"]) for each in measured] == [
        (500, "500")
    ]


async def test_so_is_one_of_what_surrounds_the_operations(
    admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(middleware.AccessMiddleware, "_check_origin", fail)
    response = await admin.get("/projects")
    assert (response.status_code, response.json()["status"]) == (500, 500)
    assert response.headers["x-request-id"]
    assert len(failures(caplog)) == 1


async def test_an_error_behind_the_start_of_a_response_is_no_success(
    admin: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    measured: Measured,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def events(*_arguments: Any) -> AsyncIterator[str]:
        yield "data: 1\n\n"
        fail()

    monkeypatch.setattr("trimtab_admin.settings.watching.Watches.events", events)
    client = Client(app_of(admin))
    await client.call("/watch", "GET")
    assert client.sent[-1]["more_body"]
    assert len(failures(caplog)) == 1
    assert [each["error.type"] for each in measured] == ["RuntimeError"]


async def test_an_outage_behind_the_start_of_a_response_is_no_defect(
    admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def events(*_arguments: Any) -> AsyncIterator[str]:
        yield "data: 1\n\n"
        raise Unavailable("the database does not respond")

    monkeypatch.setattr("trimtab_admin.settings.watching.Watches.events", events)
    await Client(app_of(admin)).call("/watch", "GET")
    assert "call.failed" in caplog.messages
    assert failures(caplog) == []


class Client:
    """A client of the application that sends part of a body, and disconnects or pauses then."""

    def __init__(self, app: Any, *received: Message) -> None:
        self._app = app
        self._received = list(received)
        self.sent: list[Message] = []

    async def call(self, path: str, method: str = "POST") -> None:
        headers = {
            "host": "127.0.0.1",
            "authorization": f"Bearer {TOKEN}",
            "content-type": "application/json",
            "content-length": "100",
        }
        scope = {
            "type": "http",
            "method": method,
            "scheme": "http",
            "path": f"/api/v2{path}",
            "raw_path": f"/api/v2{path}".encode(),
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if not self._received:
            await asyncio.Event().wait()
        return self._received.pop(0)

    async def _send(self, message: Message) -> None:
        self.sent.append(message)


PART: Message = {"type": "http.request", "body": b'{"name"', "more_body": True}
DISCONNECT: Message = {"type": "http.disconnect"}


def app_of(admin: httpx.AsyncClient) -> Any:
    transport = admin._transport
    assert isinstance(transport, httpx.ASGITransport)
    return transport.app


async def test_a_client_that_disconnects_is_neither_a_success_nor_an_error(
    admin: httpx.AsyncClient, measured: Measured, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(app_of(admin), PART, DISCONNECT)
    with caplog.at_level(logging.DEBUG):
        await client.call("/projects")
    assert client.sent == []
    [attributes] = measured
    assert attributes["error.type"] == "client_disconnected"
    assert "http.response.status_code" not in attributes
    assert "call.abandoned" in caplog.messages
    assert failures(caplog) == []


async def test_a_client_that_leaves_a_stream_is_not_a_success(
    admin: httpx.AsyncClient, measured: Measured
) -> None:
    await Client(app_of(admin), DISCONNECT).call("/watch", "GET")
    assert [each["error.type"] for each in measured] == ["client_disconnected"]


async def test_a_call_that_a_stop_of_admin_cuts_off_may_be_repeated(
    admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, measured: Measured
) -> None:
    begun = asyncio.Event()

    async def never_ends(*_arguments: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Reader, "entities", never_ends)
    client = Client(app_of(admin))
    call = asyncio.create_task(client.call("/projects", "GET"))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert client.sent[0]["status"] == 503
    assert [each["http.response.status_code"] for each in measured] == [503]


async def test_a_body_that_pauses_too_long_is_refused(settings: AdminConfig) -> None:
    short = settings.model_copy(update={"request_seconds": 0.05})
    async with running(short) as admin:
        client = Client(app_of(admin), PART)
        await client.call("/projects")
    start, body = client.sent
    assert start["status"] == 408
    assert b"7 of 100 bytes" in body["body"]
    assert b"a pause of 0.05 s" in body["body"]


async def test_a_body_whose_declared_size_exceeds_the_limit_is_refused_unread(
    admin: httpx.AsyncClient,
) -> None:
    headers = {"Content-Length": "99999999999", "Content-Type": "application/json"}
    async with asyncio.timeout(PATIENCE_SECONDS):
        response = await admin.post("/projects", headers=headers, content=never())
    assert response.status_code == 413
    assert response.json()["value"] == "99999999999 bytes"
    assert response.json()["allowed"] == "at most 524288 bytes"


async def never() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/projects/%zz", "path"),
        ("/projects/%ff", "path"),
        ("/records?project=%ff", "query"),
        ("/records?project=%", "query"),
    ],
)
async def test_wrong_percent_encoding_is_not_guessed(
    admin: httpx.AsyncClient, path: str, field: str
) -> None:
    url = httpx.URL(scheme="http", host="127.0.0.1", raw_path=f"/api/v2{path}".encode())
    response = await admin.get(url)
    assert (response.status_code, response.json()["path"]) == (400, field)


async def test_a_websocket_is_refused(admin: httpx.AsyncClient) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    response = await admin.get("/watch", headers=headers)
    assert (response.status_code, response.json()["path"]) == (400, "Upgrade")
