"""Errors, by what the receiver does about them.

* TrimtabError
  - Retryable          the same call or message may succeed later
    · Unavailable      a server we need does not answer
  - Rejected           it never will, as it stands
    · Invalid          a value is wrong: names the field and what is allowed
    · NotFound         the thing named does not exist
    · Conflict         it exists, or is used, in a way that forbids this
    · Stale            the version given is not the stored one
    · Gone             what is asked for is no longer kept
    · Unauthorized     no credential, or one that is not accepted
      Forbidden        one that is accepted, but not for this
    · Unreadable       a stored record that this reader cannot parse
"""


class TrimtabError(Exception):
    """Base of every error that Trimtab raises on purpose."""


class Retryable(TrimtabError):
    """The same call or message may succeed later."""

    def __init__(self, message: str, *, delay_seconds: float | None = None) -> None:
        super().__init__(message)
        self.delay_seconds = delay_seconds
        """When to try again; ``None`` leaves the pace to the caller."""


class Unavailable(Retryable):
    """A server we need does not answer."""


class Rejected(TrimtabError):
    """It never will succeed as it stands."""


class Invalid(Rejected):
    """A value is wrong."""

    def __init__(self, path: str, value: object, allowed: str) -> None:
        super().__init__(f"{path}: {value!r} is not valid; allowed: {allowed}")
        self.path = path
        self.value = value
        self.allowed = allowed


class NotFound(Rejected):
    """The thing named does not exist."""

    def __init__(self, what: str, name: str, known: str = "") -> None:
        super().__init__(
            f"{what} {name!r} does not exist" + (f"; there are: {known}" * bool(known))
        )
        self.what = what
        self.name = name
        self.known = known


class Conflict(Rejected):
    """Something stored forbids this."""


class Stale(Rejected):
    """The version given is not the stored one."""

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
    """What is asked for is no longer kept."""


class Unauthorized(Rejected):
    """No credential, or one that is not accepted."""


class Forbidden(Unauthorized):
    """The credential is accepted, but not for this."""

    def __init__(self, message: str, scope: str = "", granted: str = "") -> None:
        super().__init__(message + f"; what it may: {granted}" * bool(granted))
        self.scope = scope
        self.granted = granted


class Unreadable(Rejected):
    """A stored record that this reader cannot parse."""
