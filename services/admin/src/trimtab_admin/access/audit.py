"""The audit trail: refused calls, changes of tokens, what admins took away; as far back as kept."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from trimtab.api.access import AuditBody
from trimtab_admin.access.rights import Caller
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
class Who:
    """As far as it is known: the name and the id of a token."""

    name: str = ""
    token: str = ""

    @classmethod
    def is_(cls, caller: Caller) -> "Who":
        return cls(caller.name, caller.token)


@dataclass(frozen=True)
class Entry:
    """One call."""

    status: int
    client: str
    caller: str
    token: str
    method: str
    path: str
    scope: str
    reason: str
    request_id: str

    @classmethod
    def of(
        cls, call: HTTPConnection, status: int, reason: str = "", *, who: Who, scope: str = ""
    ) -> "Entry":
        return cls(
            status=status,
            client=call.client.host if call.client else "",
            caller=who.name,
            token=who.token,
            method=call.scope["method"],
            path=call.scope["path"],
            scope=scope,
            reason=reason,
            request_id=call.state.request_id,
        )


@dataclass(frozen=True)
class Kept:
    """How much of the trail: no more rows than that, and none that is older."""

    rows: int
    age: timedelta


@dataclass(frozen=True)
class Asked:
    """Which entries are listed; what is empty does not matter."""

    status: int | None = None
    caller: str = ""
    client: str = ""
    since: datetime | None = None

    def where(self) -> list[sa.ColumnElement[bool]]:
        equal = {"status": self.status, "caller": self.caller, "client": self.client}
        conditions = [_ROW[name] == value for name, value in equal.items() if value]
        return conditions if self.since is None else [*conditions, _ROW.at >= self.since]


class Audit:
    """Appends and reads; what is too old goes as new entries come."""

    def __init__(self, sessions: Sessions, reading: Sessions, kept: Kept) -> None:
        self._sessions = sessions
        self._reading = reading
        self._kept = kept

    async def add(self, entry: Entry) -> None:
        """In a transaction of its own. Raises `trimtab.errors.Unavailable`."""
        async with transaction(self._sessions) as session:
            await self.add_to(session, entry)

    async def add_to(self, session: AsyncSession, entry: Entry) -> None:
        """As a part of the caller's transaction."""
        now = datetime.now(UTC)
        row = {name: _cut(name, value) for name, value in asdict(entry).items()}
        added = await session.execute(
            tables.audit_trail.insert().returning(_ROW.id), {**row, "at": now}
        )
        newest = added.scalar_one()
        too_many = _ROW.id <= newest - self._kept.rows
        too_old = _ROW.at < now - self._kept.age
        await session.execute(tables.audit_trail.delete().where(sa.or_(too_many, too_old)))

    async def list(self, asked: Asked, before: int | None, limit: int) -> Page[AuditBody]:
        """The newest first, of those with a smaller id than ``before``."""
        query = sa.select(tables.audit_trail).where(*asked.where()).order_by(_ROW.id.desc())
        if before is not None:
            query = query.where(_ROW.id < before)
        async with transaction(self._reading) as session:
            rows = (await session.execute(query.limit(limit + 1))).mappings().all()
        items = [AuditBody(**row) for row in rows[:limit]]
        return Page(items, str(items[-1].id) if len(rows) > limit else None)


def _cut(name: str, value: str | int) -> str | int:
    """The caller chose the text; PostgreSQL stores no NUL, nor more than a column takes."""
    if isinstance(value, int):
        return value
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}")[: _LENGTHS[name]]
