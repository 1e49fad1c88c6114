"""A propeller takes over and stops what runs in the container of another one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import Stack

FLAGS = ("-p", "takeover", "-d", "development")
PROPELLERS = ("propeller-1", "propeller-2")
MODULE = """\
import time

from trimtab import task, workflow


@task
def rest(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@workflow
def resting(seconds: float):
    return rest(seconds=seconds)
"""
STOP = """\
import asyncio
import pathlib

from trimtab_propeller.executors.port import Attempt
from trimtab_propeller.executors.process import ProcessExecutor

names = dict.fromkeys(("project", "domain", "workflow", "task", "module"), "")
attempt = Attempt(execution="{}", node="n0", number=0, inputs={{}}, environment={{}}, **names)
executor = ProcessExecutor(pathlib.Path("/var/lib/trimtab"))
print(type(asyncio.run(executor.stop(attempt))).__name__)
"""


@pytest.fixture
def project(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "resting.py").write_text(MODULE)
    if "takeover" not in stack.trimtab("get", "projects"):
        stack.trimtab("register", "project", "takeover")
        stack.trimtab("register", str(tmp_path / "resting.py"), *FLAGS)


def start(stack: Stack, seconds: float) -> tuple[str, str]:
    """Start an execution, and return it and the propeller in whose container its task runs."""
    given = ("--input", f"seconds={seconds}", "--no-wait")
    execution = stack.trimtab("execute", "resting", *FLAGS, *given).split()[0]
    return execution, stack.eventually(lambda: location(stack, execution))


def location(stack: Stack, execution: str, attempt: int = 0) -> str:
    """Return the propeller in whose container an attempt runs; empty where none runs it."""
    part = f"trimtab.workflows.entrypoint /var/lib/trimtab/executions/{execution}/n0/{attempt}"
    return next((p for p in PROPELLERS if part in stack.docker("top", f"trimtab-e2e-{p}")), "")


def state(stack: Stack, execution: str) -> Any:
    [body] = json.loads(stack.trimtab("get", "executions", execution, *FLAGS, "-o", "json"))
    return body


@contextmanager
def without_network(stack: Stack, container: str) -> Iterator[None]:
    connection = ("trimtab-e2e_default", f"trimtab-e2e-{container}")
    stack.docker("network", "disconnect", *connection)
    try:
        yield
    finally:
        stack.docker("network", "connect", *connection)


@pytest.mark.usefixtures("project")
def test_a_task_is_followed_to_its_end_when_its_propeller_loses_the_network(stack: Stack) -> None:
    execution, owner = start(stack, 15)
    with without_network(stack, owner):
        stack.eventually(lambda: state(stack, execution)["phase"] == "succeeded")
    node = state(stack, execution)["nodes"]["n0"]
    assert (node["attempt"], node["output"]) == (0, 15)
    stack.wait_until_healthy()


@pytest.mark.usefixtures("project")
def test_a_propeller_stops_the_attempt_of_another_container_and_no_other(stack: Stack) -> None:
    (first, owner), (second, _) = start(stack, 1000), start(stack, 1000)
    other = PROPELLERS[owner == PROPELLERS[0]]
    code = STOP.format(first)
    assert stack.docker("exec", f"trimtab-e2e-{other}", "python", "-c", code) == "Interrupted"
    assert not location(stack, first)
    assert location(stack, second)
    # An interrupted attempt does not count as a retry.
    stack.eventually(lambda: location(stack, first, attempt=1))
