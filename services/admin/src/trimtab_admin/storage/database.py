"""Engines whose transactions are what the outbox needs, on SQLite and on PostgreSQL."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeVar

import aiosqlite
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.util.concurrency import greenlet_spawn, in_greenlet

from trimtab.errors import Rejected, Retryable, TrimtabError, Unavailable

_BEGIN_WRITING = "BEGIN IMMEDIATE"
_BUSY_MILLIS = 10_000
"""How long a writer waits for the others."""
_POOL_SECONDS = 10.0
_CONNECT_SECONDS = 5.0
_STATEMENT_SECONDS = 10
_MIGRATION_SECONDS = 3600
_IDLE_MILLIS = 2_500
"""How long a transaction may be left alone. A process that is stopped within one holds up every
writer for so long; what takes longer than that between two statements loses its transaction, unless
it said so."""

_LOGGED_PAGES = 10_000
"""Of four KiB: where so much of SQLite's log was not put away beside the loop, a commit does it."""
_PUT_AWAY = "PRAGMA wal_checkpoint(PASSIVE)"
_CHECKPOINT = sa.text(_PUT_AWAY)

_ALLOW_IDLE = sa.text("SELECT set_config('idle_in_transaction_session_timeout', :millis, true)")

_ALONE: Mapping[str, Mapping[str, Any]] = {
    "postgresql": {"isolation_level": "AUTOCOMMIT"},
    # Its driver is told to open no transactions anyway; ours is opened by `_begin`.
    "sqlite": {"begin": False},
}
"""Options of a connection whose statements stand alone."""

Sessions = async_sessionmaker[AsyncSession]
T = TypeVar("T")


def sessions_of(url: str) -> Sessions:
    """Sessions for writing: of two, the second one waits until the first has ended.

    On SQLite there is one connection, so a transaction must not be opened within another one. On
    PostgreSQL the order is that of `trimtab_admin.storage.outbox.lock`.
    """
    if _is_sqlite(url):
        # Waiters for a connection are served in their order. Those for the lock of SQLite's file
        # look now and then, and may be unlucky for seconds.
        return _on_sqlite(url, _BEGIN_WRITING, pool_size=1, connection=_Writing)
    return _on_postgresql(url, "READ COMMITTED", _STATEMENT_SECONDS)


def migrating_sessions_of(url: str) -> Sessions:
    """As `sessions_of`, for a schema that is brought up to date: a statement may take its time."""
    if _is_sqlite(url):
        return sessions_of(url)
    return _on_postgresql(url, "READ COMMITTED", _MIGRATION_SECONDS)


def reading_sessions_of(url: str) -> Sessions:
    """Sessions for reading, which no writer holds up; each sees one moment."""
    if _is_sqlite(url):
        return _on_sqlite(url, "BEGIN", pool_size=5, connection=_Reading)
    return _on_postgresql(url, "REPEATABLE READ", _STATEMENT_SECONDS)


@asynccontextmanager
async def transaction(sessions: Sessions) -> AsyncIterator[AsyncSession]:
    """Commits at the end, or rolls back.

    Raises `Unavailable` where it gets no answer, `Retryable` where somebody else wrote the same,
    and `Rejected` where the database cannot hold a value.
    """
    with _translating():
        async with sessions() as session:
            try:
                yield session
                await session.commit()
            except TimeoutError:
                # The answer may still come, and would be taken for that of the next statement.
                await session.invalidate()
                raise


async def allow_idle(session: AsyncSession, seconds: float) -> None:
    """Where PostgreSQL would sooner end a transaction that is left alone, it waits so long."""
    on_postgresql = session.get_bind().dialect.name == "postgresql"
    if on_postgresql and 1000 * seconds > _IDLE_MILLIS:
        await session.execute(_ALLOW_IDLE, {"millis": f"{1000 * seconds:.0f}"})


async def fetch_value(
    sessions: Sessions, question: sa.Executable, values: Mapping[str, object] | None = None
) -> Any:
    """The one value that a statement answers, which is a transaction of its own.

    It sees all that was committed before; on PostgreSQL it takes one round trip. Raises as
    `transaction`.
    """
    return await _alone(sessions, question, values, sa.CursorResult.scalar_one)


async def fetch_rows(
    sessions: Sessions, question: sa.Executable, values: Mapping[str, object] | None = None
) -> Sequence[sa.Row[*tuple[Any, ...]]]:
    """As `fetch_value`, of all that a statement answers."""
    return await _alone(sessions, question, values, sa.CursorResult.all)


async def _alone(
    sessions: Sessions,
    question: sa.Executable,
    values: Mapping[str, object] | None,
    take: Callable[[sa.CursorResult[Any]], T],
) -> T:
    engine: AsyncEngine = sessions.kw["bind"]

    def answer() -> T:
        with engine.sync_engine.connect() as connection, _invalidated_on_timeout(connection):
            connection.execution_options(**_ALONE[engine.dialect.name])
            return take(connection.execute(question, values))

    with _translating():
        # In one go, because each step of a connection has a greenlet made for it.
        return await greenlet_spawn(answer)


async def checkpoint(reading: Sessions) -> None:
    """Bring what SQLite has logged into its file; a thread waits for the disk, and no writer.

    PostgreSQL does that by itself. Raises as `transaction`.
    """
    if not is_postgresql(reading):
        await fetch_value(reading, _CHECKPOINT)


async def run_in_transaction(sessions: Sessions, do: Callable[[Connection], T]) -> T:
    """A transaction of what ``do`` does; on SQLite the loop takes no turn between its statements.

    Raises as `transaction`.
    """
    engine: AsyncEngine = sessions.kw["bind"]

    def done() -> T:
        with engine.sync_engine.begin() as connection, _invalidated_on_timeout(connection):
            return do(connection)

    with _translating():
        return await greenlet_spawn(done)


@contextmanager
def _invalidated_on_timeout(connection: Connection) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        # As in a transaction.
        connection.invalidate()
        raise


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise _translated(error) from error
    except PoolTimeout as error:
        raise Unavailable("every connection to the database is in use") from error
    except OSError as error:
        # PostgreSQL's driver leaves those of the network as they are.
        raise Unavailable(f"the database does not answer: {error or 'in time'}") from error


def _translated(error: DBAPIError) -> TrimtabError:
    reason = str(error.orig).strip().splitlines()[0]
    if isinstance(error, IntegrityError):
        return Retryable(f"somebody else has written the same at the same time: {reason}")
    # Of SQLSTATE, class 22 is "data exception"; SQLite has none.
    if str(getattr(error.orig, "sqlstate", "")).startswith("22"):
        return Rejected(f"the database cannot hold a value: {reason}")
    return Unavailable(f"the database does not answer: {reason}")


def is_postgresql(sessions: Sessions) -> bool:
    """Or else SQLite."""
    engine: AsyncEngine = sessions.kw["bind"]
    return engine.dialect.name == "postgresql"


def _is_sqlite(url: str) -> bool:
    return sa.make_url(url).get_backend_name() == "sqlite"


def _on_postgresql(url: str, isolation: str, statement_seconds: float) -> Sessions:
    engine = create_async_engine(
        url,
        pool_size=5,
        max_overflow=0,
        pool_timeout=_POOL_SECONDS,
        isolation_level=isolation,
        connect_args={
            "timeout": _CONNECT_SECONDS,
            # Later than the server's own limit, whose answer says more.
            "command_timeout": statement_seconds + 2,
            "server_settings": {
                "application_name": "trimtab",
                # Of the statements that stand alone too, whatever the database prefers.
                "default_transaction_isolation": isolation.lower(),
                "lock_timeout": f"{min(_BUSY_MILLIS, 1000 * statement_seconds):.0f}",
                "statement_timeout": f"{1000 * statement_seconds:.0f}",
                "idle_in_transaction_session_timeout": f"{_IDLE_MILLIS}",
            },
        },
    )
    return _sessions(engine)


class _Reading(aiosqlite.Connection):
    """Asks SQLite in the event loop, because a reader waits for nobody.

    The driver sends each call to a thread, four for a statement, and a thread that has its answer
    waits for the interpreter: that takes ten times as long as the answer.
    """

    # How many calls the thread was given and how many it has done: each counted on one side only.
    _given = 0
    _done = 0

    async def _connect(self) -> aiosqlite.Connection:
        try:
            return await super()._connect()
        except sqlite3.Error:
            # The driver's thread is about to end, with a word to the loop. A process that ends
            # because of this error may have closed it by then, and would end with a traceback.
            self._thread.join()
            raise

    async def _execute(self, fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
        # Behind a call whose caller was cancelled, which goes on, everything has to queue.
        if self._given == self._done and not self._waits(fn, args):
            return fn(*args, **options)
        return await self._in_thread(partial(fn, *args, **options))

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        def counted() -> Any:
            try:
                return call()
            finally:
                self._done += 1

        self._given += 1
        # The driver has no types here.
        return await super()._execute(counted)  # type: ignore[no-untyped-call]

    def _waits(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> bool:
        # The last connection that closes puts the log of writes away.
        return fn == self._conn.close or args[:1] == (_PUT_AWAY,)


class _Writing(_Reading):
    """Leaves to the driver's thread what may wait for other processes.

    A commit waits for nobody, and at this ``synchronous`` for the disk only when it has to put the
    log of writes away.
    """

    async def _execute(self, fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
        try:
            return await super()._execute(fn, *args, **options)
        except sqlite3.OperationalError as error:
            if args != (_BEGIN_WRITING, ()) or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
        return await self._in_thread(partial(self._wait_and_begin, fn))

    def _wait_and_begin(self, execute: Callable[..., Any]) -> Any:
        self._conn.execute(f"PRAGMA busy_timeout={_BUSY_MILLIS}")
        try:
            return execute(_BEGIN_WRITING)
        finally:
            self._conn.execute("PRAGMA busy_timeout=0")

    def _waits(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> bool:
        if fn.__name__ == "execute":
            return not args[0].startswith(("BEGIN", "SELECT", "INSERT", "UPDATE"))
        return super()._waits(fn, args)


def _on_sqlite(
    url: str, begin: str, pool_size: int, connection: type[aiosqlite.Connection]
) -> Sessions:
    def connected(path: str, **options: Any) -> aiosqlite.Connection:
        made = connection(lambda: sqlite3.connect(path, **options), 64)
        made._thread.daemon = True
        return made

    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        connect_args={"check_same_thread": False, "async_creator_fn": connected},
    )
    # The driver's own transactions begin at the first write, so that two sessions can read the
    # same value and both replace it, without an error.
    busy_millis = 0 if begin == _BEGIN_WRITING else _BUSY_MILLIS
    sa.event.listen(engine.sync_engine, "connect", lambda c, _record: _prepare(c, busy_millis))
    sa.event.listen(engine.sync_engine, "begin", lambda c: _begin(c, begin))
    sa.event.listen(engine.sync_engine, "close", _let_go)
    return _sessions(engine)


def _sessions(engine: AsyncEngine) -> Sessions:
    return async_sessionmaker(engine, expire_on_commit=False)


def _prepare(connection: Any, busy_millis: int) -> None:  # the DBAPI's connection has no type
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        f"wal_autocheckpoint={_LOGGED_PAGES}",
        f"busy_timeout={busy_millis}",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection, statement: str) -> None:
    if connection.get_execution_options().get("begin", True):
        connection.exec_driver_sql(statement)


def _let_go(connection: Any, _record: object) -> None:
    """Of a connection that is closed while a cursor is alive, SQLite keeps the transaction.

    Whoever was cancelled within a statement has left such a cursor in a traceback, and would hold
    up every writer until the garbage is collected.
    """
    if in_greenlet():
        connection.rollback()
