"""Engines whose transactions are what the outbox needs, on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from trimtab.errors import Unavailable

_BUSY_MILLIS = 10_000

Sessions = async_sessionmaker[AsyncSession]


def sessions_of(url: str) -> Sessions:
    """Sessions for writing: of two, the second one waits until the first has ended.

    On SQLite there is one connection, so a transaction must not be opened within another one.
    """
    # Waiters for a connection are served in their order. Those for the lock of SQLite's file look
    # now and then, and may be unlucky for seconds.
    sqlite = sa.make_url(url).get_backend_name() == "sqlite"
    return _sessions(url, "BEGIN IMMEDIATE", pool_size=1 if sqlite else 5)


def reading_sessions_of(url: str) -> Sessions:
    """Sessions for reading, which no writer holds up."""
    return _sessions(url, "BEGIN", pool_size=5)


@asynccontextmanager
async def transaction(sessions: Sessions) -> AsyncIterator[AsyncSession]:
    """Commits at the end, or rolls back. Raises `Unavailable` where it gets no answer."""
    try:
        async with sessions.begin() as session:
            yield session
    except DBAPIError as error:
        raise Unavailable(f"the database does not answer: {error.orig}") from error
    except PoolTimeout as error:
        raise Unavailable("every connection to the database is in use") from error


def _sessions(url: str, begin: str, pool_size: int) -> Sessions:
    engine = create_async_engine(url, pool_size=pool_size, max_overflow=0)
    if engine.dialect.name == "sqlite":
        # The driver's own transactions begin at the first write, so that two sessions can read the
        # same value and both replace it, without an error.
        sa.event.listen(engine.sync_engine, "connect", _prepare)
        sa.event.listen(engine.sync_engine, "begin", lambda c: _begin(c, begin))
    return async_sessionmaker(engine, expire_on_commit=False)


def _prepare(connection: Any, _record: object) -> None:  # the DBAPI's connection has no type
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        f"busy_timeout={_BUSY_MILLIS}",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement)
