"""Preconditions: what a write requires of the version that is stored. Pure."""

import re
from dataclasses import dataclass
from typing import assert_never

from trimtab.errors import Code, Invalid, Rejected, Stale

_ETAG = re.compile(r'"?([0-9]{1,18})"?')


class PreconditionRequired(Rejected):
    """The error of a write that names no version to replace and is not forced."""

    code = Code.PRECONDITION_REQUIRED

    def __init__(self) -> None:
        super().__init__(
            'a precondition is required: the header If-Match: "<version>", the header '
            "If-None-Match: * where nothing is stored yet, or ?force=true to replace any version"
        )


@dataclass(frozen=True)
class Version:
    """Requires that exactly this version is stored."""

    number: int


@dataclass(frozen=True)
class Absent:
    """Requires that nothing is stored."""


@dataclass(frozen=True)
class AnyVersion:
    """Requires nothing."""


Precondition = Version | Absent | AnyVersion


def parse(if_match: str | None, if_none_match: str | None, force: bool) -> Precondition:
    """Return the precondition of a request. Raises `PreconditionRequired` and `Invalid`.

    ``force`` stands for a precondition that is missing. A header that is there is checked, so that
    a client that reads, changes and writes loses no change of another one.
    """
    if if_none_match is not None:
        if if_match is not None:
            raise Invalid("If-None-Match", if_none_match, "either this header or If-Match")
        if if_none_match.strip() != "*":
            raise Invalid("If-None-Match", if_none_match, "*")
        return Absent()
    if if_match is None:
        if force:
            return AnyVersion()
        raise PreconditionRequired
    match = _ETAG.fullmatch(if_match.strip())
    if match is None:
        raise Invalid("If-Match", if_match, 'a version in the form of an ETag, such as "12"')
    return Version(int(match[1]))


def check(precondition: Precondition, description: str, stored: int | None) -> None:
    """Raise `Stale` where the stored version does not meet the precondition.

    ``description`` names the record or entity; ``stored`` is ``None`` where nothing is stored.
    """
    match precondition:
        case AnyVersion():
            return
        case Absent():
            if stored is not None:
                raise Stale(description, None, stored)
        case Version(number):
            if number != stored:
                raise Stale(description, number, stored)
        case _:
            assert_never(precondition)
