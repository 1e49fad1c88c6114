"""The audit trail: refused calls, changes of API tokens, forced releases and confirmed prunes."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.api.access import AuditBody
from trimtab_admin import slices
from trimtab_admin.access.call import Call
from trimtab_admin.paging import Page
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import Sessions, transaction

_ROW = tables.audit_trail.c
_MAX_TEXT = 500
_LENGTHS = {
    column.name: column.type.length or _MAX_TEXT
    for column in tables.audit_trail.columns
    if isinstance(column.type, sa.String)
}


@dataclass(frozen=True)
class AuditEntry:
    """One row of the audit trail: a call and its outcome."""

    status: int
    client: str
    caller: str
    token: str
    """The id of the API token."""
    method: str
    path: str
    scope: str
    reason: str
    request_id: str

    @classmethod
    def of(cls, call: Call, status: int, reason: str = "", *, scope: str = "") -> "AuditEntry":
        return cls(
            status=status,
            client=call.peer,
            caller=call.caller.name,
            token=call.caller.api_token_id,
            method=call.method,
            path=call.path,
            scope=scope,
            reason=reason,
            request_id=call.request_id,
        )


@dataclass(frozen=True)
class AuditLimits:
    """How much of the audit trail is retained."""

    rows: int
    age: timedelta


@dataclass(frozen=True)
class AuditFilter:
    """The entries that are listed; a field that is empty matches all."""

    status: int | None = None
    caller: str = ""
    client: str = ""
    since: datetime | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        equal = {"status": self.status, "caller": self.caller, "client": self.client}
        conditions = [_ROW[name] == value for name, value in equal.items() if value]
        return conditions if self.since is None else [*conditions, _ROW.at >= self.since]


class AuditTrail:
    """Appends and lists entries. Each append deletes the rows that exceed the limits."""

    def __init__(self, sessions: Sessions, reading: Sessions, limits: AuditLimits) -> None:
        self._sessions = sessions
        self._reading = reading
        self._limits = limits

    async def add(self, entry: AuditEntry) -> None:
        """Append in a separate transaction. Raises `trimtab.errors.Unavailable`."""
        async with transaction(self._sessions) as session:
            await self.add_to(session, entry)

    async def add_to(self, session: AsyncSession, entry: AuditEntry) -> None:
        """Append within the caller's transaction."""
        now = datetime.now(UTC)
        row = {name: _fit(name, value) for name, value in asdict(entry).items()}
        added = await session.execute(
            tables.audit_trail.insert().returning(_ROW.id), {**row, "at": now}
        )
        newest = added.scalar_one()
        too_many = _ROW.id <= newest - self._limits.rows
        too_old = _ROW.at < now - self._limits.age
        await session.execute(tables.audit_trail.delete().where(sa.or_(too_many, too_old)))

    async def list(self, matching: AuditFilter, before: int | None, limit: int) -> Page[AuditBody]:
        """Return entries with an id less than ``before``, the newest first."""
        query = sa.select(tables.audit_trail).where(*matching.conditions()).order_by(_ROW.id.desc())
        if before is not None:
            query = query.where(_ROW.id < before)
        async with transaction(self._reading) as session:
            rows = (await session.execute(query.limit(limit + 1))).mappings().all()
        items: list[AuditBody] = []
        async for part in slices.of(rows[:limit]):
            items += [AuditBody(**row) for row in part]
        return Page(items, str(items[-1].id) if len(rows) > limit else None)


def _fit(name: str, value: str | int) -> str | int:
    """Cut text to its column's length; PostgreSQL stores no NUL. The caller chose the text."""
    if isinstance(value, int):
        return value
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}")[: _LENGTHS[name]]
