"""``supervised.py DIRECTORY PORT``: a process that supervises one small server."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import click

from trimtab.embedded import supervisor
from trimtab.embedded.supervisor import Probe, Program

SERVER = """
import http.server, os, subprocess, sys
directory, port = sys.argv[1:]
if os.path.exists(f"{directory}/broken"):
    sys.exit("the server cannot work today")
def write(name, pid):
    with open(f"{directory}/{name}.new", "w") as file:
        file.write(str(pid))
    os.replace(file.name, f"{directory}/{name}")  # atomically, because a test may read it
write("pid", os.getpid())
task = subprocess.Popen(["sleep", "600"], start_new_session=True)
write("task-pid", task.pid)
handler = http.server.SimpleHTTPRequestHandler
http.server.HTTPServer(("127.0.0.1", int(port)), handler).serve_forever()
"""


def program(directory: Path, port: int) -> Program:
    command = (sys.executable, "-c", SERVER, str(directory), str(port))
    probe = Probe(port, b"GET / HTTP/1.0\r\n\r\n", b" 200 OK")
    return Program("server", command, os.environ, directory / "server.log", probe)


async def main(directory: Path, port: int) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    stages = [[program(directory, port)]]
    with suppress(asyncio.CancelledError):
        await supervisor.run(
            stages, report=click.echo, ready=lambda: click.echo("up"), force=asyncio.Event()
        )


if __name__ == "__main__":
    try:
        asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
    except supervisor.DidNotStart as error:
        sys.exit(str(error))
