"""Transactions, and what is left of those that are cancelled."""

import asyncio

import sqlalchemy as sa

from tests.databases import BOTH
from trimtab.database import Sessions, sessions_of, transaction

SLOW = {
    "sqlite": """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
        SELECT sum(i) FROM n UNION ALL SELECT 1""",
    "postgresql": "SELECT pg_sleep(0.5)",
}
"""Long enough to be cancelled within; on SQLite also with an answer of more than one row."""


async def read_slowly(sessions: Sessions, backend: str, begun: asyncio.Event) -> None:
    async with transaction(sessions) as session:
        await session.execute(sa.text("INSERT INTO numbers VALUES (1)"))
        begun.set()
        await session.execute(sa.text(SLOW[backend]))


@BOTH
async def test_a_writer_that_is_cancelled_within_a_statement_holds_up_nobody(
    database_url: str, backend: str
) -> None:
    sessions, begun = sessions_of(database_url), asyncio.Event()
    async with transaction(sessions) as session:
        await session.execute(sa.text("CREATE TABLE numbers (number INTEGER)"))
    reading = asyncio.create_task(read_slowly(sessions, backend, begun))
    await begun.wait()
    await asyncio.sleep(0.05)
    reading.cancel()
    # Its traceback is alive, and with it the cursor.
    [_cancelled] = await asyncio.gather(reading, return_exceptions=True)
    async with asyncio.timeout(8), transaction(sessions) as session:
        assert await session.scalar(sa.text("SELECT count(*) FROM numbers")) == 0
    await sessions.kw["bind"].dispose()
