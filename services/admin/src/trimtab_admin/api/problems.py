"""Errors as ``application/problem+json`` (RFC 9457): status, field, value, what is allowed. Pure.

A problem repeats the value that was sent: cut, representable in JSON, and never what may be a
secret.
"""

import http
import json
import math
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from trimtab import credentials
from trimtab.api.problems import Problem
from trimtab.errors import Forbidden, Invalid, NotFound, Stale, TrimtabError

DESCRIPTION = "/api/v2/openapi.json"
HIDDEN = "(not shown)"
_MAX_TEXT = 200
_MAX_ITEMS = 10
_MAX_DEPTH = 3


class ProblemError(Exception):
    """An error that exists in HTTP only, such as 415. Other errors are `TrimtabError`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def of_status(status: int, detail: str) -> Problem:
    return Problem(title=http.HTTPStatus(status).phrase, status=status, detail=detail)


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
    data: dict[str, str | int | None] = {}
    match error:
        case Invalid():
            return of_field(status, error.path, error.value, error.allowed)
        case NotFound():
            error = NotFound(error.object_type, cut(error.name), error.known, error.hint)
            data = {"path": error.object_type, "value": error.name, "allowed": error.known or None}
        case Stale():
            data = {"given_version": error.given, "stored_version": error.stored}
        case Forbidden():
            data = {"allowed": error.granted or None}
    return of_status(status, str(error)).model_copy(update=data)


def echo(path: str, value: object) -> JsonValue:
    """Return what a response may repeat of the value at the dotted path."""
    if value is None or any(map(credentials.may_hold, path.split("."))):
        return None if value is None else HIDDEN
    return _echo(value, _MAX_DEPTH)


def cut(text: str, length: int = _MAX_TEXT) -> str:
    """Return the text, or its beginning where it is longer."""
    # JSON allows half of a surrogate pair; UTF-8 cannot encode it.
    text = text.encode(errors="backslashreplace").decode()
    if len(text) <= length:
        return text
    return f"{text[:length]}… ({len(text)} characters)"


def _echo(value: object, depth: int) -> JsonValue:
    match value:
        case None | bool():
            return value
        case int() if abs(value) < 2**63:
            return value
        case float() if math.isfinite(value):
            return value
        case str():
            is_shown = not credentials.is_in(value)
            return cut(credentials.without_password(value)) if is_shown else HIDDEN
        case Mapping():
            return _echo_mapping(value, depth)
        case bytes():
            return f"{len(value)} bytes"
        case Sequence():
            if depth == 0 or len(value) > _MAX_ITEMS:
                return f"a list of {len(value)}"
            return [_echo(item, depth - 1) for item in value]
        case int():
            return "a number of more than 63 bits"
        case _:
            return cut(str(value))


def _echo_mapping(value: Mapping[object, object], depth: int) -> JsonValue:
    if depth == 0 or len(value) > _MAX_ITEMS:
        return f"an object of {len(value)} fields"
    return {
        cut(str(name)): HIDDEN if credentials.may_hold(str(name)) else _echo(item, depth - 1)
        for name, item in value.items()
    }
