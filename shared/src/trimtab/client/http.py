"""HTTP requests to admin's ``/api/v2``, and its responses as bodies and errors.

A call without a response raises `trimtab.errors.Unavailable`. An error response raises the error
class that admin raised, with admin's message and data.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from trimtab.api.problems import WARNING_HEADER, Problem
from trimtab.client.addresses import check_token, is_loopback, parse_address
from trimtab.errors import (
    Code,
    Failed,
    Invalid,
    NotFound,
    Rejected,
    Stale,
    TrimtabError,
    Unavailable,
    Unreadable,
    family_of,
)
from trimtab.levels import Scope
from trimtab.models import read

TIMEOUT_SECONDS = 30.0
"""The timeout of one call; a write may wait for others."""

B = TypeVar("B", bound=BaseModel)
OnWarning = Callable[[str], None]


def ignore(_warning: str) -> None:
    """Leave warnings to callers that read the bodies."""


class Foreign(Unavailable):
    """The server that responds is not Trimtab, or of another release."""


class HttpApi:
    """A pool of HTTP connections to one admin."""

    def __init__(self, url: str, token: str, on_warning: OnWarning = ignore) -> None:
        address = parse_address(url)
        check_token(token, "the client")
        if token and address.login:
            raise Rejected(
                f"there are two credentials for {address.url}: the API token, and the user and "
                "password of the URL, which replace it in a request; give one of them"
            )
        self._url = address.url
        self._on_warning = on_warning
        # It follows no redirect, so that no other host gets the token.
        self._http = httpx.AsyncClient(
            base_url=f"{address.url}/api/v2",
            auth=address.login,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=TIMEOUT_SECONDS,
            # Loading the certificates takes longer than a call, and plain HTTP needs none.
            verify=address.is_tls,
            # A proxy of the environment cannot reach this machine's loopback.
            trust_env=not is_loopback(address.url),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def fetch(
        self, shape: type[B], method: str, path: str, body: BaseModel | None = None, **request: Any
    ) -> B:
        """Send a request and parse the body of the response."""
        if body is not None:
            request["json"] = body.model_dump(mode="json")
        response = await self.send(method, path, **request)
        parsed: B = self._parse(TypeAdapter(shape), response)
        for warning in getattr(parsed, "warnings", ()):
            self._on_warning(warning)
        return parsed

    async def fetch_list(
        self,
        shape: type[B],
        path: str,
        params: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> tuple[B, ...]:
        """Fetch all pages of a list, or its first ``limit`` items."""
        items: list[B] = []
        query = dict(params or {})
        while True:
            response = await self.send("GET", path, params=query)
            items += self._parse(TypeAdapter(list[shape]), response)  # type: ignore[valid-type]
            following = response.links.get("next", {}).get("url")
            if following is None or (limit is not None and len(items) >= limit):
                return tuple(items[:limit])
            query["token"] = httpx.URL(following).params["token"]

    async def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send a request. Raises the error of an error response."""
        if headers := request.get("headers"):
            # A reason may hold any letter; `httpx` encodes text as ASCII.
            request["headers"] = {name: value.encode() for name, value in headers.items()}
        with self._translate_outages():
            response = await self._http.request(method, path, **request)
        self._warn(response)
        if response.is_error:
            raise self._error(response)
        return response

    @asynccontextmanager
    async def stream(
        self, path: str, params: Mapping[str, str], silence_seconds: float
    ) -> AsyncIterator[httpx.Response]:
        """Open a response that is read in parts. Raises `Unavailable` after so long without one.

        A `ValidationError` of the reader becomes that of another server.
        """
        timeout = httpx.Timeout(TIMEOUT_SECONDS, read=silence_seconds)
        with self._translate_outages():
            async with self._http.stream("GET", path, params=params, timeout=timeout) as response:
                self._warn(response)
                if response.is_error:
                    await response.aread()
                    raise self._error(response)
                if not response.is_success or _is_page(response):
                    raise self._foreign_error(response)
                try:
                    yield response
                except ValidationError as error:
                    raise self._foreign_error(response) from error

    @asynccontextmanager
    async def stream_lines(
        self, path: str, params: Mapping[str, str], silence_seconds: float
    ) -> AsyncIterator[AsyncIterator[str]]:
        """Read a response line by line. Raises as `stream`."""
        async with self.stream(path, params, silence_seconds) as response:
            yield (line.decode() async for line in lines_of(response.aiter_bytes()))

    def _warn(self, response: httpx.Response) -> None:
        for warning in response.headers.get_list(WARNING_HEADER):
            self._on_warning(warning)

    @contextmanager
    def _translate_outages(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise Unavailable(
                f"{self._url} did not respond within {TIMEOUT_SECONDS:.0f} s"
            ) from error
        except httpx.LocalProtocolError as error:
            # Its message has the header that is wrong.
            raise Rejected(f"the request to {self._url} is not valid HTTP") from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"no Trimtab responds at {self._url} ({error}); start one with `trimtab up`, "
                "or name another with --server"
            ) from error

    def _parse(self, shape: TypeAdapter[Any], response: httpx.Response) -> Any:
        try:
            return shape.validate_json(response.content)
        except ValidationError as error:
            raise self._foreign_error(response) from error

    def _error(self, response: httpx.Response) -> TrimtabError:
        try:
            problem = read(Problem, response.content)
        except ValidationError:
            return self._foreign_error(response)
        error = _error_of(problem)
        # The constructors format a message, and admin has already formatted one.
        error.args = (problem.detail,)
        return error

    def _foreign_error(self, response: httpx.Response) -> TrimtabError:
        family = Unavailable if response.is_server_error else Foreign
        return family(
            f"the response of {response.url} (status {response.status_code}) is not Trimtab's; "
            "is it another server, or another release?"
        )


def _is_page(response: httpx.Response) -> bool:
    return str(response.headers.get("content-type", "")).startswith("text/html")


def _error_of(problem: Problem) -> TrimtabError:
    """Return the error that admin reported as the problem, with the problem's data."""
    family = Unreadable if problem.code == Code.UNREADABLE.name else family_of(problem.status)
    path, allowed = problem.path or "", problem.allowed or ""
    if problem.code == Code.REJECTED.name:
        return Rejected(problem.detail)
    if problem.status == Invalid.code.http_status and problem.path is not None:
        return Invalid(path, problem.value, allowed)
    if problem.status == Code.INTERNAL.http_status:
        return Failed(problem.detail)
    if family is NotFound:
        return NotFound(path, str(problem.value or ""), allowed)
    if family is Stale:
        return Stale(path, problem.given_version, problem.stored_version)
    return family(problem.detail)


async def lines_of(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield lines; `httpx` also ends a line at characters that JSON text may contain."""
    rest: list[bytes] = []
    async for chunk in chunks:
        first, *others = chunk.split(b"\n")
        rest.append(first)
        for other in others:
            yield b"".join(rest)
            rest = [other]
    yield b"".join(rest)


class Collection:
    """Base of the calls for one type of object."""

    def __init__(self, http: HttpApi) -> None:
        self._http = http


def path_of(*segments: str) -> str:
    """Return the path with these segments, in which any character is quoted."""
    return "".join(f"/{quote(segment, safe='')}" for segment in segments)


def without_empty(**parameters: str | int | None) -> dict[str, str]:
    """Return the parameters that are neither ``None`` nor empty, as text."""
    return {name: str(value) for name, value in parameters.items() if value not in (None, "")}


def scope_parameters(scope: Scope) -> dict[str, str]:
    return without_empty(
        domain=scope.domain,
        project=scope.project,
        workflow=scope.workflow,
        launch_plan=scope.launch_plan,
    )


def reason_header(reason: str) -> dict[str, str]:
    """Return the header. Raises `Invalid` for what none can carry."""
    if any(character < " " or character == "\x7f" for character in reason):
        raise Invalid("reason", reason, "one line without control characters")
    text = reason.strip()
    return {"X-Trimtab-Reason": text} if text else {}


def precondition(version: int | None, force: bool) -> dict[str, Any]:
    """Return what a write requires of the stored version; ``None`` is that nothing is stored."""
    if force:
        return {"params": {"force": "true"}}
    if version is None:
        return {"headers": {"If-None-Match": "*"}}
    return {"headers": {"If-Match": f'"{version}"'}}


def write_request(scope: Scope, version: int | None, force: bool, reason: str) -> dict[str, Any]:
    """Return the parameters and headers of a write of one record."""
    required = precondition(version, force)
    return {
        "headers": required.get("headers", {}) | reason_header(reason),
        "params": scope_parameters(scope) | required.get("params", {}),
    }


DRY_RUN = {"dry_run": "true"}
"""The parameter of a call that changes nothing."""


def as_dry_run(request: dict[str, Any]) -> dict[str, Any]:
    return request | {"params": request.get("params", {}) | DRY_RUN}
