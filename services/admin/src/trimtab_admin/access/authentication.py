"""Authentication: which caller a credential identifies.

The stored API tokens are cached for one second, because every call needs them. The admin that
revokes a token drops its cache at once; other admins accept the token for at most that second.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from trimtab.api.access import GrantBody
from trimtab.errors import Unauthorized, Unavailable
from trimtab.levels import Scope
from trimtab_admin.access.authorization import (
    ANONYMOUS,
    ROOT,
    UNAUTHENTICATED,
    Caller,
    Grant,
    Role,
)
from trimtab_admin.access.credentials import Credential, are_equal, hash_secret
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import Sessions, transaction

log = logging.getLogger(__name__)

GRANTS = TypeAdapter(tuple[GrantBody, ...])
"""The grants of an API token, as its row stores them in JSON."""

_ROW = tables.api_tokens.c
_CACHE_SECONDS = 1.0
_STORE_SECONDS = 2.0

Row = Mapping[Any, Any]
"""A row of the table of API tokens; `sqlalchemy.RowMapping` is typed no more precisely."""


@dataclass(frozen=True)
class _ApiToken:
    row: Row
    caller: Caller

    @classmethod
    def of(cls, row: Row) -> "_ApiToken":
        grants = tuple(parse_grant(grant) for grant in GRANTS.validate_json(row["grants"]))
        return cls(row, Caller(row["name"], grants, row["id"]))

    def matches(self, credential: Credential, now: datetime) -> bool:
        """Compare with the secret, and until the grace is over with the one before the rotation."""
        given = credential.hash
        is_new = are_equal(given, self.row["secret_hash"])
        is_old = are_equal(given, self.row["old_secret_hash"] or "")
        return is_new or (is_old and now < self.row["old_secret_until"])

    def why_invalid(self, now: datetime) -> str:
        """Return why the token is not accepted any more; empty where it is."""
        if self.row["revoked_at"] is not None:
            return "is revoked"
        expires_at = self.row["expires_at"]
        if expires_at is not None and expires_at <= now:
            return f"has expired, at {expires_at:%FT%TZ}"
        return ""


class Authentication:
    """Identifies callers by the API tokens of the database and by the token of the token file."""

    def __init__(self, sessions: Sessions, reading: Sessions, root_token: str) -> None:
        """``root_token`` is the token of the token file; empty where there is none."""
        self._sessions = sessions
        self._reading = reading
        self._root_hash = hash_secret(root_token) if root_token else ""
        self._cache: dict[str, _ApiToken] = {}
        self._read_at = float("-inf")
        self._invalidations = 0
        self._cache_lock = asyncio.Lock()
        self._last_uses: dict[str, datetime] = {}

    @property
    def has_root(self) -> bool:
        return bool(self._root_hash)

    async def authenticate(self, authorization: str) -> Caller:
        """Return the caller that the ``Authorization`` header identifies.

        Raises `Unauthorized` and `Unavailable`.
        """
        secret = _bearer(authorization)
        if self._root_hash and are_equal(hash_secret(secret), self._root_hash):
            return ROOT
        stored = await self._stored()
        if not self._root_hash and not stored:
            return ANONYMOUS
        if not secret:
            raise Unauthorized("the header Authorization: Bearer <API token> is required")
        return self._caller(Credential.parse(secret), stored)

    async def is_valid(self, caller: Caller) -> bool:
        """Return whether a caller would be authenticated again, with the same grants."""
        if caller == ROOT:
            return True
        stored = await self._stored()
        if caller == ANONYMOUS:
            return not stored
        token = stored.get(caller.api_token_id)
        return (
            token is not None
            and token.caller == caller
            and not token.why_invalid(datetime.now(UTC))
        )

    def invalidate(self) -> None:
        """Read the API tokens again at the next call, because one has changed."""
        self._invalidations += 1
        self._read_at = float("-inf")

    async def run(self) -> None:
        """Store the last uses of API tokens until cancelled; an outage only delays that."""
        while True:
            await asyncio.sleep(_STORE_SECONDS)
            uses, self._last_uses = self._last_uses, {}
            try:
                if uses:
                    await self._store_uses(uses)
            except Unavailable as error:
                log.warning("api_tokens.last_uses_unstored", extra={"error": str(error)})
                self._last_uses = uses | self._last_uses

    async def _store_uses(self, uses: Mapping[str, datetime]) -> None:
        async with transaction(self._sessions) as session:
            for id, at in uses.items():
                is_newer = sa.or_(_ROW.last_used_at.is_(None), _ROW.last_used_at < at)
                change = tables.api_tokens.update().where(_ROW.id == id, is_newer)
                await session.execute(change.values(last_used_at=at))

    async def _stored(self) -> Mapping[str, _ApiToken]:
        """Return the API tokens by id, from the cache or the database."""
        async with self._cache_lock:
            if time.monotonic() - self._read_at > _CACHE_SECONDS:
                read_at, invalidations = time.monotonic(), self._invalidations
                async with transaction(self._reading) as session:
                    rows = (await session.execute(sa.select(tables.api_tokens))).mappings()
                    self._cache = {row["id"]: _ApiToken.of(row) for row in rows}
                # A change that was committed during the query may be missing from its result.
                if invalidations == self._invalidations:
                    self._read_at = read_at
            return self._cache

    def _caller(self, credential: Credential | None, stored: Mapping[str, _ApiToken]) -> Caller:
        """Raises `Unauthorized`; only the holder of the secret learns why a token is invalid."""
        token = stored.get(credential.id) if credential else None
        now = datetime.now(UTC)
        if credential is None or token is None or not token.matches(credential, now):
            raise Unauthorized("the API token is unknown")
        if reason := token.why_invalid(now):
            raise Unauthorized(f'API token "{token.caller.name}" {reason}')
        self._last_uses[token.caller.api_token_id] = now
        return token.caller


def claimed_caller(authorization: str) -> Caller:
    """Return an unauthenticated caller with the id of the API token that it claims to have.

    The rest of the credential may be the real secret except for a letter, so only the id is kept.
    """
    credential = Credential.parse(authorization.partition(" ")[2].strip())
    return Caller("", (), credential.id) if credential else UNAUTHENTICATED


def parse_grant(body: GrantBody) -> Grant:
    """Raises `Invalid` where the parts of the scope name no level."""
    scope = Scope(body.domain, body.project, body.workflow, body.launch_plan)
    return Grant(Role[body.role.upper()], scope, frozenset(body.kinds))


def _bearer(authorization: str) -> str:
    scheme, _, secret = authorization.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""
