"""Errors as ``application/problem+json``: which status each has, and what it tells the client."""

import http
import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from trimtab.api import Problem
from trimtab.errors import (
    Conflict,
    Gone,
    Invalid,
    NotFound,
    Rejected,
    Retryable,
    Stale,
    TrimtabError,
    Unauthorized,
    Unreadable,
)
from trimtab_admin.preconditions import NoPrecondition

log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[TrimtabError], int], ...] = (
    (NoPrecondition, 428),
    (Invalid, 400),
    (Unauthorized, 401),
    (NotFound, 404),
    (Conflict, 409),
    (Unreadable, 409),
    (Gone, 410),
    (Stale, 412),
    (Rejected, 400),
    (Retryable, 503),
)


class Answer(JSONResponse):
    """A problem as a response."""

    media_type = "application/problem+json"

    def __init__(self, problem: Problem, headers: dict[str, str] | None = None) -> None:
        content = problem.model_dump(mode="json", exclude_none=True)
        super().__init__(content, problem.status, headers)


def of_status(status: int, detail: str) -> Problem:
    return Problem(title=http.HTTPStatus(status).phrase, status=status, detail=detail)


def of_error(error: TrimtabError) -> Problem:
    """With the data that the error carries."""
    status = next(number for family, number in _STATUS if isinstance(error, family))
    problem = of_status(status, str(error))
    match error:
        case Invalid():
            about = {"path": error.path, "value": error.value, "allowed": error.allowed}
        case NotFound():
            about = {"path": error.what, "value": error.name, "allowed": error.known or None}
        case Stale():
            about = {"given_version": error.given, "stored_version": error.stored}
        case _:
            about = {}
    return problem.model_copy(update=about)


def install(app: FastAPI) -> None:
    """Every error of the application becomes a problem."""
    app.add_exception_handler(TrimtabError, _on_trimtab_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_surprise)


async def _on_trimtab_error(_request: Request, error: Exception) -> Answer:
    assert isinstance(error, TrimtabError)
    problem = of_error(error)
    return Answer(problem, {"WWW-Authenticate": "Bearer"} if problem.status == 401 else None)


async def _on_invalid_request(_request: Request, error: Exception) -> Answer:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "")
        return Answer(of_error(Invalid("body", reason, "a JSON document")))
    unknown = first["type"] == "extra_forbidden"
    allowed = "no field of this name" if unknown else first["msg"].removeprefix("Value error, ")
    return Answer(of_error(Invalid(_path(first["loc"]), first.get("input"), allowed)))


def _path(location: Sequence[Any]) -> str:
    """As a person would write it, without where in the request it stood."""
    return ".".join(str(step) for step in location[1:]) or str(location[0])


async def _on_http_exception(_request: Request, error: Exception) -> Answer:
    assert isinstance(error, HTTPException)
    return Answer(of_status(error.status_code, str(error.detail)), dict(error.headers or {}))


async def _on_surprise(request: Request, _error: Exception) -> Answer:
    # Starlette raises it on after the answer, and uvicorn logs it once with its traceback.
    where = f"{request.method} {request.url.path}"
    return Answer(of_status(500, f"{where} failed in a way that nobody foresaw; the log says how"))
