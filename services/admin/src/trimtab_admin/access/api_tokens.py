"""API tokens: created, listed, rotated and revoked. Each change has an entry in the audit trail."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab import kinds
from trimtab.api.access import NewTokenBody, TokenBody, TokenCreate, TokenRotate
from trimtab.errors import Conflict, Invalid, NotFound
from trimtab_admin.access.audit import AuditEntry, AuditTrail
from trimtab_admin.access.authentication import GRANTS, Authentication, Row, parse_grant
from trimtab_admin.access.authorization import ANONYMOUS, EVERYTHING, ROOT
from trimtab_admin.access.credentials import Credential
from trimtab_admin.settings.entities import check_scope
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.tree import Tree

_ROW = tables.api_tokens.c
_MAX_LIFETIME = timedelta(days=3660)
_RESERVED = frozenset({ROOT.name, ANONYMOUS.name})


class ApiTokens:
    """The API tokens of the database. Each method that changes one takes the entry of its call."""

    def __init__(
        self,
        sessions: Sessions,
        reading: Sessions,
        tree: Tree,
        trail: AuditTrail,
        authentication: Authentication,
    ) -> None:
        self._sessions = sessions
        self._reading = reading
        self._tree = tree
        self._trail = trail
        self._authentication = authentication

    async def list(self) -> Sequence[TokenBody]:
        """Return all API tokens, the oldest first, including revoked ones."""
        async with transaction(self._reading) as session:
            query = sa.select(tables.api_tokens).order_by(_ROW.created_at, _ROW.id)
            return [_body(row) for row in (await session.execute(query)).mappings()]

    async def check_caller(self, name: str) -> None:
        """Raise `NotFound`, with the nearest names, where no caller has ever had the name."""
        async with transaction(self._reading) as session:
            known = {*_RESERVED, *await session.scalars(sa.select(_ROW.name))}
        if name not in known:
            raise NotFound.among("caller", name, sorted(known))

    async def get(self, id: str) -> TokenBody:
        """Raises `NotFound`."""
        async with transaction(self._reading) as session:
            return _body(await _find(session, id))

    async def create(
        self, body: TokenCreate, entry: AuditEntry, *, dry_run: bool = False
    ) -> TokenBody:
        """Return a `NewTokenBody`; a dry run stores nothing, and returns no secret.

        Raises `Invalid`, `Conflict`, and `NotFound` where a grant names what does not exist.
        """
        credential, now = Credential.new(), datetime.now(UTC)
        row = {
            "id": credential.id,
            "name": body.name,
            "grants": GRANTS.dump_json(body.grants).decode(),
            "secret_hash": credential.hash,
            "created_at": now,
            "created_by": entry.caller,
            "expires_at": _parse_expiry(body.expires_at, now),
        }
        async with transaction(self._sessions, dry_run=dry_run) as session:
            await self._check_new(session, body)
            await session.execute(tables.api_tokens.insert(), row)
            created = await _find(session, credential.id)
            await self._audit(session, entry, created, "was created")
        self._authentication.invalidate()
        return _body(created) if dry_run else _new_body(created, credential)

    async def rotate(
        self, id: str, body: TokenRotate, entry: AuditEntry, *, dry_run: bool = False
    ) -> TokenBody:
        """Replace the secret. The previous one stays valid for the grace, earlier ones do not.

        Returns as `create` does. Raises `NotFound`, `Invalid`, and `Conflict` where the token is
        revoked or has expired.
        """
        credential, now = Credential.new(id), datetime.now(UTC)
        async with transaction(self._sessions, dry_run=dry_run) as session:
            row = await _find(session, id, lock=True)
            expires_at = _parse_expiry(body.expires_at, now) or row["expires_at"]
            if row["revoked_at"] is not None or (expires_at is not None and expires_at <= now):
                raise Conflict(
                    f'API token "{row["name"]}" is revoked or has expired and cannot be rotated; '
                    "create another one"
                )
            changes = {
                "secret_hash": credential.hash,
                "old_secret_hash": row["secret_hash"],
                "old_secret_until": now + timedelta(seconds=body.grace_seconds),
                "rotated_at": now,
                "expires_at": expires_at,
            }
            await session.execute(tables.api_tokens.update().where(_ROW.id == id), changes)
            rotated = await _find(session, id)
            await self._audit(session, entry, rotated, "was rotated")
        self._authentication.invalidate()
        return _body(rotated) if dry_run else _new_body(rotated, credential)

    async def revoke(self, id: str, entry: AuditEntry, *, dry_run: bool = False) -> TokenBody:
        """Revoke the token permanently; idempotent. Raises `NotFound`."""
        async with transaction(self._sessions, dry_run=dry_run) as session:
            is_live = sa.and_(_ROW.id == id, _ROW.revoked_at.is_(None))
            change = tables.api_tokens.update().where(is_live)
            await session.execute(change.values(revoked_at=datetime.now(UTC)))
            revoked = await _find(session, id)
            await self._audit(session, entry, revoked, "was revoked")
        self._authentication.invalidate()
        return _body(revoked)

    async def _audit(self, session: AsyncSession, entry: AuditEntry, row: Row, change: str) -> None:
        reason = f'API token "{row["name"]}" ({row["id"]}) {change}'
        await self._trail.add_to(session, replace(entry, reason=reason))

    async def _check_new(self, session: AsyncSession, body: TokenCreate) -> None:
        # Locked, so that only one token can be the first.
        settings = await self._tree.locked(session)
        taken = await session.scalar(sa.select(_ROW.id).where(_ROW.name == body.name))
        if body.name in _RESERVED or taken is not None:
            raise Conflict(
                f'API token "{body.name}" exists or existed; history identifies callers by name'
            )
        is_first = await session.scalar(sa.select(_ROW.id).limit(1)) is None
        grants = [parse_grant(grant) for grant in body.grants]
        for grant in grants:
            for kind in grant.kinds:
                kinds.by_name(kind)
            check_scope(settings, grant.scope)
        is_permanent_admin = body.expires_at is None and EVERYTHING[0] in grants
        if is_first and not self._authentication.has_root and not is_permanent_admin:
            raise Invalid(
                "grants",
                "; ".join(map(str, grants)),
                "admin of the platform, without an expiry: without a token file, the first API "
                "token closes the API to all callers that have none",
            )


def _parse_expiry(expires_at: datetime | None, now: datetime) -> datetime | None:
    """Return the time in UTC. Raises `Invalid`."""
    if expires_at is None:
        return None
    if not now < expires_at < now + _MAX_LIFETIME:
        raise Invalid("expires_at", expires_at.isoformat(), "a time in the next ten years")
    return expires_at.astimezone(UTC)


async def _find(session: AsyncSession, id: str, *, lock: bool = False) -> Row:
    """Raises `NotFound`."""
    query = sa.select(tables.api_tokens).where(_ROW.id == id)
    found = await session.execute(query.with_for_update() if lock else query)
    row = found.mappings().first()
    if row is None:
        raise NotFound("API token", id)
    return row


def _fields(row: Row) -> dict[str, Any]:
    private = {"secret_hash", "old_secret_hash"}
    fields = {name: value for name, value in row.items() if name not in private}
    return {**fields, "grants": GRANTS.validate_json(row["grants"])}


def _body(row: Row) -> TokenBody:
    return TokenBody(**_fields(row))


def _new_body(row: Row, credential: Credential) -> NewTokenBody:
    return NewTokenBody(**_fields(row), secret=str(credential))
