"""A proxy that ends TLS in front of admin, as an ingress does.

The command line of Flyte 2 sends a token over HTTPS only.
"""

import asyncio
import ssl
import threading
from pathlib import Path
from typing import Self

import trustme


class TlsProxy:
    """Forwards each connection to a port of this machine. `authority` is the issuer's file."""

    def __init__(self, directory: Path, port: int) -> None:
        issuer = trustme.CA()
        self.authority = directory / "authority.pem"
        issuer.cert_pem.write_to_path(self.authority)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issuer.issue_cert("localhost").configure_cert(self._context)
        self._to = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    @property
    def endpoint(self) -> str:
        return f"https://localhost:{self._server.sockets[0].getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        return self

    def __exit__(self, *exception: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_admin, to_admin = await asyncio.open_connection("127.0.0.1", self._to)
        await asyncio.gather(_copy(reader, to_admin), _copy(from_admin, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
    except OSError:
        pass  # One side has closed the connection.
    finally:
        writer.close()
