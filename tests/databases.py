"""Databases for tests, and the mark of tests that run on both kinds."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import asyncpg
import pytest

BOTH = pytest.mark.parametrize("backend", ["sqlite", "postgresql"])


@contextmanager
def fresh(server: str) -> Iterator[str]:
    """Create a database on the server of the given URL, and yield its URL."""
    name = f"trimtab_{uuid4().hex}"
    asyncio.run(execute(server, f"CREATE DATABASE {name}"))
    try:
        yield f"{server.rpartition('/')[0]}/{name}"
    finally:
        asyncio.run(execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


async def execute(url: str, statement: str) -> None:
    """Execute a statement on a new connection, outside of a transaction."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
