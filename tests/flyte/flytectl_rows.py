"""The recorded runs of flytectl, and the same runs of ``trimtab``.

A scenario begins with the projects of its recording, in a database of its own. The flags that
connected flytectl are not among the arguments: ``trimtab`` has its server from a variable.
"""

import asyncio
import json
import os
import re
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
from click.testing import CliRunner

from tests.integration.admin.running import TOKEN, settings_for
from tests.servers import PATIENCE_SECONDS, free_port
from trimtab.api.entities import ProjectBody
from trimtab.cli.main import cli
from trimtab.client import Client
from trimtab_admin.app import build, prepare

VECTORS = Path(__file__).parent / "vectors" / "flytectl.jsonl"

_RECORDED = "localhost:8089"
"""The server of the recording; behind all other addresses of it there is none for flytectl."""
_NOWHERE = "http://127.0.0.1:1"
_SEEDS = {
    "shop": ProjectBody(name="shop", display_name="Shop", description="the shop"),
    "attic": ProjectBody(
        name="attic", display_name="Attic", description="old things", state="archived"
    ),
    "mall": ProjectBody(name="mall", display_name="Mall", description="the mall"),
}


class Outcome(NamedTuple):
    """The fields of a run that are compared."""

    stdout: str
    error: str
    """The first line of the message after ``Error:`` on stderr, empty without one."""
    exit: str
    files: str
    """Name, mode and text of each file that the run has written."""


@dataclass(frozen=True)
class Row:
    """One recorded run of flytectl."""

    scenario: str
    step: int
    arguments: Sequence[str]
    endpoint: str
    """The address that it was given; empty without one."""
    files: Mapping[str, str]
    stdin: str
    variables: Mapping[str, str]
    recorded: Outcome

    def __str__(self) -> str:
        return f"{self.scenario} {self.step}: {' '.join(self.arguments)}"


def scenarios() -> dict[str, list[Row]]:
    """Read the recording."""
    with VECTORS.open() as lines:
        rows = [_row(json.loads(line)) for line in lines]
    return {name: list(group) for name, group in groupby(rows, lambda row: row.scenario)}


def _row(content: dict[str, Any]) -> Row:
    flags = content["connection_flags"]
    written = content.get("files_after", {})
    return Row(
        scenario=content["scenario"],
        step=content["step"],
        arguments=content["argv"][1:],
        endpoint=flags[1] if flags else "",
        files=content["files"],
        stdin=content["stdin"],
        variables=content.get("env", {}),
        recorded=Outcome(
            content["stdout"],
            _error(content["stderr"]),
            str(content["exit"]),
            _files({name: (file["mode"], file["text"]) for name, file in written.items()}),
        ),
    )


def _files(written: Mapping[str, tuple[str, str]]) -> str:
    return "".join(f"{name} {mode}\n{text}" for name, (mode, text) in sorted(written.items()))


def _error(stderr: str) -> str:
    found = re.search(r"^Error: (.*)$", stderr, re.MULTILINE)
    return found[1] if found else ""


def replay(rows: Sequence[Row], directory: Path, stopping: ExitStack) -> list[Outcome]:
    """Run a scenario in an empty directory; its admin has stopped when ``stopping`` is closed."""
    work, home = directory / "work", directory / "work" / "home"
    home.mkdir(parents=True)
    with serving(directory, stopping) as url, chdir(work):
        asyncio.run(_seed(url, rows))
        return [_run(row, url, home) for row in rows]


async def _seed(url: str, rows: Sequence[Row]) -> None:
    has_mall = any("mall" in name for row in rows for name in row.files)
    async with Client(url, TOKEN) as client:
        for name, project in _SEEDS.items():
            if name != "mall" or has_mall:
                await client.projects.create(project)


def _run(row: Row, url: str, home: Path) -> Outcome:
    for name, text in row.files.items():
        Path(name).write_text(text)
    before = _written()
    variables = {
        "HOME": str(home),
        "TRIMTAB_SERVER": row.endpoint and (url if _RECORDED in row.endpoint else _NOWHERE),
        "TRIMTAB_CONFIG": os.devnull,
        "TRIMTAB_TOKEN": TOKEN,
        **row.variables,
    }
    result = CliRunner(env=variables).invoke(
        cli, row.arguments, input=row.stdin, prog_name="trimtab"
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        pytest.fail("".join(traceback.format_exception(result.exception)))
    after = {name: file for name, file in _written().items() if before.get(name) != file}
    return Outcome(result.stdout, _error(result.stderr), str(result.exit_code), _files(after))


def _written() -> dict[str, tuple[str, str]]:
    """Return mode and text of the files of the directory."""
    files = [path for path in Path().iterdir() if path.is_file()]
    return {str(path): (oct(path.stat().st_mode & 0o777), path.read_text()) for path in files}


@contextmanager
def serving(directory: Path, stopping: ExitStack | None = None, **config: Any) -> Iterator[str]:
    """Run admin in a thread, without NATS, which settings and projects do not need.

    The end of the block waits for its end, which takes a second, or ``stopping`` does.
    """
    settings = settings_for(directory, "nats://127.0.0.1:1", **config)
    asyncio.run(prepare(settings))
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(build(settings), port=port, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        if stopping is None:
            thread.join(PATIENCE_SECONDS)
        else:
            stopping.callback(thread.join, PATIENCE_SECONDS)
