"""Starts the fork server, and again whenever it has ended."""

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from trimtab_propeller.executors import fork_server, linux, shim
from trimtab_propeller.executors.confinement import Confinement
from trimtab_propeller.executors.records import Prepared

_COMMAND = [sys.executable, "-P", "-m", "trimtab_propeller.executors.fork_server"]
_ANSWER_SECONDS = 60.0
"""How long the server may take to fork a shim. It is ended then, and another one started."""
_BEHIND = frozenset({errno.EAGAIN, errno.ETOOMANYREFS})
_BEHIND_SECONDS = 0.02
_REPORT_BYTES = 64 * 1024


class InDoubt(Exception):
    """The server, or the shim, ended before it reported. The attempt's directory has its state."""

    def __str__(self) -> str:
        return str(self.__cause__ or "the fork server has ended")


class NotStarted(Exception):
    """The shim could not start the attempt, and has ended."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number
        """The number of the operating system's error."""


class StartedShim(NamedTuple):
    """The shim of an attempt that was started."""

    report: int
    """A descriptor whose end is that of the shim."""
    pid: int
    start_time: str
    """The result of `linux.start_time`; empty where the system is another one."""

    @property
    def is_running(self) -> bool:
        return linux.is_running(self.pid, self.start_time)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the shim, unless it has ended."""
        if self.is_running:
            linux.send(self.pid, number)


class ForkServer:
    """The fork server of one propeller. Shims that it has forked outlive it."""

    def __init__(self, environment: dict[str, str], confinement: Confinement) -> None:
        """``environment`` is the server's, which tasks inherit nothing of."""
        self._environment = environment
        self._command = [*_COMMAND, confinement.to_json()]
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    async def start_shim(self, prepared: Prepared) -> StartedShim:
        """Start the shim of an attempt. Raises `InDoubt` and `NotStarted`."""
        descriptors = prepared.lock.fileno(), prepared.call.fileno()
        report, content = await self._call(fork_server.RUN, *descriptors)
        _, pid, start_time = content.partition(b"\n")[0].decode().split(" ")
        return StartedShim(report.detach(), int(pid), start_time)

    async def check(self) -> None:
        """Check that the server runs and can fork. Raises `InDoubt` and `NotStarted`."""
        report, _ = await self._call(fork_server.CHECK)
        report.close()

    async def _call(self, message: bytes, *descriptors: int) -> tuple[socket.socket, bytes]:
        """Call the server. Return the socket on which it has reported success, and the report."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                while not self._send(message, [theirs.fileno(), *descriptors]):
                    await asyncio.sleep(_BEHIND_SECONDS)
            ours.setblocking(False)
            return ours, await self._wait_for_report(ours)
        except BaseException:
            ours.close()
            raise

    async def _wait_for_report(self, report: socket.socket) -> bytes:
        """Return the report behind its beginning `shim.STARTED`."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                content = await asyncio.get_running_loop().sock_recv(report, _REPORT_BYTES)
        except TimeoutError as error:
            self.close()
            raise InDoubt from error
        except ConnectionError as error:
            raise InDoubt from error
        if not content:
            raise InDoubt
        if not content.startswith(shim.STARTED):
            number, _, message = content.decode(errors="replace").partition(" ")
            raise NotStarted(int(number), message)
        return content.removeprefix(shim.STARTED)

    def _send(self, message: bytes, descriptors: list[int]) -> bool:
        """Return whether the server has room for the call. Raises `InDoubt`."""
        try:
            connection = self._connection()
        except OSError as error:  # There is no server, whatever the number of the error.
            self.close()
            raise InDoubt from error
        try:
            socket.send_fds(connection, [message], descriptors)
        except OSError as error:
            if error.errno in _BEHIND:
                return False
            self.close()
            raise InDoubt from error
        return True

    def _connection(self) -> socket.socket:
        """Return the connection to a server that runs. Raises `OSError`."""
        if self._socket is None or self._process is None or self._process.poll() is not None:
            self.close()
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.setblocking(False)
            self._socket = ours
            with theirs:
                self._process = subprocess.Popen(
                    self._command,
                    cwd="/",
                    env=self._environment,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    # In a session of its own, Ctrl-C does not end it before its propeller.
                    start_new_session=True,
                )
        return self._socket

    def close(self) -> None:
        """End the server. Does not raise."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            with suppress(OSError):
                self._process.kill()
            self._process.wait()
            self._process = None


def watch_end(report: int, on_ended: Callable[[], None]) -> None:
    """Call back when the shim whose report this is has ended, and close the descriptor."""
    loop = asyncio.get_running_loop()

    def on_end() -> None:
        loop.remove_reader(report)
        os.close(report)
        on_ended()

    loop.add_reader(report, on_end)
