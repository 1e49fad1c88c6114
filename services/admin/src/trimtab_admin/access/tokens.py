"""API tokens: made, rotated, revoked, and recognized at each call.

What is stored is held in memory for a second, because every call asks for it: a revocation holds
at once at the admin that took it, and within that second at the others.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab import kinds
from trimtab.api.access import GrantBody, NewTokenBody, TokenBody, TokenCreate, TokenRotate
from trimtab.errors import Conflict, Invalid, NotFound, Unauthorized, Unavailable
from trimtab.levels import Scope
from trimtab_admin.access.audit import Audit, Entry
from trimtab_admin.access.credentials import Credential, hash_of, same
from trimtab_admin.access.rights import ANONYMOUS, EVERYTHING, ROOT, Caller, Grant, Role
from trimtab_admin.settings.entities import check_scope
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.tree import Tree

log = logging.getLogger(__name__)

_ROW = tables.api_tokens.c
_HELD_SECONDS = 1.0
_STORE_SECONDS = 2.0
_MAX_LIFE = timedelta(days=3660)
_RESERVED = frozenset({ROOT.name, ANONYMOUS.name})
_GRANTS = TypeAdapter(tuple[GrantBody, ...])
_NEEDED = "the header Authorization: Bearer <token> is needed"

Row = Mapping[Any, Any]
"""Of the table; `sqlalchemy.RowMapping` says no more."""


@dataclass(frozen=True)
class _Held:
    row: Row
    caller: Caller

    @classmethod
    def of(cls, row: Row) -> "_Held":
        grants = tuple(_grant(grant) for grant in _GRANTS.validate_json(row["grants"]))
        return cls(row, Caller(row["name"], grants, row["id"]))

    def over(self, now: datetime) -> str:
        """Why the token is not taken any more; empty where it is."""
        if self.row["revoked_at"] is not None:
            return "is revoked"
        expires_at = self.row["expires_at"]
        if expires_at is not None and expires_at <= now:
            return f"has expired, at {expires_at:%FT%TZ}"
        return ""


class Tokens:
    """Those of the database, beside the one of the token file."""

    def __init__(
        self, sessions: Sessions, reading: Sessions, tree: Tree, audit: Audit, root: str
    ) -> None:
        """``root`` is the secret of the token file; empty where there is none."""
        self._sessions = sessions
        self._reading = reading
        self._tree = tree
        self._audit = audit
        self._root_hash = hash_of(root) if root else ""
        self._held: dict[str, _Held] = {}
        self._read_at = float("-inf")
        self._changes = 0
        self._reading_now = asyncio.Lock()
        self._used: dict[str, datetime] = {}

    async def caller(self, authorization: str) -> Caller:
        """Who brings this header. Raises `Unauthorized` and `Unavailable`."""
        scheme, _, given = authorization.partition(" ")
        given = given.strip() if scheme.lower() == "bearer" else ""
        if self._root_hash and same(hash_of(given), self._root_hash):
            return ROOT
        held = await self._current()
        if not self._root_hash and not held:
            return ANONYMOUS
        if not given:
            raise Unauthorized(_NEEDED)
        return self._known(Credential.parse(given), held)

    async def list(self) -> Sequence[TokenBody]:
        """The oldest first, with those that were revoked."""
        async with transaction(self._reading) as session:
            query = sa.select(tables.api_tokens).order_by(_ROW.created_at, _ROW.id)
            return [_body(row) for row in (await session.execute(query)).mappings()]

    async def get(self, id: str) -> TokenBody:
        """Raises `NotFound`."""
        async with transaction(self._reading) as session:
            return _body(await _stored(session, id))

    async def create(self, body: TokenCreate, note: Entry) -> NewTokenBody:
        """Raises `Invalid`, `NotFound` for a place or kind that there is not, and `Conflict`."""
        credential, now = Credential.new(), datetime.now(UTC)
        row = {
            "id": credential.id,
            "name": body.name,
            "grants": _GRANTS.dump_json(body.grants).decode(),
            "secret_hash": credential.hash,
            "created_at": now,
            "created_by": note.caller,
            "expires_at": _expiry(body.expires_at, now),
        }
        async with transaction(self._sessions) as session:
            await self._check_new(session, body)
            await session.execute(tables.api_tokens.insert(), row)
            created = await _stored(session, credential.id)
            await self._note(session, note, created, "was made")
        self._forget()
        return _new_body(created, credential)

    async def rotate(self, id: str, body: TokenRotate, note: Entry) -> NewTokenBody:
        """A new secret; the one before is taken for a while longer, one before that no more.

        Raises `NotFound`, `Invalid`, and `Conflict` where the token is revoked or has expired.
        """
        credential, now = Credential.new(id), datetime.now(UTC)
        async with transaction(self._sessions) as session:
            row = await _stored(session, id, lock=True)
            expires_at = _expiry(body.expires_at, now) or row["expires_at"]
            if row["revoked_at"] is not None or (expires_at is not None and expires_at <= now):
                raise Conflict(f"token {row['name']!r} is over, and stays so; make another one")
            changes = {
                "secret_hash": credential.hash,
                "old_secret_hash": row["secret_hash"],
                "old_secret_until": now + timedelta(seconds=body.grace_seconds),
                "rotated_at": now,
                "expires_at": expires_at,
            }
            await session.execute(tables.api_tokens.update().where(_ROW.id == id), changes)
            rotated = await _stored(session, id)
            await self._note(session, note, rotated, "got a new secret")
        self._forget()
        return _new_body(rotated, credential)

    async def revoke(self, id: str, note: Entry) -> TokenBody:
        """For ever; once more is fine. Raises `NotFound`."""
        async with transaction(self._sessions) as session:
            living = sa.and_(_ROW.id == id, _ROW.revoked_at.is_(None))
            change = tables.api_tokens.update().where(living)
            await session.execute(change.values(revoked_at=datetime.now(UTC)))
            revoked = await _stored(session, id)
            await self._note(session, note, revoked, "was revoked")
        self._forget()
        return _body(revoked)

    async def holds(self, caller: Caller) -> bool:
        """Whether a caller who was known is so still, with the same grants."""
        if caller == ROOT:
            return True
        tokens = await self._current()
        if caller == ANONYMOUS:
            return not tokens
        held = tokens.get(caller.token)
        return held is not None and held.caller == caller and not held.over(datetime.now(UTC))

    async def run(self) -> None:
        """Store when tokens were used, until cancelled; an outage only makes that wait."""
        while True:
            await asyncio.sleep(_STORE_SECONDS)
            used, self._used = self._used, {}
            try:
                if used:
                    await self._store_uses(used)
            except Unavailable as error:
                log.warning("tokens.uses_unstored", extra={"error": str(error)})
                self._used = used | self._used

    async def _store_uses(self, used: Mapping[str, datetime]) -> None:
        async with transaction(self._sessions) as session:
            for id, at in used.items():
                newer = sa.or_(_ROW.last_used_at.is_(None), _ROW.last_used_at < at)
                change = tables.api_tokens.update().where(_ROW.id == id, newer)
                await session.execute(change.values(last_used_at=at))

    async def _current(self) -> Mapping[str, _Held]:
        async with self._reading_now:
            if time.monotonic() - self._read_at > _HELD_SECONDS:
                # A change of ours that comes while the answer is on its way may not be in it.
                read_at, changes = time.monotonic(), self._changes
                async with transaction(self._reading) as session:
                    rows = (await session.execute(sa.select(tables.api_tokens))).mappings()
                    self._held = {row["id"]: _Held.of(row) for row in rows}
                if changes == self._changes:
                    self._read_at = read_at
            return self._held

    async def _note(self, session: AsyncSession, note: Entry, row: Row, what: str) -> None:
        reason = f"token {row['name']!r} ({row['id']}) {what}"
        await self._audit.add_to(session, replace(note, reason=reason))

    def _forget(self) -> None:
        self._changes += 1
        self._read_at = float("-inf")

    def _known(self, credential: Credential | None, held: Mapping[str, _Held]) -> Caller:
        """Raises `Unauthorized`, and says what is wrong only to who has the secret."""
        found = held.get(credential.id) if credential else None
        now = datetime.now(UTC)
        if credential is None or found is None or not _matches(credential, found.row, now):
            raise Unauthorized("this token is not known")
        if over := found.over(now):
            raise Unauthorized(f"token {found.caller.name!r} {over}")
        self._used[found.row["id"]] = now
        return found.caller

    async def _check_new(self, session: AsyncSession, body: TokenCreate) -> None:
        # Locked, because only one can be the first.
        settings = await self._tree.locked(session)
        taken = await session.scalar(sa.select(_ROW.id).where(_ROW.name == body.name))
        if body.name in _RESERVED or taken is not None:
            raise Conflict(f"{body.name!r} is or was another token; history must tell them apart")
        first = await session.scalar(sa.select(_ROW.id).limit(1)) is None
        for grant in body.grants:
            for kind in grant.kinds:
                kinds.by_name(kind)
            check_scope(settings, _grant(grant).scope)
        lasts = body.expires_at is None and EVERYTHING[0] in map(_grant, body.grants)
        if first and not self._root_hash and not lasts:
            granted = "; ".join(str(_grant(grant)) for grant in body.grants)
            allowed = "an admin of the platform that never expires: from the first token on"
            raise Invalid("grants", granted, f"{allowed} nobody else gets in without a token file")


def _matches(credential: Credential, row: Row, now: datetime) -> bool:
    given = credential.hash
    is_new = same(given, row["secret_hash"])
    is_old = same(given, row["old_secret_hash"] or "")
    return is_new or (is_old and now < row["old_secret_until"])


def _grant(body: GrantBody) -> Grant:
    """Raises `Invalid`."""
    scope = Scope(body.domain, body.project, body.workflow, body.launch_plan)
    return Grant(Role[body.role.upper()], scope, frozenset(body.kinds))


def _expiry(given: datetime | None, now: datetime) -> datetime | None:
    """Raises `Invalid`."""
    if given is not None and not now < given < now + _MAX_LIFE:
        raise Invalid("expires_at", given.isoformat(), "a time to come, in ten years at most")
    return given and given.astimezone(UTC)


async def _stored(session: AsyncSession, id: str, *, lock: bool = False) -> Row:
    query = sa.select(tables.api_tokens).where(_ROW.id == id)
    found = await session.execute(query.with_for_update() if lock else query)
    row = found.mappings().first()
    if row is None:
        raise NotFound("token", id)
    return row


def _fields(row: Row) -> dict[str, Any]:
    private = {"secret_hash", "old_secret_hash"}
    fields = {name: value for name, value in row.items() if name not in private}
    return {**fields, "grants": _GRANTS.validate_json(row["grants"])}


def _body(row: Row) -> TokenBody:
    return TokenBody(**_fields(row))


def _new_body(row: Row, credential: Credential) -> NewTokenBody:
    return NewTokenBody(**_fields(row), secret=str(credential))
