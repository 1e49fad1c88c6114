"""admin with a clock in its event loop, which shows how much CPU time one round of the loop takes.

A short call waits for a few rounds, whatever other processes the machine runs. ``GET /ticks``
returns the longest round since the call before it, in milliseconds. Run as
``python -m bench.ticking`` with the configuration of admin.
"""

import asyncio
import json
import time

from starlette.types import ASGIApp, Receive, Scope, Send

from trimtab.runtime import service, telemetry
from trimtab.runtime.config import load
from trimtab_admin.app import build, prepare
from trimtab_admin.config import AdminConfig

PATH = "/ticks"
_SECONDS = 0.002
"""The time between two ticks. The CPU time between them is that of the round which delays one."""


class Ticking:
    """An ASGI application with a clock."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._last: float | None = None
        self._longest = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._last is None:
            self._tick()
        if scope.get("path") != PATH:
            await self._app(scope, receive, send)
            return
        body = json.dumps({"longest": 1000 * self._longest}).encode()
        self._longest = 0.0
        length = (b"content-length", b"%d" % len(body))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})

    def _tick(self) -> None:
        # Of this thread alone: SQLite's threads and other processes do not count.
        now = time.thread_time()
        if self._last is not None:
            self._longest = max(self._longest, now - self._last)
        self._last = now
        asyncio.get_running_loop().call_later(_SECONDS, self._tick)


def main() -> None:
    config = load(AdminConfig)
    telemetry.set_up_logging(config.log_level)
    asyncio.run(prepare(config))
    app = build(config)
    service.run("admin", config, Ticking(app), stopping=app.state.stopping)


if __name__ == "__main__":
    main()
