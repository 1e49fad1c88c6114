"""``python -m trimtab_propeller.executors.fork_server CONFINEMENT``: forks the shims of attempts.

It has loaded what every task needs, so that an attempt does not have to, and prepares what
CONFINEMENT, a `Confinement` as JSON, lets tasks reach. Standard input is a socket
of `SOCK_SEQPACKET`. Each message carries a socket to report to. `RUN` requests one attempt, whose
shim reports, and carries two descriptors more: the lock of the attempt, which is held, and a file
with the directory, the environment and the program as JSON. `CHECK` requests a process that ends at
once. The server ends with the socket, and the shims go on.

It has one thread, and returns to no code of its own in a process that it has forked.
"""

import atexit
import gc
import json
import os
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from types import FrameType, ModuleType
from typing import NoReturn

from trimtab.workflows import entrypoint
from trimtab.workflows.code import loader
from trimtab_propeller.executors import shim
from trimtab_propeller.executors.confinement import Confinement, Restriction
from trimtab_propeller.executors.preloading import preload

RUN = b"run"
CHECK = b"try"
_LENGTH = 3
_DESCRIPTORS = 3


def main() -> int:
    server = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    restriction = Restriction(Confinement.from_json(sys.argv[1]))
    signal.signal(signal.SIGCHLD, _reap)
    preload()
    gc.collect()
    # Otherwise each collection in a task would copy the pages of every object there is.
    gc.freeze()
    forked = serve(server)
    if forked is None:
        return 0
    call, connection = forked
    result = shim.run(call, connection, restriction)
    arguments = [os.path.join(call.directory, shim.WORK), str(result)]
    _present_as_entrypoint(arguments)
    try:
        code = entrypoint.main(arguments)
    except BaseException:  # noqa: BLE001  # What is no error to the entrypoint, such as Ctrl-C, ends the task.
        traceback.print_exc()
        code = 1
    _end(code)


def serve(server: socket.socket) -> tuple[shim.Call, shim.Connection] | None:
    """Fork until the socket ends. Return in a process that was forked, with its call."""
    while True:
        message, descriptors, _flags, _address = socket.recv_fds(server, _LENGTH, _DESCRIPTORS)
        if not message:
            return None
        pid = _fork(descriptors[0])
        if message == CHECK:
            _answer_check(pid, descriptors[0])
        elif pid == 0:
            # Its number is closed, and may be used again, before the object is destroyed.
            os.close(server.detach())
            return _read_call(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _fork(report: int) -> int:
    """Fork, and report an error. Return what `os.fork` does, and -1 after an error."""
    try:
        return os.fork()
    except OSError as error:
        _report(report, f"{error.errno} {error}".encode())
        return -1


def _answer_check(pid: int, report: int) -> None:
    if pid == 0:
        os._exit(0)
    if pid > 0:
        _report(report, shim.STARTED)


def _report(report: int, content: bytes) -> None:
    # A caller that was cancelled does not wait any more; the server goes on for the others.
    with suppress(OSError):
        os.write(report, content)


def _reap(_number: int, _frame: FrameType | None) -> None:
    """Reap the shims that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _read_call(report: int, lock: int, content: int) -> tuple[shim.Call, shim.Connection]:
    with open(content, "rb") as file:
        file.seek(0)
        fields = json.load(file)
    call = shim.Call(**{**fields, "program": tuple(fields["program"])})
    return call, shim.Connection(lock, report)


def _end(code: int) -> NoReturn:
    """End the task as its interpreter would, but leave the objects of the fork server alone.

    To destroy them takes longer than everything else, since it copies the memory that is shared.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # what an interpreter calls first
        atexit._run_exitfuncs()
        loader.forget_module()
        gc.collect()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
    except BaseException:  # noqa: BLE001  # Code of the task runs here.
        traceback.print_exc()
        code = code or 1
    finally:
        os._exit(code)


def _present_as_entrypoint(arguments: list[str]) -> None:
    """Let the task, and processes that it starts, find what a new interpreter would have."""
    module = ModuleType("__main__")
    module.__spec__ = entrypoint.__spec__
    module.__file__ = entrypoint.__file__
    sys.modules["__main__"] = module
    sys.argv = [entrypoint.__file__, *arguments]


if __name__ == "__main__":
    sys.exit(main())
