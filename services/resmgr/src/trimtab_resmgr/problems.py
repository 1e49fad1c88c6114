"""What a caller is told about an error. Pure."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from trimtab.api.problems import Problem
from trimtab.errors import Invalid, TrimtabError
from trimtab.models import Model
from trimtab.tokens import protocol

UNEXPECTED = Problem(
    title=HTTPStatus.INTERNAL_SERVER_ERROR.phrase,
    status=HTTPStatus.INTERNAL_SERVER_ERROR,
    detail="resmgr failed in a way that was not foreseen; its log has the cause",
)

_BODY = "body"
"""What is wrong where no field is."""
_MOST_SHOWN = 80
"""Characters of a wrong value."""
_INNER: Mapping[str, type[Model]] = {
    "allocate": protocol.Allocate,
    "renew": protocol.Renew,
    "release": protocol.Release,
    "pools": protocol.Units,
}
"""What lists in requests are of."""


def of(error: TrimtabError | ValidationError) -> Problem:
    """As HTTP would say it."""
    if isinstance(error, ValidationError):
        return _of_request(error.title, error.errors(include_url=False)[0])
    status = HTTPStatus(error.code.http_status)
    if isinstance(error, Invalid):
        return _problem(status, str(error), path=error.path, allowed=error.allowed)
    return _problem(status, str(error))


def _of_request(request: str, wrong: ErrorDetails) -> Problem:
    """The first thing that is wrong with a request, by the name of its model."""
    path = ".".join(map(str, wrong["loc"])) or _BODY
    allowed = _allowed(request, wrong)
    match wrong["type"]:
        case "missing":
            detail = f"{path} is missing"
        case "extra_forbidden":
            detail = f"{path} is not known; allowed: {allowed}"
        case "json_invalid":
            detail = f"{path} is not JSON: {wrong['msg'].removeprefix('Invalid JSON: ')}"
        case "value_error":
            detail = f"{path}: {allowed}"
        case _:
            value = repr(wrong["input"])
            shown = value if len(value) <= _MOST_SHOWN else f"{value[:_MOST_SHOWN]}…"
            detail = f"{path}: {shown} is not valid; allowed: {allowed}"
    return _problem(HTTPStatus.BAD_REQUEST, detail, path=path, allowed=allowed)


def _allowed(request: str, wrong: ErrorDetails) -> str:
    match wrong["type"]:
        case "missing":
            return "a value"
        case "extra_forbidden":
            return ", ".join(_innermost(request, wrong["loc"]).model_fields)
        case "json_invalid" | "model_type":
            return "a JSON object"
        case _:
            return wrong["msg"].removeprefix("Value error, ").removeprefix("Input should be ")


def _innermost(request: str, path: Sequence[int | str]) -> type[Model]:
    """What the last step of a path is a field of."""
    model: type[Model] = vars(protocol)[request]
    for step in path[:-1]:
        model = _INNER.get(str(step), model)
    return model


def _problem(
    status: HTTPStatus, detail: str, *, path: str | None = None, allowed: str | None = None
) -> Problem:
    return Problem(title=status.phrase, status=status, detail=detail, path=path, allowed=allowed)
