"""One embedded system for all tests of the command line, and a project for each test.

The system has the kind ``maintenance``, which is not installed where the command line runs.
"""

import asyncio
import itertools
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import nats
import pytest
from click.testing import CliRunner, Result

from tests.integration.embedded.running import Up
from trimtab.cli.main import cli
from trimtab.embedded.directory import Directory
from trimtab.messages import subjects
from trimtab.messages.events import DEAD_REASON, DEAD_SUBJECT

Trimtab = Callable[..., Result]
_NUMBERS = itertools.count(1)


MAINTENANCE = """
from pydantic import Field

from trimtab.kinds import Kind, Value
from trimtab.kinds.kind import KindModel
from trimtab.levels import Level


class Window(KindModel):
    hours: tuple[int, ...] | None = Field(default=None, strict=False)
    zone: str | None = None


class Maintenance(Value):
    window: Window | None = None
    contacts: dict[str, str] | None = None
    urgent: bool | None = None


KIND = Kind(
    name="maintenance",
    value=Maintenance,
    levels=frozenset({Level.DOMAIN, Level.PROJECT}),
    noun="maintenance",
    summary="Maintenance windows",
)
"""


@pytest.fixture(scope="session")
def maintenance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a directory with an installed distribution that registers the kind."""
    path = tmp_path_factory.mktemp("maintenance")
    (path / "maintenance.py").write_text(MAINTENANCE)
    information = path / "maintenance-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Name: maintenance\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[trimtab.kinds]\nm = maintenance:KIND\n")
    return path


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, maintenance: Path) -> Iterator[Path]:
    """Start the system, and return its data directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(maintenance))
        up = Up(tmp_path_factory.mktemp("cli") / "data")
        with up.ready():
            patch.undo()
            yield up.data


@pytest.fixture
def trimtab(data: Path) -> Trimtab:
    """Return a function that runs the command line; ``stdin`` is the input of the user."""

    def run(
        *arguments: str, stdin: str = "", env: Mapping[str, str | None] | None = None
    ) -> Result:
        defaults = {"TRIMTAB_DATA": str(data), "TRIMTAB_CONFIG": os.devnull}
        runner = CliRunner(env=defaults | dict(env or {}))
        result = runner.invoke(cli, arguments, input=stdin, prog_name="trimtab")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            pytest.fail("".join(traceback.format_exception(result.exception)))
        return result

    return run


@pytest.fixture
def project(trimtab: Trimtab) -> str:
    """Register a project for one test."""
    name = f"shop-{next(_NUMBERS)}"
    assert trimtab("register", "project", name).exit_code == 0
    return name


@pytest.fixture
def letter(data: Path) -> int:
    """Publish a dead letter, and return its sequence."""
    return asyncio.run(_publish_dead_letter(data))


async def _publish_dead_letter(data: Path) -> int:
    client = await nats.connect(Directory(data).nats_file.read_text().strip())
    original = subjects.requested("development", "shop")
    headers = {DEAD_REASON: "no such pool", DEAD_SUBJECT: original}
    subject = subjects.dead(subjects.EXECUTIONS, subjects.PROPELLER)
    published = await client.jetstream().publish(subject, b'{"why": "a test"}', headers=headers)
    await client.close()
    return published.seq
