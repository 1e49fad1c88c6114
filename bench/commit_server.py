"""A server that does nothing but commit: the least that a service can do for a write.

One handler, without middleware, increments a counter and inserts a row by the database's driver.
Run as ``python -m bench.commit_server <database URL> <port>``.
"""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing

import asyncpg
import sqlalchemy as sa
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.databases import BODY, COUNT
from tests.servers import free_port

Append = Callable[[], Awaitable[None]]
"""Commits one write."""
CONNECTIONS = 5
"""The connections of the server; admin has five for writing too."""


@asynccontextmanager
async def appending(url: str) -> AsyncIterator[Append]:
    """Yield a function that commits one write to the tables of `bench.databases`."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        assert parsed.database is not None
        with closing(sqlite3.connect(parsed.database, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous=NORMAL")
            yield lambda: _append_to_file(database)
        return
    plain_url = url.replace("+asyncpg", "")
    async with asyncpg.create_pool(plain_url, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        yield lambda: _append_to_server(pool)


async def _append_to_file(database: sqlite3.Connection) -> None:
    database.execute("BEGIN IMMEDIATE")
    [number] = database.execute(COUNT).fetchone()
    database.execute("INSERT INTO bench_rows VALUES (?, ?)", (number, BODY))
    database.execute("COMMIT")


async def _append_to_server(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection, connection.transaction():
        number = await connection.fetchval(COUNT)
        await connection.execute("INSERT INTO bench_rows VALUES ($1, $2)", number, BODY)


@asynccontextmanager
async def running(url: str) -> AsyncIterator[str]:
    """Run the server as a process until the block ends, and yield its address."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "bench.commit_server", url, str(port)])
    try:
        while True:
            assert process.poll() is None, "the server has ended"
            try:
                _reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


async def serve(url: str, port: int) -> None:
    async with appending(url) as append:

        async def endpoint(_request: Request) -> Response:
            await append()
            return Response(b"{}", media_type="application/json")

        app = Starlette(routes=[Route("/append", endpoint, methods=["PUT"])])
        config = uvicorn.Config(app, port=port, log_level="warning", access_log=False)
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
