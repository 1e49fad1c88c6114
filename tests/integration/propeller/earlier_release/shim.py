"""Runs one attempt and records its end, even if the propeller that started it has gone.

``python -I -S shim.py COMMAND…`` in the attempt's directory. It imports little, and only from the
standard library, because one shim waits for the end of each task.

The shim holds ``lock``, and the task holds it through the descriptor that it inherits: while either
of them is alive, no other shim runs the attempt. ``started`` records that the task was started, in
which process group and which PID namespace; it is never started again. ``exit.json`` records its
end.

Each byte that is written to the FIFO ``control`` is the number of a signal, which the shim sends to
its process group: itself and the task. A process of another PID namespace, such as that of another
container, cannot send it. SIGTERM does not end the shim before its task, so that SIGKILL can follow
it through ``control``; an attempt that received it has no ``exit.json``.
"""

# `signal` imports `enum`, and nearly doubles the time that a shim takes to start.
import _signal  # type: ignore[import-not-found]
import _thread
import fcntl
import os
import sys


def main() -> None:
    command = sys.argv[1:]
    lock = os.open("lock", os.O_RDWR | os.O_CREAT, 0o600)
    # A second shim waits for the lock: its holder may be a propeller that reads the state.
    fcntl.flock(lock, fcntl.LOCK_EX)
    if os.path.exists("exit.json") or os.path.exists("started"):
        return
    # Before `started` is written, because a limit of processes may apply to the thread.
    _thread.start_new_thread(forward_signals, (open_control(),))
    write("started", f"{os.getpid()} {pid_namespace()}")
    os.set_inheritable(lock, True)
    task = os.posix_spawn(command[0], command, os.environ)
    # Not earlier: the task would inherit it, and a SIGTERM before the task exists would be lost.
    block_sigterm()
    _pid, status = os.waitpid(task, 0)
    if _signal.SIGTERM not in _signal.sigpending():
        write("exit.json", f'{{"code": {os.waitstatus_to_exitcode(status)}}}')


def open_control() -> int:
    """Return a descriptor of the FIFO, which the task does not inherit."""
    # An earlier shim may have ended before it wrote `started`.
    if not os.path.exists("control"):
        os.mkfifo("control", 0o600)
    # With both ends open, neither this call waits for a writer nor does a reader meet an end.
    return os.open("control", os.O_RDWR)


def forward_signals(control: int) -> None:
    """Send each signal that is requested to this process group. Does not return."""
    # The kernel delivers a signal to any thread that does not block it.
    block_sigterm()
    while True:
        os.killpg(0, os.read(control, 1)[0])


def block_sigterm() -> None:
    """Keep SIGTERM pending for this thread."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, {_signal.SIGTERM})


def pid_namespace() -> str:
    """Return the PID namespace of this process, or an empty text where the system has none."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def write(name: str, text: str) -> None:
    """Write a file whole, or not at all."""
    part = f"{name}.{os.getpid()}"
    with open(part, "w") as file:
        file.write(text)
    os.rename(part, name)


if __name__ == "__main__":
    main()
