"""A process that keeps one small server running: ``supervised.py DIRECTORY PORT``."""

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
def tell(name, pid):
    with open(f"{directory}/{name}.new", "w") as file:
        file.write(str(pid))
    os.replace(file.name, f"{directory}/{name}")  # whole, for who reads it at this moment
tell("pid", os.getpid())
task = subprocess.Popen(["sleep", "600"], start_new_session=True)
tell("task-pid", task.pid)
handler = http.server.SimpleHTTPRequestHandler
http.server.HTTPServer(("127.0.0.1", int(port)), handler).serve_forever()
"""


def program(directory: Path, port: int) -> Program:
    command = (sys.executable, "-c", SERVER, str(directory), str(port))
    probe = Probe(port, b"GET / HTTP/1.0\r\n\r\n", b" 200 OK")
    return Program("server", command, os.environ, directory / "server.log", probe)


def say(line: str) -> None:
    click.echo(line)


async def main(directory: Path, port: int) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    stages = [[program(directory, port)]]
    with suppress(asyncio.CancelledError):
        await supervisor.run(stages, say=say, ready=lambda: say("up"), hurry=asyncio.Event())


if __name__ == "__main__":
    try:
        asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
    except supervisor.DidNotStart as error:
        sys.exit(str(error))
