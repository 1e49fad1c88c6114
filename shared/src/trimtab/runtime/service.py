"""The process of a service: its HTTP server, health endpoints and exit status."""

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from trimtab.release import VERSION
from trimtab.runtime import telemetry
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.http_connections import HeadLimits, LimitedConnection

log = logging.getLogger(__name__)

GRACE_SECONDS = 10

Checks = Callable[[], dict[str, str]]
"""Returns why the service is not ready, by part; empty when it is ready."""
Details = Callable[[], dict[str, Any]]
"""Returns further fields of ``/readyz``, such as `trimtab.settings.view.View.summary`."""


def _no_details() -> dict[str, Any]:
    return {}


def health_routes(checks: Checks, details: Details = _no_details) -> list[Route]:
    """Return ``/healthz``, which shows that the process runs, and ``/readyz``, whether it works."""

    async def healthz(_request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> JSONResponse:
        reasons = checks()
        facts = {"version": VERSION, **details()}
        if reasons:
            body = {"status": "not ready", "reasons": reasons, **facts}
            return JSONResponse(body, status_code=503)
        return JSONResponse({"status": "ready", **facts})

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


def health_app(
    checks: Checks,
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]],
    details: Details = _no_details,
) -> Starlette:
    """Return the application of a service that has no HTTP API of its own."""
    return Starlette(routes=health_routes(checks, details), lifespan=lifespan)


class _Server(uvicorn.Server):
    """Stops when the lifespan has failed: uvicorn would go on serving without its tasks."""

    def __init__(self, config: uvicorn.Config, on_shutdown: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_shutdown = on_shutdown

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_shutdown()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self.lifespan.error_occurred

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if not self.started:
            # uvicorn checks only after the start, which may wait for NATS indefinitely.
            os._exit(0)


def run(
    name: str,
    config: ServiceConfig,
    app: Any,  # any ASGI application
    stopping: Callable[[], None] = lambda: None,
    *,
    reuse_port: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT, then exit with 0; with 1 where the start or a task fails.

    With ``reuse_port`` other processes may listen on the same port. The kernel would then give this
    process connections which it does not serve yet, so it listens only once it has started.
    ``stopping`` is called before the server waits for open responses: streams must end by then.
    """
    flush = telemetry.set_up(name, config.log_level)
    limits = HeadLimits(config.max_head_bytes, config.request_seconds)
    listener = _listen(name, config, reuse_port)
    server = _Server(
        uvicorn.Config(
            app,
            # A factory, where uvicorn's types expect a class, which it only calls.
            http=partial(LimitedConnection, limits=limits),  # type: ignore[arg-type]
            ws="none",
            log_config=None,
            access_log=False,
            loop="uvloop",
            lifespan="on",
            timeout_graceful_shutdown=GRACE_SECONDS,
        ),
        stopping,
    )
    # uvicorn raises the signal again once it has stopped; its default would exit with -15.
    signal.signal(signal.SIGTERM, lambda _signal, _frame: None)
    _tune_garbage_collection()
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    flush()
    if not server.started or server.lifespan.error_occurred:
        sys.exit(1)  # uvicorn has logged why


def bind(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    """Return a socket that does not listen yet. Raises `OSError`."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def _listen(name: str, config: ServiceConfig, reuse_port: bool) -> socket.socket:
    try:
        listener = bind(config.host, config.port, reuse_port=reuse_port)
        if not reuse_port:
            listener.listen()
    except OSError as error:
        sys.exit(
            f"{name} cannot listen on {config.host}:{config.port}: {error.strerror}; "
            "set TRIMTAB_PORT to a port that is free"
        )
    port = listener.getsockname()[1]
    log.info("service.listening", extra={"service": name, "address": f"{config.host}:{port}"})
    return listener


def _tune_garbage_collection() -> None:
    """Exclude the objects that exist now from collection, and collect less often.

    They live as long as the process, and requests leave few cycles. Scanning them again and again
    costs a tenth of the time of each request, and some scans pause the process for 100 ms. A large
    request makes a million objects: a collection of the first two generations, which looks at
    twenty thousand, takes 5 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 10, 50)
