"""One embedded system from start to stop."""

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from trimtab.embedded import supervisor
from trimtab.embedded.directory import Directory, ensure_token, held
from trimtab.embedded.programs import Choices, System, prepare

Ready = Callable[[Directory, System, float], None]
"""Hears that everything answers, and after how many seconds."""


async def up(path: Path, choices: Choices, *, say: supervisor.Say, ready: Ready) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP; a second signal ends everything by force.

    Raises `Unwritable`, `InUse`, `NotFound`, `Conflict` or `DidNotStart`.
    """
    began = time.monotonic()
    with held(path) as directory:
        # One that was killed could not take its announcement back.
        directory.withdraw()

        def announce(system: System) -> None:
            directory.announce(system.url, system.nats_url)
            ready(directory, system, time.monotonic() - began)

        try:
            with suppress(asyncio.CancelledError):
                await _run(directory, choices, say, announce)
        finally:
            directory.withdraw()
    say("everything has stopped")


async def _run(
    directory: Directory,
    choices: Choices,
    say: supervisor.Say,
    announce: Callable[[System], None],
) -> None:
    """Until cancelled; again with other ports where somebody was faster to take one."""
    hurry = _ended_by_signals(say)
    for is_last in (False, False, True):
        system = prepare(directory, choices)
        ensure_token(directory)
        stages = (system.servers, system.services)
        try:
            await supervisor.run(stages, say=say, ready=partial(announce, system), hurry=hurry)
        except supervisor.DidNotStart:
            taken = system.taken()
            if is_last or not taken:
                raise
            say(f"port {taken[0]} was taken meanwhile; starting again with other ports")


def _ended_by_signals(say: supervisor.Say) -> asyncio.Event:
    """The first signal cancels the current task, the second one sets the event."""
    task, hurry = asyncio.current_task(), asyncio.Event()
    assert task is not None

    def on_signal() -> None:
        if task.cancelling():
            hurry.set()
        else:
            say("stopping; once more ends everything by force")
            task.cancel()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, on_signal)
    loop.add_signal_handler(signal.SIGTERM, on_signal)
    # Under nohup it is ignored, and shall stay so.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, on_signal)
    return hurry
