"""Calls of admin's ``/api/v2``: HTTP, where it becomes bodies and errors.

Where admin gives no answer the error is `trimtab.errors.Unavailable`; a refusal is the error that
admin itself raised, with its words.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from trimtab.api.problems import Problem
from trimtab.errors import Invalid, NotFound, Stale, TrimtabError, Unavailable, family_of

TIMEOUT_SECONDS = 30.0
"""Of one call; a write may wait behind others."""

B = TypeVar("B", bound=BaseModel)


class Calls:
    """One connection pool to one admin."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        address = urlsplit(url)
        self._http = httpx.AsyncClient(
            base_url=f"{url}/api/v2",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=TIMEOUT_SECONDS,
            # Loading the certificates takes longer than a call, and plain HTTP needs none.
            verify=address.scheme == "https",
            # A proxy of the environment cannot reach this machine's loopback.
            trust_env=address.hostname not in {"127.0.0.1", "::1", "localhost"},
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def one(
        self, shape: type[B], method: str, path: str, body: BaseModel | None = None, **request: Any
    ) -> B:
        if body is not None:
            request["json"] = body.model_dump(mode="json")
        answer = await self.send(method, path, **request)
        parsed: B = self._parsed(TypeAdapter(shape), answer)
        return parsed

    async def many(
        self,
        shape: type[B],
        path: str,
        params: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> tuple[B, ...]:
        """All pages of a list, or the first ``limit`` of its items."""
        items: list[B] = []
        given = dict(params or {})
        while True:
            answer = await self.send("GET", path, params=given)
            items += self._parsed(TypeAdapter(list[shape]), answer)  # type: ignore[valid-type]
            following = answer.links.get("next", {}).get("url")
            if following is None or (limit is not None and len(items) >= limit):
                return tuple(items[:limit])
            given["token"] = httpx.URL(following).params["token"]

    async def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        with self._outages():
            answer = await self._http.request(method, path, **request)
        if answer.is_error:
            raise self._refusal(answer)
        return answer

    @asynccontextmanager
    async def lines(
        self, path: str, params: Mapping[str, str], silence_seconds: float
    ) -> AsyncIterator[AsyncIterator[str]]:
        """An answer that goes on, line by line. Silence for so long is `Unavailable`."""
        timeout = httpx.Timeout(TIMEOUT_SECONDS, read=silence_seconds)
        with self._outages():
            async with self._http.stream("GET", path, params=params, timeout=timeout) as answer:
                if answer.is_error:
                    await answer.aread()
                    raise self._refusal(answer)
                yield answer.aiter_lines()

    @contextmanager
    def _outages(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise Unavailable(f"{self._url} gave no answer in {TIMEOUT_SECONDS:.0f} s") from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"no Trimtab answers at {self._url} ({error}); start one with `trimtab up`, "
                "or name another with --server"
            ) from error

    def _parsed(self, shape: TypeAdapter[Any], answer: httpx.Response) -> Any:
        try:
            return shape.validate_json(answer.content)
        except ValidationError as error:
            raise self._foreign(answer) from error

    def _refusal(self, answer: httpx.Response) -> TrimtabError:
        try:
            problem = Problem.model_validate_json(answer.content)
        except ValidationError:
            return self._foreign(answer)
        error = _error(problem)
        # The constructors word what they are given; admin has done so already.
        error.args = (problem.detail,)
        return error

    def _foreign(self, answer: httpx.Response) -> TrimtabError:
        return Unavailable(
            f"what {answer.url} answers (status {answer.status_code}) is not Trimtab's; "
            "is it another server, or another release?"
        )


def _error(problem: Problem) -> TrimtabError:
    """Return the error that admin reported as the problem, with the problem's data."""
    family = family_of(problem.status)
    path, allowed = problem.path or "", problem.allowed or ""
    if problem.status == Invalid.code.http_status and problem.path is not None:
        return Invalid(path, problem.value, allowed)
    if family is NotFound:
        return NotFound(path, str(problem.value or ""), allowed)
    if family is Stale:
        return Stale(path, problem.given_version, problem.stored_version)
    return family(problem.detail)
