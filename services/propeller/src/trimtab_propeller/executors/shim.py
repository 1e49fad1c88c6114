"""Runs one attempt and records its end, even if the propeller that started it has gone.

``python -I -S shim.py COMMAND…`` in the attempt's directory. It imports little, and only from the
standard library, because one shim waits for the end of each task.

The shim holds ``lock``, and the task holds it through the descriptor that it inherits: while either
of them is alive, no other shim runs the attempt. ``started`` records that the task was started; it
is never started again. ``exit.json`` records its end.
"""

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
    write("started", str(os.getpid()))
    os.set_inheritable(lock, True)
    task = os.posix_spawn(command[0], command, os.environ)
    _pid, status = os.waitpid(task, 0)
    write("exit.json", f'{{"code": {os.waitstatus_to_exitcode(status)}}}')


def write(name: str, text: str) -> None:
    """Write a file whole, or not at all."""
    part = f"{name}.{os.getpid()}"
    with open(part, "w") as file:
        file.write(text)
    os.rename(part, name)


if __name__ == "__main__":
    main()
