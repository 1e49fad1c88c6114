"""Errors that an API server answers. Pure."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

from pydantic import JsonValue

from trimtab.errors import Rejected, Unavailable

MAX_MESSAGE = 1000
"""Characters of an API server's message that are kept."""

# Both quote the value, which may be that of a Secret.
_VALUES = re.compile(r"(Invalid value: |Duplicate value: |expected [^,]*, got ).*", re.DOTALL)


class Cause(NamedTuple):
    """One reason of a refusal."""

    reason: str
    message: str
    field: str


class Refused(Rejected):
    """The API server refused a request; the message is the one of the server."""

    def __init__(
        self, status: int, message: str, *, reason: str = "", causes: tuple[Cause, ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.causes = causes

    @property
    def conflicts(self) -> tuple[Cause, ...]:
        """The fields that other managers own, where that is why an apply was refused."""
        return tuple(cause for cause in self.causes if cause.reason == "FieldManagerConflict")

    @property
    def is_of_terminating_namespace(self) -> bool:
        return any(cause.reason == "NamespaceTerminating" for cause in self.causes)

    @property
    def duplicates(self) -> tuple[Cause, ...]:
        """The fields of list items whose value another item of the list has."""
        return tuple(cause for cause in self.causes if cause.reason == "FieldValueDuplicate")


class Broken(Unavailable):
    """The API server failed at one request, such as by an admission webhook that hangs."""


def refusal(
    host: str, status: int, body: Mapping[str, JsonValue] | None, retry_after: str = ""
) -> Refused | Unavailable:
    """Return the error for an answer with this status; the body is ``None`` where it is no JSON."""
    message = shortened(str((body or {}).get("message", "")))
    is_timeout = status == HTTPStatus.GATEWAY_TIMEOUT and (body or {}).get("reason") == "Timeout"
    if message and (status == HTTPStatus.INTERNAL_SERVER_ERROR or is_timeout):
        return Broken(message)
    if status == 429 or status >= 500:
        delay = float(retry_after) if retry_after.isdigit() else None
        text = f"{host} answered {status} {_PHRASES.get(status, '')}".strip()
        return Unavailable(f"{text}: {message}" if message else text, delay_seconds=delay)
    if status == HTTPStatus.UNAUTHORIZED:
        message = f"{host} does not accept the credentials: {message or 'Unauthorized'}"
    return Refused(
        status,
        message or f"{host} answered {status}",
        reason=str((body or {}).get("reason", "")),
        causes=_causes(body or {}),
    )


def shortened(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}…"


def without_values(message: str) -> str:
    """Return the message without what it repeats from the object."""
    return _VALUES.sub(r"\1…", message)


_PHRASES = {status.value: status.phrase for status in HTTPStatus}


def _causes(body: Mapping[str, JsonValue]) -> tuple[Cause, ...]:
    details = body.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return tuple(
        Cause(*(str(cause.get(name, "")) for name in Cause._fields))
        for cause in (causes if isinstance(causes, list) else [])
        if isinstance(cause, dict)
    )
