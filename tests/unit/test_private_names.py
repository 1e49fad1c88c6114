"""Private names of libraries that Trimtab uses: each test fails if a new version lacks one.

The versions of these libraries are bounded where they are declared, so that only a deliberate
update can fail here.
"""

import inspect
import sqlite3
from threading import Thread

import aiosqlite


def test_aiosqlite_connects_in_connect() -> None:
    assert inspect.iscoroutinefunction(aiosqlite.Connection._connect)


def test_aiosqlite_sends_each_call_to_its_thread_in_execute() -> None:
    [_self, function, *_arguments] = inspect.signature(aiosqlite.Connection._execute).parameters
    assert inspect.iscoroutinefunction(aiosqlite.Connection._execute)
    assert function == "fn"


async def test_aiosqlite_has_the_connection_of_sqlite_in_conn() -> None:
    async with aiosqlite.connect(":memory:") as connection:
        assert isinstance(connection._conn, sqlite3.Connection)


async def test_aiosqlite_has_its_thread_in_thread() -> None:
    connection = aiosqlite.Connection(lambda: sqlite3.connect(":memory:"), 64)
    assert isinstance(connection._thread, Thread)
    connection._thread.daemon = True
    async with connection:
        assert connection._thread.is_alive()
