"""Engines and transactions on SQLite and PostgreSQL, with the guarantees that the outbox needs.

Writers run one after the other; readers see one moment and never wait for a writer.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from functools import cache, partial
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
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.util.concurrency import greenlet_spawn, in_greenlet

from trimtab.errors import Rejected, Retryable, TrimtabError, Unavailable

_BEGIN_WRITING = "BEGIN IMMEDIATE"
_BUSY_MILLIS = 10_000
"""How long a writer waits for another one."""
SHORT_COMMIT_ROWS = 10_000
"""A commit of so many changed rows takes SQLite about 20 ms."""
_POOL_SECONDS = 10.0
_CONNECT_SECONDS = 5.0
_STATEMENT_SECONDS = 10
_MIGRATION_SECONDS = 3600
_IDLE_MILLIS = 2_500
"""How long a transaction may be idle on PostgreSQL before the server ends it.

A process that is stopped within a transaction blocks every writer for so long. A caller that needs
more time between two statements calls `allow_idle`."""
_MIGRATION_IDLE_MILLIS = 60_000
"""The same for a migration, which happens before any writer is served."""

_AUTOCHECKPOINT_PAGES = 10_000
"""Pages of 4 KiB in SQLite's write-ahead log at which a commit checkpoints the log itself.

`checkpoint` runs often enough that no commit has to."""
_CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"

_ALLOW_IDLE = sa.text("SELECT set_config('idle_in_transaction_session_timeout', :millis, true)")

_AUTOCOMMIT: Mapping[str, Mapping[str, Any]] = {
    "postgresql": {"isolation_level": "AUTOCOMMIT"},
    # `_prepare` stops the driver from opening transactions, so only `_begin` opens one.
    "sqlite": {"begin": False},
}
"""Options of a connection, by dialect, on which each statement is a transaction of its own."""

Sessions = async_sessionmaker[AsyncSession]
T = TypeVar("T")


def sessions_of(url: str) -> Sessions:
    """Make sessions for writing: a second writer waits until the first one has ended.

    On SQLite there is one connection, so a task must not open a transaction within another one. On
    PostgreSQL, `trimtab_admin.storage.outbox.lock` makes the second writer wait.
    """
    if _is_sqlite(url):
        # The pool serves waiters in order. Waiters for the lock of SQLite's file only poll it, so
        # one of them may fail to get it for seconds.
        return _on_sqlite(url, _BEGIN_WRITING, pool_size=1, connection=_WritingConnection)
    return _on_postgresql(url, "READ COMMITTED", _STATEMENT_SECONDS, _IDLE_MILLIS)


def server_of(sessions: Sessions) -> tuple[str, str]:
    """Return the address of the database without user and password, and its version.

    The version is empty before the first connection.
    """
    engine: AsyncEngine = sessions.kw["bind"]
    full = engine.url
    # `URL.set` would leave a user and a password that are set to None.
    url = sa.URL.create(
        full.get_backend_name(), host=full.host, port=full.port, database=full.database
    )
    version = engine.dialect.server_version_info or ()
    return url.render_as_string(), ".".join(map(str, version))


def migrating_sessions_of(url: str) -> Sessions:
    """Make sessions for writing in which a statement may run for as long as a migration takes."""
    if _is_sqlite(url):
        return sessions_of(url)
    return _on_postgresql(url, "READ COMMITTED", _MIGRATION_SECONDS, _MIGRATION_IDLE_MILLIS)


def reading_sessions_of(url: str) -> Sessions:
    """Make sessions for reading: no writer blocks them, and each transaction sees one moment."""
    if _is_sqlite(url):
        return _on_sqlite(url, "BEGIN", pool_size=5, connection=_InlineConnection)
    return _on_postgresql(url, "REPEATABLE READ", _STATEMENT_SECONDS, _IDLE_MILLIS)


def searching_sessions_of(url: str) -> Sessions:
    """Make sessions for reading whose queries may look at many rows, such as a search of history.

    On SQLite, the driver's thread executes them, so that the event loop serves other calls.
    """
    if _is_sqlite(url):
        return _on_sqlite(url, "BEGIN", pool_size=3, connection=aiosqlite.Connection)
    return reading_sessions_of(url)


@asynccontextmanager
async def transaction(sessions: Sessions, *, dry_run: bool = False) -> AsyncIterator[AsyncSession]:
    """Open a transaction that commits at the end of the block, or rolls back on an error.

    A dry run always rolls back. Raises `Unavailable` if the database does not respond, `Retryable`
    if a concurrent transaction wrote the same, and `Rejected` if the database cannot store a value.
    """
    with _translate_errors():
        async with sessions() as session:
            try:
                yield session
                await (session.rollback() if dry_run else session.commit())
            except TimeoutError:
                # A late response would be taken for the response to the next statement.
                await session.invalidate()
                raise


async def allow_idle(session: AsyncSession, seconds: float) -> None:
    """Let PostgreSQL wait at least so long before it ends this transaction for being idle."""
    on_postgresql = session.get_bind().dialect.name == "postgresql"
    if on_postgresql and 1000 * seconds > _IDLE_MILLIS:
        await session.execute(_ALLOW_IDLE, {"millis": f"{1000 * seconds:.0f}"})


async def fetch_value(
    sessions: Sessions, query: sa.Executable, values: Mapping[str, object] | None = None
) -> Any:
    """Execute a statement that returns one value, as a transaction of its own.

    It sees everything that was committed before; on PostgreSQL it takes one round trip. Raises the
    errors of `transaction`.
    """
    return await _execute_alone(sessions, query, values, sa.CursorResult.scalar_one)


async def fetch_rows(
    sessions: Sessions, query: sa.Executable, values: Mapping[str, object] | None = None
) -> Sequence[sa.Row[*tuple[Any, ...]]]:
    """Execute a statement like `fetch_value` does, and return all rows."""
    return await _execute_alone(sessions, query, values, sa.CursorResult.all)


async def _execute_alone(
    sessions: Sessions,
    query: sa.Executable,
    values: Mapping[str, object] | None,
    take: Callable[[sa.CursorResult[Any]], T],
) -> T:
    engine: AsyncEngine = sessions.kw["bind"]

    def execute() -> T:
        with engine.sync_engine.connect() as connection, _invalidate_on_timeout(connection):
            connection.execution_options(**_AUTOCOMMIT[engine.dialect.name])
            return take(connection.execute(query, values))

    with _translate_errors():
        # One greenlet for all steps; AsyncConnection would make one for each.
        return await greenlet_spawn(execute)


async def fetch_number(sessions: Sessions, query: sa.Executable) -> int:
    """Execute a statement without parameters that returns one number, like `fetch_value` does.

    On SQLite it takes a quarter of the time. The text of the statement is kept, so it is one of
    few that are executed again and again.
    """
    engine: AsyncEngine = sessions.kw["bind"]
    if is_postgresql(sessions):
        return int(await fetch_value(sessions, query))
    statement = _text_of(query)

    def execute() -> int:
        with closing(engine.sync_engine.raw_connection()) as connection:
            [(number,)] = _driver_of(connection).execute(statement).fetchall()
        return int(number)

    with _translate_errors():
        return await greenlet_spawn(execute)


@cache
def _text_of(query: sa.Executable) -> str:
    return str(query)


async def checkpoint(reading: Sessions) -> None:
    """Write SQLite's log into its file. A thread waits for the disk, and no writer does.

    PostgreSQL does so by itself. Raises the errors of `transaction`.
    """
    if not is_postgresql(reading):
        await fetch_value(reading, sa.text(_CHECKPOINT))


async def run_in_transaction(sessions: Sessions, work: Callable[[Connection], T]) -> T:
    """Run ``work`` in a transaction of its own.

    On SQLite no other task of the event loop runs between its statements, unless ``work`` lets one.
    Raises the errors of `transaction`.
    """
    engine: AsyncEngine = sessions.kw["bind"]

    def run() -> T:
        with engine.sync_engine.begin() as connection, _invalidate_on_timeout(connection):
            return work(connection)

    with _translate_errors():
        return await greenlet_spawn(run)


def driver_of(connection: Connection) -> sqlite3.Connection:
    """Return SQLite's own connection, for statements of a transaction that has begun.

    They run in the event loop, whatever they are, and take a tenth of the time that they take
    through SQLAlchemy and aiosqlite. Their errors are translated as all others are.
    """
    return _driver_of(connection.connection)


def _driver_of(connection: PoolProxiedConnection) -> sqlite3.Connection:
    driver: aiosqlite.Connection = connection.driver_connection  # type: ignore[assignment]
    return driver._conn


@contextmanager
def _invalidate_on_timeout(connection: Connection) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        # A late response would be taken for the response to the next statement.
        connection.invalidate()
        raise


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        is_conflict = isinstance(error, IntegrityError)
        raise _translate(error.orig, is_conflict=is_conflict) from error
    except sqlite3.Error as error:
        is_conflict = isinstance(error, sqlite3.IntegrityError)
        raise _translate(error, is_conflict=is_conflict) from error
    except PoolTimeout as error:
        raise Unavailable("every connection to the database is in use") from error
    except OSError as error:
        # SQLAlchemy wraps no network errors of PostgreSQL's driver.
        raise Unavailable(f"the database does not respond: {error or 'timeout'}") from error


_PASSING = ("08", "40", "53", "55", "57")
"""Classes of SQLSTATE: a cut connection, a concurrent transaction, too few resources such as
connections, a lock, and a server that starts or stops."""


def may_pass(error: Retryable) -> bool:
    """Return whether another try may succeed without a change of the configuration.

    A database file that cannot be opened has to be looked at, and so has what PostgreSQL refuses: a
    wrong password, a database that does not exist, a missing permission.
    """
    cause = error.__cause__
    if isinstance(cause, DBAPIError):
        cause = cause.orig
    if isinstance(cause, sqlite3.Error):
        return False
    state = str(getattr(cause, "sqlstate", None) or "")
    return not state or state.startswith(_PASSING)


def _translate(error: BaseException | None, *, is_conflict: bool) -> TrimtabError:
    """Return our error for one of a driver."""
    reason = str(error).strip().splitlines()[0]
    if is_conflict:
        return Retryable(f"a concurrent transaction has written the same: {reason}")
    # Class 22 of SQLSTATE is "data exception". SQLite has no SQLSTATE.
    if str(getattr(error, "sqlstate", "")).startswith("22"):
        return Rejected(f"the database cannot store a value: {reason}")
    return Unavailable(f"the database does not respond: {reason}")


def is_postgresql(sessions: Sessions) -> bool:
    """Return whether the sessions are on PostgreSQL; otherwise they are on SQLite."""
    engine: AsyncEngine = sessions.kw["bind"]
    return engine.dialect.name == "postgresql"


def _is_sqlite(url: str) -> bool:
    return sa.make_url(url).get_backend_name() == "sqlite"


def _on_postgresql(
    url: str, isolation: str, statement_seconds: float, idle_millis: int
) -> Sessions:
    engine = create_async_engine(
        url,
        pool_size=5,
        max_overflow=0,
        pool_timeout=_POOL_SECONDS,
        isolation_level=isolation,
        connect_args={
            "timeout": _CONNECT_SECONDS,
            # Later than the server's own limit, because the server's error has more details.
            "command_timeout": statement_seconds + 2,
            "server_settings": {
                "application_name": "trimtab",
                # Statements in AUTOCOMMIT would otherwise use the database's own default.
                "default_transaction_isolation": isolation.lower(),
                "lock_timeout": f"{min(_BUSY_MILLIS, 1000 * statement_seconds):.0f}",
                "statement_timeout": f"{1000 * statement_seconds:.0f}",
                "idle_in_transaction_session_timeout": f"{idle_millis}",
            },
        },
    )
    return _sessions(engine)


class _InlineConnection(aiosqlite.Connection):
    """Executes SQLite's statements in the event loop, for readers, which never wait for a lock.

    The driver sends each call to a thread, four for a statement, and a thread that has its result
    waits for the interpreter: that takes ten times as long as the statement.

    `_connect`, `_execute`, `_conn` and `_thread` are private names of aiosqlite: its version is
    bounded in ``pyproject.toml``, and ``tests/unit/test_private_names.py`` checks each name.
    """

    # Calls that were sent to the thread, and calls that the thread has finished. The loop writes
    # the first number and the thread the second one, so neither needs a lock.
    _sent = 0
    _finished = 0

    async def _connect(self) -> aiosqlite.Connection:
        try:
            return await super()._connect()
        except sqlite3.Error:
            # The driver's thread is about to end and will call the event loop once more. A process
            # that ends because of this error may have closed the loop, and would print a traceback.
            self._thread.join()
            raise

    async def _execute(self, fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
        # A call whose caller was cancelled goes on in the thread, and everything queues behind it.
        if self._sent == self._finished and not self._may_block(fn, args):
            return fn(*args, **options)
        return await self._execute_in_thread(partial(fn, *args, **options))

    async def _execute_in_thread(self, call: Callable[[], Any]) -> Any:
        def counted() -> Any:
            try:
                return call()
            finally:
                self._finished += 1

        self._sent += 1
        # The driver has no types here.
        return await super()._execute(counted)  # type: ignore[no-untyped-call]

    def _may_block(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> bool:
        # Closing the last connection checkpoints the log.
        return fn == self._conn.close or args[:1] == (_CHECKPOINT,)


class _WritingConnection(_InlineConnection):
    """Executes in the driver's thread what may wait for other processes, and the rest in the loop.

    A commit never waits for a lock. With ``synchronous=NORMAL`` it waits for the disk only when it
    has to checkpoint the log. One of very many rows takes 100 ms of CPU time.
    """

    _changes = 0
    """How many rows the connection had changed at the last commit."""

    async def _execute(self, fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
        try:
            return await super()._execute(fn, *args, **options)
        except sqlite3.OperationalError as error:
            if args != (_BEGIN_WRITING, ()) or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
        return await self._execute_in_thread(partial(self._begin_when_free, fn))

    def _begin_when_free(self, execute: Callable[..., Any]) -> Any:
        self._conn.execute(f"PRAGMA busy_timeout={_BUSY_MILLIS}")
        try:
            return execute(_BEGIN_WRITING)
        finally:
            self._conn.execute("PRAGMA busy_timeout=0")

    def _may_block(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> bool:
        if fn.__name__ == "execute":
            return not args[0].startswith(("BEGIN", "SELECT", "INSERT", "UPDATE"))
        if fn == self._conn.commit:
            before, self._changes = self._changes, self._conn.total_changes
            return self._changes - before > SHORT_COMMIT_ROWS
        return super()._may_block(fn, args)


def _on_sqlite(
    url: str, begin: str, pool_size: int, connection: type[aiosqlite.Connection]
) -> Sessions:
    def connect(path: str, **options: Any) -> aiosqlite.Connection:
        created = connection(lambda: sqlite3.connect(path, **options), 64)
        created._thread.daemon = True
        return created

    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        connect_args={"check_same_thread": False, "async_creator_fn": connect},
    )
    # The driver's own transactions would begin at the first write: two sessions could read the
    # same value and both replace it without an error.
    busy_millis = 0 if begin == _BEGIN_WRITING else _BUSY_MILLIS
    sa.event.listen(engine.sync_engine, "connect", lambda c, _record: _prepare(c, busy_millis))
    sa.event.listen(engine.sync_engine, "begin", lambda c: _begin(c, begin))
    sa.event.listen(engine.sync_engine, "close", _roll_back)
    return _sessions(engine)


def _sessions(engine: AsyncEngine) -> Sessions:
    return async_sessionmaker(engine, expire_on_commit=False)


def _prepare(connection: Any, busy_millis: int) -> None:  # the DBAPI's connection has no type
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        f"wal_autocheckpoint={_AUTOCHECKPOINT_PAGES}",
        f"busy_timeout={busy_millis}",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection, statement: str) -> None:
    if connection.get_execution_options().get("begin", True):
        connection.exec_driver_sql(statement)


def _roll_back(connection: Any, _record: object) -> None:
    """End the transaction of a connection before it is closed.

    SQLite keeps the transaction of a closed connection for as long as one of its cursors exists. A
    task that was cancelled within a statement leaves such a cursor in its traceback, which would
    block every writer until it is garbage collected.
    """
    if in_greenlet():
        connection.rollback()
