"""Errors as ``application/problem+json``: which status each has, and what it tells the client."""

import http
import logging
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from trimtab.api.problems import Problem
from trimtab.errors import (
    Forbidden,
    Invalid,
    NotFound,
    Stale,
    TrimtabError,
)
from trimtab_admin.api.echo import cut, shown

DESCRIPTION = "/api/v2/openapi.json"

log = logging.getLogger(__name__)

_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}


class Refused(HTTPException):
    """A problem that middleware finds while the application reads."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.status, problem.detail)
        self.problem = problem


class Answer(JSONResponse):
    """A problem as a response."""

    media_type = "application/problem+json"

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        content = problem.model_dump(mode="json", exclude_none=True)
        super().__init__(
            content, problem.status, {**_HEADERS.get(problem.status, {}), **(headers or {})}
        )


def of_status(status: int, detail: str) -> Problem:
    return Problem(title=http.HTTPStatus(status).phrase, status=status, detail=detail)


def of_field(status: int, path: str, value: object, allowed: str) -> Problem:
    """What is wrong with a part of the request, without any secret in it."""
    error = Invalid(cut(path), shown(path, value), allowed)
    about = {"path": error.path, "value": error.value, "allowed": allowed}
    return of_status(status, str(error)).model_copy(update=about)


def of_error(error: TrimtabError) -> Problem:
    """With the data that the error carries."""
    status = error.code.http_status
    if isinstance(error, Invalid):
        return of_field(status, error.path, error.value, error.allowed)
    if isinstance(error, NotFound):
        error = NotFound(error.object_type, cut(error.name), error.known)
        about = {"path": error.object_type, "value": error.name, "allowed": error.known or None}
        return of_status(status, str(error)).model_copy(update=about)
    problem = of_status(status, str(error))
    if isinstance(error, Stale):
        versions = {"given_version": error.given, "stored_version": error.stored}
        return problem.model_copy(update=versions)
    if isinstance(error, Forbidden):
        return problem.model_copy(update={"allowed": error.granted or None})
    return problem


def install(app: FastAPI) -> None:
    """Every error of the application becomes a problem."""
    app.add_exception_handler(TrimtabError, _on_trimtab_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_surprise)


async def _on_trimtab_error(_request: Request, error: Exception) -> Answer:
    assert isinstance(error, TrimtabError)
    return Answer(of_error(error))


async def _on_invalid_request(request: Request, error: Exception) -> Answer:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "")
        return Answer(of_error(Invalid("body", reason, "a JSON document")))
    if first["type"] == "extra_forbidden":
        allowed = f"{_fields(request, first['loc'])}; there is no field of this name"
    else:
        allowed = first["msg"].removeprefix("Value error, ")
    return Answer(of_error(Invalid(_path(first["loc"]), first.get("input"), allowed)))


def _fields(request: Request, location: Sequence[Any]) -> str:
    """What the object that holds the unknown field may have, as far as the route's body says it."""
    body = getattr(request.scope["route"], "body_field", None)
    at: Any = body.field_info.annotation if body else None
    for step in location[1:-1]:
        at = _model_in(at)
        if isinstance(step, str) and at is not None and step in at.model_fields:
            at = at.model_fields[step].annotation
    model = _model_in(at)
    return ", ".join(model.model_fields) if model else "known fields"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model itself, or that of the items of a list, of the values of a map, or of an option."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _path(location: Sequence[Any]) -> str:
    """As a person would write it, without where in the request it stood."""
    return ".".join(str(step) for step in location[1:]) or str(location[0])


async def _on_http_exception(request: Request, error: Exception) -> Answer:
    assert isinstance(error, HTTPException)
    path = request.scope["path"]
    match error:
        case Refused():
            return Answer(error.problem)
        case HTTPException(status_code=404):
            return Answer(of_field(404, "path", path, f"the paths of {DESCRIPTION}"))
        case HTTPException(status_code=405):
            methods = ", ".join(_methods(request))
            problem = of_field(405, "method", request.method, f"{methods}, of {cut(path)}")
            return Answer(problem, {"Allow": methods})
    return Answer(of_status(error.status_code, str(error.detail)), error.headers)


def _methods(request: Request) -> list[str]:
    """What may be done with the path: there is a route for each method."""
    path, routes = request.scope["path"], iter_route_contexts(request.app.routes)
    return sorted(
        {
            method
            for route in routes
            if route.path_regex.match(path)
            for method in route.methods or ()
        }
    )


async def _on_surprise(request: Request, _error: Exception) -> Answer:
    # Starlette raises it on after the answer, and uvicorn logs it once with its traceback.
    where = f"{request.method} {request.scope['path']}"
    return Answer(of_status(500, f"{where} failed in a way that nobody foresaw; the log says how"))
