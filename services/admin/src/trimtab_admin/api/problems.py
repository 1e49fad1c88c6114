"""Errors as ``application/problem+json`` (RFC 9457): status, field, value, what is allowed. Pure.

A problem repeats the value that was sent: cut, representable in JSON, and never what may be a
secret.
"""

import http
import json

from trimtab.api.problems import Problem
from trimtab.echoes import cut, echo
from trimtab.errors import Code, Forbidden, Invalid, NotFound, Stale, TrimtabError
from trimtab.resolution.limits import Refusal

DESCRIPTION = "/api/v2/openapi.json"
_CODES = {code.http_status: code.name for code in reversed(Code)}
"""The most general code of each status."""


class ProblemError(Exception):
    """An error that exists in HTTP only, such as 415. Other errors are `TrimtabError`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def of_status(status: int, detail: str) -> Problem:
    title, code = http.HTTPStatus(status).phrase, _CODES.get(status)
    return Problem(title=title, status=status, detail=detail, code=code)


def of_field(status: int, path: str, value: object, allowed: str) -> Problem:
    """Return the problem of one part of the request, without the secrets in it."""
    path, value = cut(path), echo(path, value)
    shown = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    detail = f"{path}: {shown} is not valid; allowed: {allowed}"
    about = {"path": path, "value": value, "allowed": allowed}
    return of_status(status, detail).model_copy(update=about)


def of_error(error: TrimtabError) -> Problem:
    """Return the problem with the error's status and data."""
    status = error.code.http_status
    data: dict[str, str | int | None] = {"code": error.code.name}
    match error:
        case Invalid():
            problem = of_field(status, error.path, error.value, error.allowed)
            return problem.model_copy(update={"code": error.code.name})
        case NotFound():
            error = NotFound(error.object_type, cut(error.name), error.known, error.hint)
            about = {"path": error.object_type, "value": error.name}
            data |= {**about, "allowed": error.known or None}
        case Refusal():
            about_value = {"path": cut(error.path), "value": echo(error.path, error.value)}
            return of_status(status, str(error)).model_copy(update={**data, **about_value})
        case Stale():
            data |= {"given_version": error.given, "stored_version": error.stored}
        case Forbidden():
            data |= {"allowed": error.granted or None}
    return of_status(status, str(error)).model_copy(update=data)
