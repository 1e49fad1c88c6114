"""How every service runs: one HTTP server, whose lifespan is the service's own."""

import logging
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from trimtab import telemetry
from trimtab.settings import ServiceSettings

log = logging.getLogger(__name__)

GRACE_SECONDS = 10

Checks = Callable[[], dict[str, str]]
"""Of readiness: what is wrong, by part; empty when ready."""


def health_routes(checks: Checks) -> list[Route]:
    """``/healthz`` says that the process answers, ``/readyz`` that its parts work."""

    async def healthz(_request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> JSONResponse:
        wrong = checks()
        if wrong:
            return JSONResponse({"status": "not ready", "reasons": wrong}, status_code=503)
        return JSONResponse({"status": "ready"})

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


def bare(
    checks: Checks, lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]]
) -> Starlette:
    """The application of a service that has no API of its own."""
    return Starlette(routes=health_routes(checks), lifespan=lifespan)


def run(name: str, settings: ServiceSettings, app: Any) -> None:  # any ASGI application
    """Serve until SIGTERM or SIGINT; the process ends with 0 then and with 1 on a failed start."""
    telemetry.set_up(name, settings.log_level)
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
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if not server.started:
        sys.exit(1)  # uvicorn has logged why
