"""Errors, by what the receiver does about them. Each has a `Code`, which gives its statuses.

* TrimtabError
  - Retryable          the same call or message may succeed later
    · Unavailable      a required server does not answer
  - Rejected           it cannot succeed as it stands
    · Invalid          a value is wrong: names the field and what is allowed
    · NotFound         the named object does not exist
    · Conflict         an object exists, or is used, in a way that forbids the change
    · Stale            the given version is not the stored one
    · Gone             the requested data is no longer kept
    · Unauthorized     no credential, or one that is not accepted
      Forbidden        a credential that is accepted, but not for this call
    · Unreadable       a stored record that this release cannot parse
"""

from enum import Enum
from typing import ClassVar


class Code(Enum):
    """How each door reports an error: HTTP and NATS status, gRPC status name, exit code."""

    INTERNAL = (500, "INTERNAL", 1)
    UNAVAILABLE = (503, "UNAVAILABLE", 7)
    REJECTED = (400, "FAILED_PRECONDITION", 1)
    INVALID = (400, "INVALID_ARGUMENT", 2)
    UNAUTHENTICATED = (401, "UNAUTHENTICATED", 6)
    FORBIDDEN = (403, "PERMISSION_DENIED", 6)
    NOT_FOUND = (404, "NOT_FOUND", 3)
    CONFLICT = (409, "ALREADY_EXISTS", 4)
    UNREADABLE = (409, "DATA_LOSS", 1)
    GONE = (410, "NOT_FOUND", 3)
    STALE = (412, "ABORTED", 5)
    PRECONDITION_REQUIRED = (428, "FAILED_PRECONDITION", 1)

    def __init__(self, http_status: int, grpc_status: str, exit_code: int) -> None:
        self.http_status = http_status
        """The status of an HTTP response, and the ``Nats-Service-Error-Code`` of a NATS reply."""
        self.grpc_status = grpc_status
        self.exit_code = exit_code
        """The exit code of the command line; click uses 2 for wrong flags."""


class TrimtabError(Exception):
    """Base of every error that Trimtab raises on purpose."""

    code: ClassVar[Code] = Code.INTERNAL


class Retryable(TrimtabError):
    """The same call or message may succeed later."""

    code = Code.UNAVAILABLE

    def __init__(self, message: str, *, delay_seconds: float | None = None) -> None:
        super().__init__(message)
        self.delay_seconds = delay_seconds
        """When to try again; ``None`` lets the caller decide."""


class Unavailable(Retryable):
    """A required server does not answer."""


class Rejected(TrimtabError):
    """The call or message cannot succeed as it stands."""

    code = Code.REJECTED


class Invalid(Rejected):
    """A value is wrong."""

    code = Code.INVALID

    def __init__(self, path: str, value: object, allowed: str) -> None:
        super().__init__(f"{path}: {value!r} is not valid; allowed: {allowed}")
        self.path = path
        self.value = value
        self.allowed = allowed


class NotFound(Rejected):
    """The named object does not exist."""

    code = Code.NOT_FOUND

    def __init__(self, what: str, name: str, known: str = "") -> None:
        super().__init__(
            f"{what} {name!r} does not exist" + (f"; there are: {known}" * bool(known))
        )
        self.what = what
        self.name = name
        self.known = known


class Conflict(Rejected):
    """An object exists, or is used, in a way that forbids the change."""

    code = Code.CONFLICT


class Stale(Rejected):
    """The given version is not the stored one."""

    code = Code.STALE

    def __init__(self, what: str, given: int | None, stored: int | None) -> None:
        def words(version: int | None) -> str:
            return "no record" if version is None else f"version {version}"

        super().__init__(
            f"{what} has changed: you have {words(given)}, {words(stored)} is stored; "
            "read it again and repeat the change"
        )
        self.given = given
        self.stored = stored


class Gone(Rejected):
    """The requested data is no longer kept."""

    code = Code.GONE


class Unauthorized(Rejected):
    """The call has no credential, or one that is not accepted."""

    code = Code.UNAUTHENTICATED


class Forbidden(Unauthorized):
    """The credential is accepted, but not for this call."""

    code = Code.FORBIDDEN

    def __init__(self, message: str, scope: str = "", granted: str = "") -> None:
        super().__init__(message + f"; what it may: {granted}" * bool(granted))
        self.scope = scope
        self.granted = granted


class Unreadable(Rejected):
    """A stored record that this release cannot parse."""

    code = Code.UNREADABLE


_BY_STATUS: dict[int, type[TrimtabError]] = {
    family.code.http_status: family
    for family in (Rejected, Unauthorized, Forbidden, NotFound, Conflict, Gone, Stale)
} | {429: Retryable}


def family_of(http_status: int) -> type[TrimtabError]:
    """Return the error class that a client raises for a status of an HTTP or NATS reply."""
    if http_status >= 500:
        return Unavailable
    return _BY_STATUS.get(http_status, Rejected)
