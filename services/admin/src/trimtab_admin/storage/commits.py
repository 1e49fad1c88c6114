"""How a change is stored: its outbox rows, what lives after it and its history, or none of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from opentelemetry import trace
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab_admin.access.rights import Caller
from trimtab_admin.settings.nouns import place_of
from trimtab_admin.storage import outbox
from trimtab_admin.storage.database import Sessions, ask, in_one_go, is_postgresql
from trimtab_admin.storage.outbox import Write
from trimtab_admin.storage.tables import history

# Kept, as those of the outbox are.
_LIVE = outbox.settings.c
_STORED = sa.select(_LIVE.body).where(_LIVE.subject == sa.bindparam("about"))
_RECORD = history.insert().values(before=_STORED.scalar_subquery())

# All parts see the database as it was before the statement, and none has a row to write unless the
# first one found the revision as it was read. What lives is looked up row by row: of a join
# PostgreSQL thinks that it is best made by reading the whole table.
_AT_ONCE = sa.text("""
WITH said AS (
    SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS said (
        revision bigint, commit_revision bigint, subject text, event_id text, event_type text,
        body text, traceparent text, newest boolean, deleted boolean,
        actor text, "at" timestamptz, reason text, request_id text, trace_id text,
        kind text, domain text, project text, workflow text, launch_plan text
    )
), advanced AS (
    UPDATE revision SET value = :after WHERE value = :before RETURNING value
), announced AS (
    INSERT INTO outbox
        (revision, commit_revision, subject, event_id, event_type, body, traceparent)
    SELECT revision, commit_revision, subject, event_id, event_type, body, traceparent
    FROM said, advanced
), removed AS (
    DELETE FROM settings
    WHERE subject = ANY (ARRAY(SELECT subject FROM said, advanced WHERE newest AND deleted))
), replaced AS (
    INSERT INTO settings (subject, revision, body)
    SELECT subject, revision, body FROM said, advanced WHERE newest AND NOT deleted
    ON CONFLICT (subject) DO UPDATE SET revision = excluded.revision, body = excluded.body
), recorded AS (
    INSERT INTO history
        (revision, commit_revision, subject, actor, "at", reason, before, after,
         request_id, trace_id, kind, domain, project, workflow, launch_plan)
    SELECT revision, commit_revision, subject, actor, "at", reason,
        (SELECT body FROM settings WHERE settings.subject = said.subject),
        CASE WHEN deleted THEN NULL ELSE body END,
        request_id, trace_id, kind, domain, project, workflow, launch_plan
    FROM said, advanced
)
SELECT count(*) FROM advanced
""").columns(sa.column("count", sa.Integer))


@dataclass(frozen=True)
class Author:
    """Who makes a change, and what is known about why."""

    caller: Caller
    reason: str = ""
    request_id: str = ""

    @property
    def actor(self) -> str:
        return self.caller.name


async def under_lock(
    session: AsyncSession, before: int, writes: Sequence[Write], author: Author
) -> None:
    """Within a transaction that has the lock since it read that revision."""
    connection = await session.connection()
    stored = await connection.run_sync(_in_parts, before, writes, author)
    assert stored, "the lock was not held"


async def at_once(sessions: Sessions, before: int, writes: Sequence[Write], author: Author) -> bool:
    """Unless the revision is another one by now. On PostgreSQL it is one statement."""
    if is_postgresql(sessions):
        return await _in_one(sessions, before, writes, author)
    return await in_one_go(sessions, lambda c: _in_parts(c, before, writes, author))


def _in_parts(connection: Connection, before: int, writes: Sequence[Write], author: Author) -> bool:
    if not outbox.advance(connection, before, len(writes)):
        return False
    records = [
        record
        | {"about": write.subject, "after": None if write.deleted else write.event.body().decode()}
        for write, record in zip(writes, _history(before, writes, author), strict=True)
    ]
    # What lives is still what was before.
    connection.execute(_RECORD, records)
    outbox.put(connection, before, writes)
    return True


async def _in_one(sessions: Sessions, before: int, writes: Sequence[Write], author: Author) -> bool:
    newest = {write.subject: number for number, write in enumerate(writes)}
    announced = outbox.rows(before, writes)
    rows = [
        row | record | {"newest": newest[write.subject] == number, "deleted": write.deleted}
        for number, (write, row, record) in enumerate(
            zip(writes, announced, _history(before, writes, author), strict=True)
        )
    ]
    said = json.dumps(rows, default=datetime.isoformat)
    after = before + len(writes)
    return bool(await ask(sessions, _AT_ONCE, {"rows": said, "before": before, "after": after}))


def _history(before: int, writes: Sequence[Write], author: Author) -> list[dict[str, object]]:
    """But for what was said before and after."""
    span = trace.get_current_span().get_span_context()
    return [
        {
            "revision": revision,
            "commit_revision": before + len(writes),
            "subject": write.subject,
            "actor": author.actor,
            "at": datetime.now(UTC),
            "reason": author.reason,
            "request_id": author.request_id,
            "trace_id": f"{span.trace_id:032x}" if span.is_valid else "",
            **place_of(write.subject),
        }
        for revision, write in enumerate(writes, before + 1)
    ]
