"""The problem bodies of error replies. Pure."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from trimtab.api.problems import Problem
from trimtab.errors import Code, Invalid, TrimtabError
from trimtab.models import Model
from trimtab.tokens import protocol
from trimtab.wrong_values import allowed_instead

_BODY = "body"
"""The path of an error that concerns no single field."""
_MAX_SHOWN = 80
"""Characters of an invalid value that a message repeats."""
_MAX_DETAIL = 4000
"""Characters of a message."""
_LIST_ITEMS: Mapping[str, type[Model]] = {
    "allocate": protocol.Allocate,
    "renew": protocol.Renew,
    "release": protocol.Release,
    "pools": protocol.Units,
}
"""The models of the items in lists, by field."""


def unexpected() -> Problem:
    """Return the problem of an error without a known cause."""
    return _problem(Code.INTERNAL, "resmgr failed unexpectedly; its log has the cause")


def problem_of(error: TrimtabError | ValidationError) -> Problem:
    """Return the problem of an error. Its status is the HTTP status of the error's code."""
    if isinstance(error, ValidationError):
        return _invalid_request(error.title, error.errors(include_url=False)[0])
    if isinstance(error, Invalid):
        allowed = _shortened(error.allowed)
        return _problem(error.code, _shortened(str(error)), path=error.path, allowed=allowed)
    return _problem(error.code, _shortened(str(error)))


def _shortened(text: str) -> str:
    """Return a text that lists names, such as those of all pools, without the last of too many."""
    return text if len(text) <= _MAX_DETAIL else f"{text[:_MAX_DETAIL]}…"


def _invalid_request(request: str, error: ErrorDetails) -> Problem:
    """Return the problem of the first invalid field of a request, given the name of its model."""
    path = ".".join(map(str, error["loc"])) or _BODY
    allowed = _allowed(request, error)
    match error["type"]:
        case "missing":
            detail = f"{path} is missing"
        case "extra_forbidden":
            detail = f"{path} is not known; allowed: {allowed}"
        case "json_invalid":
            detail = f"{path} is not JSON: {error['msg'].removeprefix('Invalid JSON: ')}"
        case "value_error":
            detail = f"{path}: {allowed}"
        case _:
            value = repr(error["input"])
            shown = value if len(value) <= _MAX_SHOWN else f"{value[:_MAX_SHOWN]}…"
            detail = f"{path}: {shown} is not valid; allowed: {allowed}"
    return _problem(Code.INVALID, detail, path=path, allowed=allowed)


def _allowed(request: str, error: ErrorDetails) -> str:
    match error["type"]:
        case "missing":
            return "a value"
        case "extra_forbidden":
            return ", ".join(_innermost_model(request, error["loc"]).model_fields)
        case "json_invalid" | "model_type":
            return "a JSON object"
        case _:
            return allowed_instead(error)


def _innermost_model(request: str, path: Sequence[int | str]) -> type[Model]:
    """Return the model that the last step of a path is a field of."""
    model: type[Model] = vars(protocol)[request]
    for step in path[:-1]:
        model = _LIST_ITEMS.get(str(step), model)
    return model


def _problem(
    code: Code, detail: str, *, path: str | None = None, allowed: str | None = None
) -> Problem:
    status = HTTPStatus(code.http_status)
    return Problem(
        title=status.phrase,
        status=status,
        detail=detail,
        code=code.name,
        path=path,
        allowed=allowed,
    )
