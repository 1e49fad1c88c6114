"""What a writer demands of what is stored now. Pure."""

import re
from dataclasses import dataclass
from typing import assert_never

from trimtab.errors import Code, Invalid, Rejected, Stale

_ETAG = re.compile(r'"?([0-9]{1,18})"?')


class NoPrecondition(Rejected):
    """A write that says neither which version it replaces nor that it does not care."""

    code = Code.PRECONDITION_REQUIRED

    def __init__(self) -> None:
        super().__init__(
            'say what is replaced: the header If-Match: "<version>", the header '
            "If-None-Match: * where nothing is stored yet, or ?force=true to replace anything"
        )


@dataclass(frozen=True)
class Version:
    """Exactly this version is stored."""

    number: int


@dataclass(frozen=True)
class Absent:
    """Nothing is stored."""


@dataclass(frozen=True)
class Anything:
    """Whatever is stored, or nothing."""


Precondition = Version | Absent | Anything


def parse(if_match: str | None, if_none_match: str | None, force: bool) -> Precondition:
    """From the parts of a request. Raises `NoPrecondition` and `Invalid`."""
    if force:
        return Anything()
    if if_none_match is not None:
        if if_none_match.strip() != "*":
            raise Invalid("If-None-Match", if_none_match, "*")
        return Absent()
    if if_match is None:
        raise NoPrecondition
    match = _ETAG.fullmatch(if_match.strip())
    if match is None:
        raise Invalid("If-Match", if_match, 'a version as its ETag says it, such as "12"')
    return Version(int(match[1]))


def check(precondition: Precondition, what: str, stored: int | None) -> None:
    """Raises `Stale`."""
    match precondition:
        case Anything():
            return
        case Absent():
            if stored is not None:
                raise Stale(what, None, stored)
        case Version(number):
            if number != stored:
                raise Stale(what, number, stored)
        case _:
            assert_never(precondition)
