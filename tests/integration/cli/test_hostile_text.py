"""Every command escapes hostile text in the responses of a server."""

import os
import re
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from string import Template
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.samples import sample
from trimtab.api.executions import WorkflowBody
from trimtab.cli import reference
from trimtab.cli.listings import LISTINGS
from trimtab.cli.main import cli
from trimtab.client.http import HttpApi
from trimtab.errors import Conflict

HOSTILE = "a\x00\x1b[2J\r\x7f\x9b2J\u202e\u2066"
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
VALUES = {"TOKEN": "t", "DEAD": "1", "NAME": "n", "REVISION": "1", "EXECUTION": "e"}
VALUES |= {"FLYTE": "127.0.0.1:1", "FLYTE2": "127.0.0.1:1"}
ENDS = {"phase": "failed", "holders_next": "", "hooks_next": None, "waiters_next": ""}
"""Values of fields without which a command would request more."""
EXAMPLES = [
    example
    for entry in reference.entries(cli)
    for example in entry.examples
    if entry.words != ("up",)
]


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Respond to every request with hostile text in every field that may have it."""

    async def fetch(_http: HttpApi, shape: Any, *_arguments: object, **_options: object) -> Any:
        body = sample(shape, HOSTILE)
        update = {name: value for name, value in ENDS.items() if name in shape.model_fields}
        return body.model_copy(update=update)

    async def fetch_list(_http: HttpApi, shape: Any, *_arguments: object) -> Any:
        # Each text of a workflow is a name with a pattern.
        return () if shape is WorkflowBody else (sample(shape, HOSTILE),)

    async def stream(*_arguments: object) -> AsyncIterator[None]:
        raise Conflict(HOSTILE)
        yield

    async def refuse(*_arguments: object, **_options: object) -> None:
        raise Conflict(HOSTILE)

    monkeypatch.setattr(HttpApi, "fetch", fetch)
    monkeypatch.setattr(HttpApi, "fetch_list", fetch_list)
    monkeypatch.setattr(HttpApi, "send", refuse)
    monkeypatch.setattr(HttpApi, "stream", asynccontextmanager(stream))


def run(tmp_path: Path, *arguments: str) -> Result:
    environment = {"TRIMTAB_CONFIG": os.devnull, "TRIMTAB_SERVER": "http://127.0.0.1:1"}
    (tmp_path / "settings").mkdir(exist_ok=True)
    return CliRunner(env=environment).invoke(cli, arguments, prog_name="trimtab")


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("output", ["table", "json", "yaml"])
@pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: str(listing.name))
def test_a_listing_shows_it_escaped(tmp_path: Path, listing: Any, output: str) -> None:
    done = run(tmp_path, "get", str(listing.name), "-o", output)
    assert (done.exit_code, UNSAFE.search(done.output)) == (0, None), repr(done.output)
    is_shown = "\\x1b" in done.output or "\\u001b" in done.output or "\\e" in done.output
    # Each text of the others has a pattern.
    assert is_shown or listing.name in ("domains", "queues", "workflows")


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("example", EXAMPLES)
def test_no_command_prints_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(tmp_path, *shlex.split(Template(example).substitute(VALUES))[1:])
    assert UNSAFE.search(done.output) is None, repr(done.output)
