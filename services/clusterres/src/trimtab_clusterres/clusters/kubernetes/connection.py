"""The connection to one API server: requests with deadlines, credentials and errors."""

import asyncio
import json
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from pydantic import JsonValue

from trimtab.errors import Unavailable
from trimtab_clusterres.clusters.kubernetes import credentials
from trimtab_clusterres.clusters.kubernetes.access import Access
from trimtab_clusterres.clusters.kubernetes.problems import Refused, refusal

log = logging.getLogger(__name__)

APPLY = "application/apply-patch+yaml"
JSON = "application/json"
JSON_PATCH = "application/json-patch+json"

_REQUESTS = 16
"""At once; watches come in addition."""
_SERVER_SHARE = 0.8
"""The part of a request's deadline in which the API server has to end a write."""
_CREDENTIALS_SECONDS = 60.0
"""How long credentials are used before they are read again: as client-go does with token files."""

Query = Iterable[tuple[str, str]]


class Answer(NamedTuple):
    """The answer to a request that succeeded."""

    status: int
    body: dict[str, JsonValue]


class Connection:
    """Requests to one API server.

    The first request connects, so that an API server that is away at start is away like any other.
    """

    def __init__(
        self,
        access: Access,
        *,
        timeout_seconds: float = 10.0,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        self._fence = fence
        self._access = access
        self._timeout_seconds = timeout_seconds
        self._client: ApiClient | None = None
        self._read_at = 0.0
        self._connecting = asyncio.Lock()
        self._free = asyncio.Semaphore(_REQUESTS)
        self._closed = False

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: JsonValue | Mapping[str, JsonValue] = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> Answer:
        """Send a request and return the answer.

        Raises `Refused` where the API server refuses the request, and `Unavailable` where it does
        not answer in time, or answers that it cannot serve any request now.
        """
        async with self._free:
            return await self._answer(method, path, query, body, content_type, accept)

    async def get(self, path: str) -> dict[str, JsonValue] | None:
        """Return an object; ``None`` where there is none."""
        try:
            return (await self.request("GET", path)).body
        except Refused as refused:
            if refused.status != 404:
                raise
            return None

    async def write(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: JsonValue | Mapping[str, JsonValue] = None,
        content_type: str = JSON,
    ) -> Answer:
        """Send a request that changes something, and wait for its end even if cancelled.

        A write that the API server still works on could otherwise take effect after a later one.
        """
        # The API server gives up before the client does, and the error is that of this object.
        limited = [*query, ("timeout", f"{self._timeout_seconds * _SERVER_SHARE:.2f}s")]
        async with self._free:
            await self._connected()
            # After all waits: for a free request and for credentials, which may take long.
            self._fence()
            sending = asyncio.ensure_future(
                self._answer(method, path, limited, body, content_type, JSON)
            )
            try:
                return await asyncio.shield(sending)
            except asyncio.CancelledError:
                await asyncio.wait([sending])
                with suppress(BaseException):
                    sending.result()  # otherwise its failure is reported as a defect
                raise

    @asynccontextmanager
    async def stream(
        self, path: str, *, query: Query = (), accept: str = JSON, silence_seconds: float
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """Open an answer without an end, such as that of a watch.

        Raises as `request` does until it begins, then `Unavailable` after a silence of this length.
        """
        timeout = aiohttp.ClientTimeout(
            total=None, connect=self._timeout_seconds, sock_read=silence_seconds
        )
        async with self._response("GET", path, query, timeout, accept) as response:
            yield response.content

    async def close(self) -> None:
        """Close all connections; requests that still run fail."""
        self._closed = True
        if self._client is not None:
            await self._disconnect(self._client)

    async def _answer(
        self, method: str, path: str, query: Query, body: Any, content_type: str, accept: str
    ) -> Answer:
        timeout = aiohttp.ClientTimeout(total=self._timeout_seconds)
        async with self._response(
            method, path, query, timeout, accept, body, content_type
        ) as response:
            return Answer(response.status, _decoded(await response.read()) or {})

    @asynccontextmanager
    async def _response(
        self,
        method: str,
        path: str,
        query: Query,
        timeout: aiohttp.ClientTimeout,
        accept: str,
        body: Any = None,
        content_type: str = JSON,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        client = await self._connected()
        host = client.configuration.host
        limit = self._timeout_seconds
        try:
            headers = {"Accept": accept, "Content-Type": content_type}
            request = await client.param_serialize(
                method, path, None, list(query), headers, body, auth_settings=["BearerToken"]
            )
            async with asyncio.timeout(limit):
                answer = await client.call_api(*request, _request_timeout=timeout)
            limit = timeout.sock_read or limit
            async with answer.response as response:
                if response.status >= 400:
                    raise await self._refusal(client, response)
                yield response
        except TimeoutError as error:
            raise Unavailable(f"{host} did not answer within {limit:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise await self._failure(client, error) from error

    async def _refusal(self, client: ApiClient, response: aiohttp.ClientResponse) -> Exception:
        body = _decoded(await response.read())
        if response.status == 401:
            await self._disconnect(client)
        host = client.configuration.host
        return refusal(host, response.status, body, response.headers.get("Retry-After", ""))

    async def _failure(self, client: ApiClient, error: Exception) -> Unavailable:
        host = client.configuration.host
        match error:
            case aiohttp.ClientConnectorCertificateError(certificate_error=reason):
                await self._disconnect(client)
                detail = getattr(reason, "verify_message", "") or str(reason)
                return Unavailable(f"the certificate of {host} is not accepted: {detail}")
            case aiohttp.ClientSSLError() | ssl.SSLError():
                await self._disconnect(client)
                return Unavailable(f"no TLS connection to {host}: {error}")
            case aiohttp.ClientConnectorError() | OSError(strerror=str()):
                return Unavailable(f"{host} cannot be reached: {error.strerror}")
            case _:
                return Unavailable(f"{host} answered nothing: {error or type(error).__name__}")

    async def _connected(self) -> ApiClient:
        """Return the client, with credentials that were read recently."""
        async with self._connecting:
            if self._closed:
                raise Unavailable("the connection is closed")
            if self._client is not None and time.monotonic() < self._read_at + _CREDENTIALS_SECONDS:
                return self._client
            configuration = await self._configuration()
            self._read_at = time.monotonic()
            client = self._client
            if client is not None and _identity(configuration) == _identity(client.configuration):
                client.configuration.api_key = configuration.api_key
                return client
            self._client = _client(configuration)
            if client is not None:
                await client.close()  # type: ignore[no-untyped-call]
            return self._client

    async def _configuration(self) -> Configuration:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await credentials.read(self._access)
        except (TimeoutError, Unavailable) as error:
            if self._client is not None:
                # The file may be half written; the credentials at hand may be accepted still.
                log.warning("cluster.credentials_not_read", extra={"error": str(error)})
                kept: Configuration = self._client.configuration
                return kept
            if isinstance(error, Unavailable):
                raise
            raise Unavailable(f"no credentials within {self._timeout_seconds:g} s") from error

    async def _disconnect(self, client: ApiClient) -> None:
        """Close a client, so that the next request reads credentials and certificates again."""
        if self._client is client:
            self._client = None
        await client.close()  # type: ignore[no-untyped-call]


def _client(configuration: Configuration) -> ApiClient:
    configuration.connection_pool_maxsize = 0  # requests are limited, and so are watched kinds
    try:
        client = ApiClient(configuration)
    except (OSError, ssl.SSLError) as error:
        raise Unavailable(f"certificates for {configuration.host}: {error}") from error
    client.user_agent = "trimtab-clusterres"
    return client


def _identity(configuration: Configuration) -> tuple[object, ...]:
    """Return what a client cannot change after it was made."""
    return (
        configuration.host,
        configuration.ssl_ca_cert,
        configuration.cert_file,
        configuration.key_file,
        configuration.verify_ssl,
        configuration.tls_server_name,
        configuration.proxy,
    )


def _decoded(content: bytes) -> dict[str, JsonValue] | None:
    try:
        body = json.loads(content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
