"""The SDK: compiling a workflow of 1,000 nodes, and importing it next to pydantic.

Each figure is the best of several rounds, in CPU time. Imports run in fresh interpreters and take
turns, so that load affects both. Run as ``python -m bench.sdk``.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

from trimtab import Resources, runtime_override_config, task, workflow
from trimtab.workflows.graphs.expansion import expand

NODES = 1000
ROUNDS = 5
COMPILE_GOAL_SECONDS = 1.0
IMPORT_GOAL_SECONDS = 0.3
PARTS = {"trimtab": "task", "pydantic": "BaseModel"}
"""Names that are looked up, because pydantic imports its parts at their first use."""


@task(retries=1, resources=Resources(cpu="500m", mem="1Gi"))
def step(number: int, before: int = 0) -> int:
    return number + before


def flat() -> float:
    """Return the seconds to compile one body of 1,000 calls, each with overrides and a hook."""

    def body(before: int = 0) -> Any:
        for number in range(NODES):
            before = (
                step(number=number, before=before)
                .with_overrides(environment={"STEP": str(number)})
                .with_runtime_override(f"step-{number}", runtime_override_config(cpu=2))
            )
        return before

    return _compiled(body)


def nested() -> float:
    """Return the seconds to compile and expand 100 calls of a workflow of 10 nodes."""

    @workflow
    def ten(before: int = 0) -> Any:
        for number in range(10):
            before = step(number=number, before=before)
        return before

    def body(before: int = 0) -> Any:
        for _ in range(NODES // 10):
            before = ten(before=before).with_overrides(retries=2)
        return before

    return _compiled(body)


def _compiled(body: Callable[..., Any]) -> float:
    began = time.process_time()
    graph = workflow(body).graph("v1", "")
    assert len(expand(graph).nodes) == NODES
    return time.process_time() - began


def import_seconds(module: str, bytecode: str) -> float:
    """Return how long a fresh interpreter imports a module; its own start is not included."""
    code = (
        "import time; began = time.process_time(); "
        f"import {module}; {module}.{PARTS[module]}; print(time.process_time() - began)"
    )
    # As in an installed package, modules are compiled once.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    return float(done.stdout)


def imports() -> tuple[float, float]:
    """Return the CPU seconds to import trimtab, and pydantic alone."""
    with TemporaryDirectory() as bytecode:
        rounds = [[import_seconds(each, bytecode) for each in PARTS] for _ in range(ROUNDS + 1)]
    trimtab, pydantic = (min(column) for column in zip(*rounds[1:], strict=True))
    return trimtab, pydantic


def run() -> None:
    """Print each figure with its goal."""
    for name, measure in (("one body", flat), ("100 sub-workflows", nested)):
        seconds = min(measure() for _ in range(ROUNDS))
        print(f"{f'compile {NODES:,} nodes, {name}':<40}{seconds * 1000:>8.0f} ms", end="")
        print(f"    goal < {COMPILE_GOAL_SECONDS * 1000:.0f} ms")
    trimtab, pydantic = imports()
    print(f"{'import trimtab':<40}{trimtab * 1000:>8.0f} ms", end="")
    print(f"    goal < {IMPORT_GOAL_SECONDS * 1000:.0f} ms")
    print(f"{'of it: import pydantic':<40}{pydantic * 1000:>8.0f} ms")


if __name__ == "__main__":
    run()
