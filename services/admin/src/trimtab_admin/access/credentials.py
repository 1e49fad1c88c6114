"""How an API token looks, and how it is compared with what is stored. Pure.

A token is ``trimtab_<id>_<secret>``. The id is shown, the secret is stored as its SHA-256 only.
A slow, salted hash guards passwords, because people choose those and they can be guessed; nobody
guesses 256 random bits, however fast the hash is, and this one is computed for every call.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass

_FORM = re.compile(r"trimtab_([a-z0-9]{10})_([A-Za-z0-9_-]{43})")
_ID_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_SECRET_BYTES = 32


@dataclass(frozen=True)
class Credential:
    """A token as its holder has it."""

    id: str
    secret: str

    @classmethod
    def new(cls, id: str | None = None) -> "Credential":
        """A new secret, for a new token or for one that there is."""
        made = "".join(secrets.choice(_ID_ALPHABET) for _ in range(10))
        return cls(id or made, secrets.token_urlsafe(_SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> "Credential | None":
        match = _FORM.fullmatch(text)
        return match and cls(match[1], match[2])

    @property
    def hash(self) -> str:
        return hash_of(self.secret)

    def __str__(self) -> str:
        return f"trimtab_{self.id}_{self.secret}"


def hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def same(given: str, stored: str) -> bool:
    """Of two hashes, in a time that tells nothing about how much of them is equal."""
    return secrets.compare_digest(given, stored)
