"""HTTP responses, from what handlers return and from errors."""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from trimtab.api.problems import WARNING_HEADER, Problem
from trimtab.echoes import cut
from trimtab.errors import TrimtabError
from trimtab_admin import slices
from trimtab_admin.access.throttling import Throttled
from trimtab_admin.api import problems
from trimtab_admin.api.operation import Operation, Reply, Stream
from trimtab_admin.paging import Page

_MAX_WARNING = 400
"""The most characters of one. All headers together have to fit into the buffer of a proxy."""


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


def add_warnings(response: Response, warnings: Iterable[str]) -> None:
    """Add each warning as a header, which is one short line of ASCII."""
    for warning in warnings:
        printable = "".join(c if c.isprintable() else " " for c in warning)
        line = cut(" ".join(printable.split()), _MAX_WARNING)
        text = line.encode("ascii", "backslashreplace").decode()
        response.headers.append(WARNING_HEADER, text)


async def of_result(
    operation: Operation, request: Request, result: Any, warnings: tuple[str, ...] = ()
) -> Response:
    """Return the response for what the operation's handler returned.

    The warnings are in the field of the body, or in headers where the body has no such field.
    """
    body = result.body if isinstance(result, Reply) else result
    if isinstance(result, Reply):
        warnings = (*warnings, *result.warnings)
    if warnings and "warnings" in getattr(type(body), "model_fields", {}):
        body = body.model_copy(update={"warnings": (*body.warnings, *warnings)})
        result = replace(result, body=body) if isinstance(result, Reply) else body
        warnings = ()
    response = await _of_result(operation, request, result)
    add_warnings(response, warnings)
    return response


async def _of_result(operation: Operation, request: Request, result: Any) -> Response:
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
        case Reply(body=None):
            return Response(status_code=204)
        case Reply():
            status = result.status or status
            headers = {} if result.version is None else {"ETag": f'"{result.version}"'}
            result = result.body
    assert operation.response is not None
    content = await _encode(operation.response, result)
    return Response(content, status, headers, "application/json")


async def _encode(adapter: TypeAdapter[Any], result: Any) -> bytes:
    """Return the JSON text, in slices for what is long in it."""
    is_long = _long_fields(result) if isinstance(result, BaseModel) else _is_long(result)
    if not is_long:
        return adapter.dump_json(result)
    # Joined once: the text of a large execution has 13 MB.
    return b"".join([part async for part in _parts(result)])


def _is_long(value: object) -> bool:
    if isinstance(value, BaseModel):
        return bool(_long_fields(value))
    return isinstance(value, list | tuple | dict) and len(value) > slices.SIZE


def _long_fields(model: BaseModel) -> list[str]:
    return [name for name, value in model if _is_long(value)]


async def _parts(value: Any) -> AsyncIterator[bytes]:
    """Yield the JSON text of a list, a mapping, or an object that has one of them."""
    if isinstance(value, BaseModel):
        async for part in _parts_of_object(value):
            yield part
        return
    is_mapping = isinstance(value, dict)
    separator = b"{" if is_mapping else b"["
    async for items in slices.of(value.items() if is_mapping else value):
        text = to_json(dict(items) if is_mapping else items, by_alias=False, inf_nan_mode="null")
        yield separator + text[1:-1]
        separator = b","
    yield b"}" if is_mapping else b"]"


async def _parts_of_object(model: BaseModel) -> AsyncIterator[bytes]:
    long = _long_fields(model)
    others = model.model_dump_json(exclude=set(long)).encode().removesuffix(b"}")
    yield others
    separator = b"" if others == b"{" else b","
    for name in long:
        yield b'%s"%s":' % (separator, name.encode())
        separator = b","
        async for part in _parts(getattr(model, name)):
            yield part
    yield b"}"


def _link(request: Request, page: Page[Any]) -> dict[str, str]:
    """Return the header with the address of the next page, if there is one."""
    if page.cursor is None:
        return {}
    url = request.url.include_query_params(token=page.cursor)
    return {"Link": f'<{url.path}?{url.query}>; rel="next"'}
