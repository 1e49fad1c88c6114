"""An archived project is pruned from the command line, through all services."""

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import TypeVar

from click.testing import CliRunner, Result

from tests.servers import PATIENCE_SECONDS
from tests.system import System
from trimtab.cli.main import cli

T = TypeVar("T")

NAMESPACE = "shop-development"


def run(system: System, *arguments: str) -> Result:
    variables = {"TRIMTAB_SERVER": system.url, "TRIMTAB_TOKEN": system.token}
    return CliRunner().invoke(cli, arguments, env=variables)


def succeed(system: System, *arguments: str) -> str:
    done = run(system, *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def files(system: System) -> set[str]:
    return {file.name for file in (system.manifests / NAMESPACE).glob("*.yaml")}


def until(condition: Callable[[], T]) -> T:
    """Wait until the condition holds, and return its value."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return value


def test_an_archived_project_is_pruned_once_exactly_its_list_is_confirmed(system: System) -> None:
    asyncio.run(system.until_ready())
    succeed(system, "register", "project", "shop")
    made = until(lambda: files(system))
    succeed(system, "archive", "project", "shop")
    command = ("namespaces", "prune", NAMESPACE)
    [digest] = until(lambda: re.findall("--digest ([0-9a-f]+)", run(system, *command).stdout))
    assert files(system) == made
    wrong = run(system, *command, "--digest", "0" * 32)
    assert (wrong.exit_code, digest in wrong.output) == (4, True)
    arguments = (*command, "--cluster", "embedded", "--digest", digest)
    pruned = json.loads(succeed(system, *arguments, "--reason", "closed", "-o", "json"))
    assert (pruned["pruned"], pruned["count"], files(system)) == (True, len(made), set())
    assert "closed" in succeed(system, "history", "--project", "shop")
    assert "awaits a confirmation" in succeed(system, *command)
    succeed(system, "unarchive", "project", "shop")
    until(lambda: files(system) == made)
