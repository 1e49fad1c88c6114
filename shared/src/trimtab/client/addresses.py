"""The API token and the URL of a server, checked before anything is sent. Pure.

No message has the token, or the user and password that a URL may have.
"""

import re
from typing import NamedTuple

import httpx

from trimtab.errors import Invalid, Rejected

_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_NOT_IN_TOKEN = re.compile(r"[^!-~]")
_NAMES = {"\r": "a carriage return", "\n": "a line break", " ": "a blank", "\t": "a tab"}


class Address(NamedTuple):
    """The URL of a server, and the user and password that it had."""

    url: str
    is_tls: bool
    login: tuple[str, str] | None


def parse_address(url: str) -> Address:
    """Return the parts of a URL. Raises `Invalid`, which shows it without user and password."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        allowed = "the URL of an API, such as http://127.0.0.1:8080"
        if "@" in url:
            allowed += "; in a password, a slash is written as %2F and an @ as %40"
        raise Invalid("server", without_credentials(url), allowed)
    login = (parsed.username, parsed.password) if parsed.userinfo else None
    return Address(without_credentials(url), parsed.scheme == "https", login)


def is_loopback(url: str) -> bool:
    """Raises `httpx.InvalidURL`."""
    return httpx.URL(url).host in {"127.0.0.1", "::1", "localhost"}


def without_credentials(url: str) -> str:
    """Return a URL, also a malformed one, without what may be a user and a password."""
    scheme = _SCHEME.match(url)
    begin = scheme[0] if scheme else ""
    return begin + url.removeprefix(begin).rpartition("@")[2]


def check_token(token: str, source: str) -> None:
    """Raise `Rejected` with the source of an API token that no header can carry."""
    if found := _NOT_IN_TOKEN.search(token):
        character = found[0]
        name = _NAMES.get(character, f"the character U+{ord(character):04X}")
        raise Rejected(
            f"the API token of {source} cannot be sent: it has {name} at position "
            f"{found.start() + 1} of {len(token)}; allowed: visible ASCII characters"
        )
