"""How every service runs: one HTTP server, whose lifespan is the service's own."""

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from trimtab.runtime import telemetry
from trimtab.runtime.config import ServiceConfig

log = logging.getLogger(__name__)

GRACE_SECONDS = 10

Checks = Callable[[], dict[str, str]]
"""Of readiness: what is wrong, by part; empty when ready."""
Facts = Callable[[], dict[str, Any]]
"""What ``/readyz`` tells beside that, such as `trimtab.settings.view.View.facts`."""


def _no_facts() -> dict[str, Any]:
    return {}


def health_routes(checks: Checks, facts: Facts = _no_facts) -> list[Route]:
    """``/healthz`` says that the process answers, ``/readyz`` that its parts work."""

    async def healthz(_request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> JSONResponse:
        wrong = checks()
        if wrong:
            body = {"status": "not ready", "reasons": wrong, **facts()}
            return JSONResponse(body, status_code=503)
        return JSONResponse({"status": "ready", **facts()})

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


def bare(
    checks: Checks,
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]],
    facts: Facts = _no_facts,
) -> Starlette:
    """The application of a service that has no API of its own."""
    return Starlette(routes=health_routes(checks, facts), lifespan=lifespan)


class _Server(uvicorn.Server):
    """Stops when the lifespan has failed: uvicorn alone would serve on without its tasks."""

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self.lifespan.error_occurred

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if not self.started:
            # uvicorn looks only after the start, which may wait for NATS for ever.
            os._exit(0)


def run(
    name: str,
    settings: ServiceConfig,
    app: Any,  # any ASGI application
    stopping: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT and end with 0 then, with 1 where the start or a task fails.

    ``stopping`` hears of the end before it waits for answers: those that go on have to end.
    """
    flush = telemetry.set_up(name, settings.log_level)
    try:
        listener = socket.create_server((settings.host, settings.port))
    except OSError as error:
        sys.exit(
            f"{name} cannot listen on {settings.host}:{settings.port}: {error.strerror}; "
            "set TRIMTAB_PORT to a port that is free"
        )
    port = listener.getsockname()[1]
    log.info("service.listening", extra={"service": name, "address": f"{settings.host}:{port}"})
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        loop="uvloop",
        lifespan="on",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config, stopping)
    # uvicorn raises the signal again once it has stopped; the default would end us with -15.
    signal.signal(signal.SIGTERM, lambda _signal, _frame: None)
    _spare_the_collector()
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    flush()
    if not server.started or server.lifespan.error_occurred:
        sys.exit(1)  # uvicorn has logged why


def _spare_the_collector() -> None:
    """Whatever is there before the first request stays, and what a request leaves has few cycles.

    Walking it all again and again costs a tenth of the time of each request, and at times stops
    everybody for a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)
