"""The tree of errors, by what a receiver can do about them; each has a `Code`.

* TrimtabError
  - Retryable          the same call or message may succeed later
    · Unavailable      a required server does not respond
    · Failed           a server responded that it failed; its log has the reason
  - Rejected           the same call or message cannot succeed
    · Invalid          a value is wrong: names the field, the value and what is allowed
      UnknownField     the field does not exist
    · NotFound         the named object does not exist
    · Conflict         an object exists, or is used, in a way that forbids the change
    · Stale            the given version is not the stored one
    · Gone             the requested data is no longer kept
    · Unauthorized     the call has no credential, or one that is not accepted
      Forbidden        the credential is accepted, but not for this call
    · Unreadable       this release cannot parse a stored record that the call needs
"""

from collections.abc import Iterable
from enum import Enum
from typing import ClassVar, Self

from trimtab import names
from trimtab.echoes import shown


class Code(Enum):
    """How each interface reports an error: HTTP and NATS status, gRPC status name, exit code."""

    INTERNAL = (
        500,
        "INTERNAL",
        1,
        "A service failed unexpectedly; the call may have had its effect.",
        "Look for the request id in the log of admin, and report the entry; read before the call "
        "is repeated.",
    )
    UNAVAILABLE = (
        503,
        "UNAVAILABLE",
        7,
        "A required server does not respond, is starting, or is stopping.",
        "Repeat the call later, after `Retry-After` where the response has it; `trimtab status` "
        "shows which server is away.",
    )
    REJECTED = (
        400,
        "FAILED_PRECONDITION",
        1,
        "The call cannot succeed in the present state, or a file or program that it needs is "
        "unusable.",
        "Do what the message names, then repeat the call.",
    )
    INVALID = (
        400,
        "INVALID_ARGUMENT",
        2,
        "A value of the request, of a file or of a flag is wrong.",
        "Correct the field `path`; `allowed` is what it accepts.",
    )
    UNAUTHENTICATED = (
        401,
        "UNAUTHENTICATED",
        6,
        "The call has no API token, or one that is unknown, revoked or expired.",
        "Set `TRIMTAB_TOKEN` or `token_file` to a valid API token.",
    )
    FORBIDDEN = (
        403,
        "PERMISSION_DENIED",
        6,
        "The API token is valid, but its grants do not allow the call.",
        "Request a grant from an admin of the platform; the message lists those of the token.",
    )
    NOT_FOUND = (
        404,
        "NOT_FOUND",
        3,
        "The named object does not exist.",
        "Use one of the names that the message lists, or create the object.",
    )
    CONFLICT = (
        409,
        "ALREADY_EXISTS",
        4,
        "The object exists already, or is used in a way that forbids the change.",
        "Use the object that exists, or end its use first.",
    )
    UNREADABLE = (
        409,
        "DATA_LOSS",
        1,
        "This release cannot parse a stored record that the call needs.",
        "Delete the record or write it again, or use the release that wrote it.",
    )
    GONE = (
        410,
        "NOT_FOUND",
        3,
        "The requested changes or pages are no longer kept.",
        "Read the present state, and continue from it.",
    )
    STALE = (
        412,
        "ABORTED",
        5,
        "The object was changed after it was read.",
        "Read it again, and repeat the change on its new version.",
    )
    PRECONDITION_REQUIRED = (
        428,
        "FAILED_PRECONDITION",
        1,
        "A write names no version that it replaces.",
        "Send `If-Match` or `If-None-Match`, or `force=true`.",
    )
    THROTTLED = (
        429,
        "RESOURCE_EXHAUSTED",
        7,
        "The caller has had too many refused calls.",
        "Wait for the seconds of `Retry-After`, and correct the API token before the next call.",
    )

    def __init__(
        self, http_status: int, grpc_status: str, exit_code: int, when: str, remedy: str
    ) -> None:
        self.http_status = http_status
        """The status of an HTTP response, and the ``Nats-Service-Error-Code`` of a NATS reply."""
        self.grpc_status = grpc_status
        self.exit_code = exit_code
        """The exit code of the command line; click uses 2 for wrong flags too."""
        self.when = when
        """When it is reported, for docs/errors.md."""
        self.remedy = remedy
        """The next step of the receiver, for docs/errors.md."""


class TrimtabError(Exception):
    """Base of every error that Trimtab defines."""

    code: ClassVar[Code] = Code.INTERNAL


class Retryable(TrimtabError):
    """The same call or message may succeed later."""

    code = Code.UNAVAILABLE

    def __init__(self, message: str, *, delay_seconds: float | None = None) -> None:
        super().__init__(message)
        self.delay_seconds = delay_seconds
        """How long to wait before the next try; ``None`` where the caller decides."""


class Unavailable(Retryable):
    """A required server does not respond."""


class Failed(Retryable):
    """A server failed unexpectedly while it handled the call, which may have had its effect."""

    code = Code.INTERNAL


class Rejected(TrimtabError):
    """The same call or message cannot succeed, however often it is repeated."""

    code = Code.REJECTED


class Invalid(Rejected):
    """A value is wrong."""

    code = Code.INVALID

    def __init__(self, path: str, value: object, allowed: str) -> None:
        text = shown(path.rpartition(": ")[2], value)
        super().__init__(f"{path}: {text} is not valid; allowed: {allowed}")
        self.path = path
        self.value = value
        self.allowed = allowed


class UnknownField(Invalid):
    """A field does not exist. The value is what the caller wanted to set."""


class NotFound(Rejected):
    """The named object does not exist."""

    code = Code.NOT_FOUND

    def __init__(self, object_type: str, name: str, known: str = "", hint: str = "") -> None:
        """``hint`` ends the message; without one, it lists the known names."""
        hint = hint or (f"there are: {known}" if known else "")
        ending = f"; {hint}" if hint else ""
        super().__init__(f"{object_type} {name!r} does not exist{ending}")
        self.object_type = object_type
        """The type in words, such as ``project``."""
        self.name = name
        self.known = known
        """Names of objects that exist, as text; empty where the message lists none."""
        self.hint = hint

    @classmethod
    def among(cls, object_type: str, name: str, known: Iterable[str]) -> Self:
        """Return the error that suggests the known names that are most like the name.

        Few names are all listed; where no name is alike, some are.
        """
        known = list(known)
        near = names.nearest(name, known)
        if not near:
            return cls(object_type, name, names.listed(known))
        question = f"did you mean {' or '.join(map(repr, near))}"
        if len(known) > names.MAX_LISTED:
            noun, of, whole = object_type.partition(" of ")
            hint = f"{question}; there are {len(known)} {noun}s{of}{whole}"
            return cls(object_type, name, ", ".join(near), hint)
        listed = ", ".join(known)
        return cls(object_type, name, listed, f"{question}; there are: {listed}")


class Conflict(Rejected):
    """An object exists, or is used, in a way that forbids the change."""

    code = Code.CONFLICT


class Stale(Rejected):
    """The given version is not the stored one."""

    code = Code.STALE

    def __init__(self, object_name: str, given: int | None, stored: int | None) -> None:
        def version_text(version: int | None) -> str:
            return "no record" if version is None else f"version {version}"

        super().__init__(
            f"{object_name} has been modified: the request is based on {version_text(given)}, but "
            f"{version_text(stored)} is stored; read it again and repeat the change"
        )
        self.given = given
        """The version that the request is based on; ``None`` where it requires absence."""
        self.stored = stored
        """The stored version; ``None`` where nothing is stored."""


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
        super().__init__(f"{message}; granted: {granted}" if granted else message)
        self.scope = scope
        """The scope that the call is for."""
        self.granted = granted
        """The grants of the caller, as text; empty where the message does not list them."""


class Unreadable(Rejected):
    """This release cannot parse a stored record that the call needs."""

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
