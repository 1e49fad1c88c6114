"""Runs one attempt and records its end, whatever becomes of the propeller that started it.

``python -I -S shim.py COMMAND…`` in the attempt's directory. Standard library only, and little of
it, because one of these waits beside every task.

``lock`` is held by the shim and, through the descriptor that it inherits, by the task itself: while
either lives, nobody else runs the attempt. ``started`` says that somebody has begun; an attempt is
never begun twice. ``exit.json`` is the end.
"""

import fcntl
import os
import sys


def main() -> None:
    command = sys.argv[1:]
    lock = os.open("lock", os.O_RDWR | os.O_CREAT, 0o600)
    # A second shim waits rather than gives up: who holds the lock may be a propeller that looks.
    fcntl.flock(lock, fcntl.LOCK_EX)
    if os.path.exists("exit.json") or os.path.exists("started"):
        return
    write("started", str(os.getpid()))
    os.set_inheritable(lock, True)
    task = os.posix_spawn(command[0], command, os.environ)
    _pid, status = os.waitpid(task, 0)
    write("exit.json", f'{{"code": {os.waitstatus_to_exitcode(status)}}}')


def write(name: str, text: str) -> None:
    """Whole or not at all."""
    part = f"{name}.{os.getpid()}"
    with open(part, "w") as file:
        file.write(text)
    os.rename(part, name)


if __name__ == "__main__":
    main()
