"""The fastest writes that a database allows: a program that does nothing but write."""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import asyncpg
import sqlalchemy as sa

from bench.http import Timings

_TABLES = (
    "CREATE TABLE bench_counter (value BIGINT)",
    "INSERT INTO bench_counter VALUES (0)",
    "CREATE TABLE bench_rows (number BIGINT PRIMARY KEY, body TEXT)",
)
COUNT = "UPDATE bench_counter SET value = value + 1 RETURNING value"
BODY = "x" * 400


async def create_tables(url: str) -> None:
    """Create the tables that `measure_appends` writes to."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        assert parsed.database is not None
        with closing(sqlite3.connect(parsed.database, isolation_level=None)) as database:
            for statement in _TABLES:
                database.execute(statement)
        return
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    for statement in _TABLES:
        await connection.execute(statement)
    await connection.close()


async def measure_appends(url: str, writers: int, writes: int) -> Timings:
    """Measure writes that increment a counter and insert a row: the least that a change needs."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        assert parsed.database is not None
        # Without concurrency, because SQLite has one writer at a time.
        return _measure(_write_to_file(parsed.database, writes))
    return await _write_to_server(url.replace("+asyncpg", ""), writers, writes)


def _write_to_file(path: str, writes: int) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous=NORMAL")
        for _ in range(writes):
            database.execute("BEGIN IMMEDIATE")
            [number] = database.execute(COUNT).fetchone()
            database.execute("INSERT INTO bench_rows VALUES (?, ?)", (number, BODY))
            database.execute("COMMIT")
            yield


def _measure(writes: Iterator[None]) -> Timings:
    first = began = time.perf_counter()
    taken = []
    for _ in writes:
        ended = time.perf_counter()
        taken.append(1000 * (ended - began))
        began = ended
    return Timings(began - first, taken)


async def _write_to_server(url: str, writers: int, writes: int) -> Timings:
    taken: list[float] = []

    async def writer() -> None:
        connection = await asyncpg.connect(url)
        for _ in range(writes // writers):
            began = time.perf_counter()
            async with connection.transaction():
                number = await connection.fetchval(COUNT)
                await connection.execute("INSERT INTO bench_rows VALUES ($1, $2)", number, BODY)
            taken.append(1000 * (time.perf_counter() - began))
        await connection.close()

    began = time.perf_counter()
    await asyncio.gather(*(writer() for _ in range(writers)))
    return Timings(time.perf_counter() - began, taken)
