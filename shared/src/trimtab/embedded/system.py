"""An embedded system from its start to its stop."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from trimtab.embedded import supervisor
from trimtab.embedded.directory import Directory, ensure_token, lock
from trimtab.embedded.programs import Choices, System, prepare
from trimtab.errors import Rejected


class Unusable(Rejected):
    """The Kubernetes cluster does not respond, or refuses the user of the kubeconfig."""


Ready = Callable[[Directory, System, float], None]
"""Called when all programs are ready, with the seconds that the start took."""


async def up(path: Path, choices: Choices, *, report: supervisor.Report, ready: Ready) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP; a second signal kills all programs.

    Raises `Unwritable`, `NotPrivate`, `InUse`, `NotFound`, `Conflict`, `DidNotStart` or, where the
    Kubernetes cluster cannot be used, `Unusable`.
    """
    began = time.monotonic()
    with lock(path) as directory:
        # A previous process that was killed could not remove its address.
        directory.remove_address()

        def on_ready(system: System) -> None:
            directory.write_address(system.url, system.nats_url, system.ports)
            ready(directory, system, time.monotonic() - began)

        try:
            with suppress(asyncio.CancelledError):
                await _run(directory, choices, report, on_ready)
        finally:
            directory.remove_address()
    report("all programs have stopped")


async def _run(
    directory: Directory,
    choices: Choices,
    report: supervisor.Report,
    on_ready: Callable[[System], None],
) -> None:
    """Run until cancelled, with other ports where another program took one during the start."""
    force = _handle_signals(report)
    if choices.kubeconfig is not None:
        await _check_cluster(prepare(directory, choices))
        report(f"the cluster of {choices.kubeconfig} can be used")
    for is_last in (False, False, True):
        system = prepare(directory, choices)
        ensure_token(directory)
        stages = (system.servers, system.services)
        try:
            await supervisor.run(
                stages, report=report, ready=partial(on_ready, system), force=force
            )
        except supervisor.DidNotStart:
            taken = system.taken_ports()
            if is_last or not taken:
                raise
            report(f"port {taken[0]} was taken by another program; starting again with other ports")


async def _check_cluster(system: System) -> None:
    """Raises `Unusable`; the service itself would wait for a cluster that does not respond."""
    [clusterres] = [program for program in system.services if program.name == "clusterres"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trimtab_clusterres.preflight"),
        env=clusterres.environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise Unusable(output.decode(errors="replace").strip().rpartition("\n")[2])


def _handle_signals(report: supervisor.Report) -> asyncio.Event:
    """Have the first signal cancel the current task, and the second one set the returned event."""
    task, force = asyncio.current_task(), asyncio.Event()
    assert task is not None

    def on_signal() -> None:
        if task.cancelling():
            force.set()
        else:
            report("stopping; a second Ctrl-C kills all programs")
            task.cancel()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, on_signal)
    loop.add_signal_handler(signal.SIGTERM, on_signal)
    # Under nohup SIGHUP is ignored, and must stay ignored.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, on_signal)
    return force
