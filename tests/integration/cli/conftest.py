"""One embedded system for all tests of the command line, and a project for each."""

import itertools
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.integration.embedded.running import Up
from trimtab.cli.main import cli

Trimtab = Callable[..., Result]
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data directory of the running system."""
    with Up(tmp_path_factory.mktemp("cli") / "data").ready() as up:
        yield up.data


@pytest.fixture
def trimtab(data: Path) -> Trimtab:
    """Run the command line; ``stdin`` is what a person types."""

    def run(*arguments: str, stdin: str = "") -> Result:
        runner = CliRunner(env={"TRIMTAB_DATA": str(data)})
        result = runner.invoke(cli, arguments, input=stdin, prog_name="trimtab")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            pytest.fail("".join(traceback.format_exception(result.exception)))
        return result

    return run


@pytest.fixture
def project(trimtab: Trimtab) -> str:
    """Registered, and used by one test only."""
    name = f"shop-{next(_NUMBERS)}"
    assert trimtab("register", "project", name).exit_code == 0
    return name
