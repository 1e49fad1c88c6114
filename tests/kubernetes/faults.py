"""A proxy in front of an API server, which adds the faults of networks and of busy servers.

It forwards every request, and counts it; one that matches a rule gets the fault of that rule. Its
certificate is its own, and can be replaced by a wrong one.
"""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import aiohttp
import trustme
from aiohttp import web
from yarl import URL

from tests.kubernetes import kubeconfigs
from tests.servers import free_port

Forward = Callable[[web.BaseRequest], Awaitable[aiohttp.ClientResponse]]
Fault = Callable[[web.BaseRequest, Forward], Awaitable[web.StreamResponse]]
"""Responds to a request, which it may forward."""

_OF_ONE_CONNECTION = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


def status(code: int, reason: str, **headers: str) -> Fault:
    """Respond as the API server does to a request that failed."""
    body = _status(code, reason)

    async def respond(_request: web.BaseRequest, _forward: Forward) -> web.StreamResponse:
        return web.json_response(body, status=code, headers=headers)

    return respond


def too_many_requests(retry_after: int = 1) -> Fault:
    return status(429, "TooManyRequests", **{"Retry-After": str(retry_after)})


def expired_in_stream() -> Fault:
    """Respond to a watch with 200 and an ERROR event: its version is too old."""
    event = {"type": "ERROR", "object": _status(410, "Expired")}

    async def respond(request: web.BaseRequest, _forward: Forward) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(json.dumps(event).encode() + b"\n")
        return response

    return respond


def slow(seconds: float) -> Fault:
    """Forward the request after a pause."""

    async def respond(request: web.BaseRequest, forward: Forward) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await _pass_on(request, await forward(request))

    return respond


def held(until: asyncio.Event) -> Fault:
    """Forward the request once the event is set."""

    async def respond(request: web.BaseRequest, forward: Forward) -> web.StreamResponse:
        await until.wait()
        return await _pass_on(request, await forward(request))

    return respond


async def never(_request: web.BaseRequest, _forward: Forward) -> web.StreamResponse:
    """Accept the request and never respond."""
    return await asyncio.get_running_loop().create_future()


def cut(after_bytes: int = 0) -> Fault:
    """Forward the request, and cut the connection after so many bytes of the body."""

    async def respond(request: web.BaseRequest, forward: Forward) -> web.StreamResponse:
        async with _ended(await forward(request)) as upstream:
            response = _head(upstream)
            if after_bytes:
                await response.prepare(request)
                await response.write(await upstream.content.read(after_bytes))
        assert request.transport is not None
        request.transport.abort()
        return response

    return respond


@dataclass
class Rule:
    """A fault and the requests that get it."""

    fault: Fault
    method: str = ""
    path: str = ""
    """An expression that the path contains."""
    watch: bool | None = None
    """Whether it applies to watches only (`True`), or to all but watches (`False`)."""
    times: float = float("inf")
    """How many requests get the fault."""
    hits: int = 0

    def applies(self, request: "Request") -> bool:
        return (
            self.hits < self.times
            and self.method in ("", request.method)
            and self.watch in (None, request.watch)
            and re.search(self.path, request.path) is not None
        )


class Request(NamedTuple):
    method: str
    path: str
    watch: bool


class FaultProxy:
    """The proxy; `serving` makes one."""

    def __init__(self, kubeconfig: Path, session: aiohttp.ClientSession, url: str) -> None:
        self.kubeconfig = kubeconfig
        """The configuration of a client of the proxy, with the user of the given one."""
        self.rules: list[Rule] = []
        """The first rule that matches applies."""
        self.requests: list[Request] = []
        """All requests so far."""
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority = trustme.CA()
        self.present(self.authority.issue_cert("127.0.0.1"))
        self._session = session
        self._url = url
        self._connected: set[asyncio.BaseTransport] = set()

    def add(self, fault: Fault, **matching: object) -> Rule:
        """Add a rule, whose other fields are those of `Rule`."""
        self.rules.append(Rule(fault, **matching))  # type: ignore[arg-type]
        return self.rules[-1]

    def present(self, certificate: trustme.LeafCert) -> None:
        """Use a certificate for new connections."""
        certificate.configure_cert(self.tls)

    def disconnect(self) -> None:
        """Cut all connections, so that clients connect again."""
        for transport in self._connected:
            transport.abort()  # type: ignore[attr-defined]

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        self._connected.add(request.transport)
        seen = Request(request.method, request.path, request.query.get("watch") in ("1", "true"))
        self.requests.append(seen)
        rule = next((rule for rule in self.rules if rule.applies(seen)), None)
        try:
            if rule is None:
                return await _pass_on(request, await self._forward(request))
            rule.hits += 1
            return await rule.fault(request, self._forward)
        except aiohttp.ClientError:
            # The API server is stopped, or has cut the connection.
            request.transport.abort()
            return web.Response()

    async def _forward(self, request: web.BaseRequest) -> aiohttp.ClientResponse:
        return await self._session.request(
            request.method,
            URL(self._url + request.raw_path, encoded=True),
            headers=_headers(request.headers),
            data=request.content if request.can_read_body else None,
            allow_redirects=False,
        )


@asynccontextmanager
async def serving(upstream: Path, kubeconfig: Path) -> AsyncIterator[FaultProxy]:
    """Serve in front of the server of a configuration, and write one that uses the proxy."""
    url, authority, token = kubeconfigs.read(upstream)
    tls = ssl.create_default_context(cadata=authority.decode())
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, limit=0),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
    ) as session:
        proxy, port = FaultProxy(kubeconfig, session, url), free_port()
        trusted = proxy.authority.cert_pem.bytes()
        kubeconfigs.write(kubeconfig, f"https://127.0.0.1:{port}", trusted, token)
        # A client that disconnects ends what it requested.
        server = web.Server(proxy.respond, handler_cancellation=True)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port, ssl_context=proxy.tls).start()
            yield proxy
        finally:
            proxy.disconnect()
            await runner.cleanup()


async def _pass_on(
    request: web.BaseRequest, upstream: aiohttp.ClientResponse
) -> web.StreamResponse:
    async with _ended(upstream):
        response = _head(upstream)
        await response.prepare(request)
        async for chunk in upstream.content.iter_any():
            await response.write(chunk)
        return response


@asynccontextmanager
async def _ended(upstream: aiohttp.ClientResponse) -> AsyncIterator[aiohttp.ClientResponse]:
    """Cut the connection to the API server at the end of the block, unless all was read."""
    try:
        yield upstream
    finally:
        if upstream.connection is not None and upstream.connection.transport is not None:
            upstream.connection.transport.abort()
        upstream.close()


def _head(upstream: aiohttp.ClientResponse) -> web.StreamResponse:
    return web.StreamResponse(status=upstream.status, headers=_headers(upstream.headers))


def _headers(received: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, v) for name, v in received.items() if name.lower() not in _OF_ONE_CONNECTION]


def _status(code: int, reason: str) -> dict[str, object]:
    fields = {"status": "Failure", "code": code, "reason": reason, "message": f"test: {reason}"}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, **fields}
