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
import pathlib
import time

from trimtab import task, workflow


@task
def rest(gate: str) -> str:
    while not pathlib.Path(gate).exists():
        time.sleep(0.1)
    return gate


@workflow
def resting(gate: str):
    return rest(gate=gate)
"""
LOCATION = """\
import pathlib

from trimtab_propeller.executors import linux, records

shim = records.read_shim(pathlib.Path("/var/lib/trimtab/executions/{}/n0/{}"))
is_here = shim is not None and shim.pid_namespace == linux.pid_namespace()
print(is_here and shim.start_time == linux.start_time(shim.pid))
"""
STOP = """\
import asyncio
import pathlib

from trimtab_propeller.executors.attempt import Attempt
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


def start(stack: Stack, gate: str) -> tuple[str, str]:
    """Start an execution, and return it and the propeller in whose container its task runs.

    The task ends when the file ``gate`` exists.
    """
    given = ("--input", f"gate={gate}", "--no-wait")
    execution = stack.trimtab("execute", "resting", *FLAGS, *given).split()[0]
    return execution, stack.eventually(lambda: location(stack, execution))


def location(stack: Stack, execution: str, attempt: int = 0) -> str:
    """Return the propeller in whose container an attempt runs; empty where none runs it."""
    code = LOCATION.format(execution, attempt)
    return next((p for p in PROPELLERS if stack.exec(p, "python", "-c", code) == "True"), "")


def state(stack: Stack, execution: str) -> Any:
    [body] = json.loads(stack.trimtab("get", "executions", execution, *FLAGS, "-o", "json"))
    return body


def is_taken_over(stack: Stack, execution: str) -> bool:
    lines = stack.compose("logs", "--no-color", "--no-log-prefix", "propeller").splitlines()
    found = [json.loads(line) for line in lines if '"execution.taken_over"' in line]
    return execution in {entry["execution"] for entry in found}


@contextmanager
def without_network(stack: Stack, container: str) -> Iterator[None]:
    connection = (f"{stack.project}_default", stack.name(container))
    stack.docker("network", "disconnect", *connection)
    try:
        yield
    finally:
        stack.docker("network", "connect", *connection)


@pytest.mark.usefixtures("project")
def test_a_task_is_followed_to_its_end_when_its_propeller_loses_the_network(stack: Stack) -> None:
    gate = "/var/lib/trimtab/gate"
    execution, owner = start(stack, gate)
    other = PROPELLERS[owner == PROPELLERS[0]]
    with without_network(stack, owner):
        stack.eventually(lambda: is_taken_over(stack, execution))
        assert location(stack, execution) == owner
        stack.exec(other, "touch", gate)
        stack.eventually(lambda: state(stack, execution)["phase"] == "succeeded")
    node = state(stack, execution)["nodes"]["n0"]
    assert (node["attempt"], node["output"]) == (0, gate)
    stack.wait_until_healthy()


@pytest.mark.usefixtures("project")
def test_a_propeller_stops_the_attempt_of_another_container_and_no_other(stack: Stack) -> None:
    (first, owner), (second, _) = start(stack, "/never"), start(stack, "/never")
    other = PROPELLERS[owner == PROPELLERS[0]]
    code = STOP.format(first)
    assert stack.exec(other, "python", "-c", code) == "Stopped"
    assert not location(stack, first)
    assert location(stack, second)
    # An attempt that propeller stopped does not count as a retry.
    stack.eventually(lambda: location(stack, first, attempt=1))
