"""HTTP responses, from what handlers return and from errors."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, TypeAdapter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from trimtab.api.problems import Problem
from trimtab.errors import TrimtabError
from trimtab_admin import slices
from trimtab_admin.access.throttling import Throttled
from trimtab_admin.api import problems
from trimtab_admin.api.operation import Operation, Reply, Stream
from trimtab_admin.paging import Page


class ProblemResponse(JSONResponse):
    """A problem as a response."""

    media_type = "application/problem+json"

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        content = problem.model_dump(mode="json", exclude_none=True)
        super().__init__(content, problem.status, headers)

    @classmethod
    def of(cls, error: TrimtabError) -> "ProblemResponse":
        """Return the response for an error, with the headers that its status requires."""
        problem = problems.of_error(error)
        headers = {}
        if isinstance(error, Throttled):
            headers["Retry-After"] = f"{error.delay_seconds}"
        elif problem.status == 503:
            headers["Retry-After"] = "1"
        elif problem.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return cls(problem, headers)


async def of_result(operation: Operation, request: Request, result: Any) -> Response:
    """Return the response for what the operation's handler returned."""
    status, headers = operation.status, {}
    match result:
        case None:
            return Response(status_code=204)
        case AsyncIterator():
            headers["Cache-Control"] = "no-store"
            return StreamingResponse(result, status, headers, "text/event-stream")
        case Stream():
            return StreamingResponse(result.parts, status, result.headers, "application/json")
        case Page():
            headers = _link(request, result)
            result = result.items
        case Reply():
            status = result.status or status
            headers = {} if result.version is None else {"ETag": f'"{result.version}"'}
            result = result.body
    assert operation.response is not None
    content = await _encode(operation.response, result)
    return Response(content, status, headers, "application/json")


async def _encode(adapter: TypeAdapter[Any], result: Any) -> bytes:
    """Return the JSON text; that of a long list, or of an object's long list, is made in slices."""
    if isinstance(result, BaseModel):
        long = next((name for name, value in result if _is_long(value)), None)
        if long is None:
            return adapter.dump_json(result)
        others = result.model_dump_json(exclude={long}).encode().removesuffix(b"}")
        listed = await _encode_list(getattr(result, long))
        separator = b"" if others == b"{" else b","
        return b'%s%s"%s":%s}' % (others, separator, long.encode(), listed)
    if not isinstance(result, Sequence) or len(result) <= slices.SIZE:
        return adapter.dump_json(result)
    return await _encode_list(result)


def _is_long(value: object) -> bool:
    return isinstance(value, tuple) and len(value) > slices.SIZE and isinstance(value[0], BaseModel)


async def _encode_list(items: Sequence[BaseModel]) -> bytes:
    parts = []
    async for part in slices.of(items):
        parts.append(",".join(item.model_dump_json() for item in part))
    return f"[{','.join(parts)}]".encode()


def _link(request: Request, page: Page[Any]) -> dict[str, str]:
    """Return the header with the address of the next page, if there is one."""
    if page.cursor is None:
        return {}
    url = request.url.include_query_params(token=page.cursor)
    return {"Link": f'<{url.path}?{url.query}>; rel="next"'}
