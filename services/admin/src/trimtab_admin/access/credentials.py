"""The form of an API token, and its comparison with what is stored. Pure.

An API token is ``trimtab_<id>_<secret>``. The id is public; only the SHA-256 of the secret is
stored. A slow, salted hash protects passwords, which people choose and which can be guessed; 256
random bits cannot be guessed however fast the hash is, and this hash is computed for every call.
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
    """An API token in the form that its holder has."""

    id: str
    secret: str

    @classmethod
    def new(cls, id: str | None = None) -> "Credential":
        """Return a new secret, for a new API token or for the one with the id."""
        new_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(10))
        return cls(id or new_id, secrets.token_urlsafe(_SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> "Credential | None":
        match = _FORM.fullmatch(text)
        return match and cls(match[1], match[2])

    @property
    def hash(self) -> str:
        return hash_secret(self.secret)

    def __str__(self) -> str:
        return f"trimtab_{self.id}_{self.secret}"


def hash_secret(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def are_equal(given: str, stored: str) -> bool:
    """Compare two hashes in a time that does not depend on how many characters are equal."""
    return secrets.compare_digest(given, stored)
