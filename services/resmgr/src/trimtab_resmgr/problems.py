"""What a caller is told about an error. Pure."""

from http import HTTPStatus

from pydantic import ValidationError

from trimtab.api import Problem
from trimtab.errors import Conflict, Invalid, NotFound, Retryable, TrimtabError, Unauthorized

_STATUS: tuple[tuple[type[TrimtabError], HTTPStatus], ...] = (
    (NotFound, HTTPStatus.NOT_FOUND),
    (Conflict, HTTPStatus.CONFLICT),
    (Unauthorized, HTTPStatus.UNAUTHORIZED),
    (Retryable, HTTPStatus.SERVICE_UNAVAILABLE),
    (TrimtabError, HTTPStatus.BAD_REQUEST),
)
UNEXPECTED = Problem(
    title=HTTPStatus.INTERNAL_SERVER_ERROR.phrase,
    status=HTTPStatus.INTERNAL_SERVER_ERROR,
    detail="resmgr failed in a way that was not foreseen; its log has the cause",
)


def of(error: TrimtabError | ValidationError) -> Problem:
    """As HTTP would say it."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(step) for step in first["loc"])
        detail = f"{path}: {first['msg']}" if path else first["msg"]
        return _problem(HTTPStatus.BAD_REQUEST, detail, path=path or None, allowed=first["msg"])
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    if isinstance(error, Invalid):
        return _problem(status, str(error), path=error.path, allowed=error.allowed)
    return _problem(status, str(error))


def _problem(
    status: HTTPStatus, detail: str, *, path: str | None = None, allowed: str | None = None
) -> Problem:
    return Problem(title=status.phrase, status=status, detail=detail, path=path, allowed=allowed)
