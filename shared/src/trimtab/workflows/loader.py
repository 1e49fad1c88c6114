"""Runs the Python file of a workflow: at registration from its path, at run time as registered."""

import hashlib
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from trimtab.errors import Invalid, Rejected
from trimtab.workflows.graph import LaunchPlan, Workflow
from trimtab.workflows.overrides import Pool
from trimtab.workflows.sdk import TaskFunction, WorkflowFunction

_NAME = "trimtab_workflow"
"""What a module is called while it runs, whatever its file is called."""


class BadModule(Rejected):
    """The file is not a module of workflows."""

    def __init__(self, path: Path, reason: str, line: int | None = None) -> None:
        place = str(path) if line is None else f"{path}, line {line}"
        super().__init__(f"{place}: {reason}")
        self.path = path
        self.reason = reason
        self.line = line


@dataclass(frozen=True)
class Module:
    """What a file defines, ready to be registered."""

    workflows: tuple[Workflow, ...]
    launch_plans: tuple[LaunchPlan, ...]
    """Beside the default ones."""
    pools: tuple[Pool, ...]
    """Those that the tasks give a quota."""


def load_module(path: str | Path, version: str | None = None) -> Module:
    """Run a file and trace its workflows. Raises `BadModule`.

    Without a version one is made from the text, so that the same text is the same version.
    """
    path = Path(path)
    source = _read(path)
    version = version or hashlib.sha256(source.encode()).hexdigest()[:12]
    namespace = vars(execute(path, source))
    found = {v.name: v for v in namespace.values() if isinstance(v, WorkflowFunction)}
    if not found:
        raise BadModule(path, "defines no workflow; decorate a function with @workflow")
    try:
        graphs = {name: defined.graph(version, source) for name, defined in found.items()}
        plans = tuple(
            plan.graph(graphs[name])
            for name, defined in found.items()
            for plan in defined.launch_plans.values()
        )
        tasks = [called for defined in found.values() for called in defined.tasks.values()]
        _check_own(tasks, namespace)
        return Module(tuple(graphs.values()), plans, _pools(tasks))
    except Exception as error:
        raise _bad(path, error) from error


def execute(path: Path, source: str) -> ModuleType:
    """Run the module's body, without leaving a bytecode file. Raises `BadModule` with the line."""
    module = ModuleType(_NAME)
    module.__file__ = str(path)
    # Dataclasses and pickle look a class up in its module by name.
    sys.modules[_NAME] = module
    try:
        exec(compile(source, str(path), "exec"), vars(module))
    except SyntaxError as error:
        raise BadModule(path, f"is not Python: {error.msg}", error.lineno) from error
    except (Exception, SystemExit) as error:
        raise _bad(path, error) from error
    return module


def line_of(error: BaseException, path: Path) -> int | None:
    """The innermost line of the file that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno for f in reversed(frames) if f.filename == str(path)), None)


def describe(error: BaseException) -> str:
    """``ValueError: no rows``, as the last line of a traceback; ours in their own words."""
    if isinstance(error, Rejected):
        return str(error)
    return "".join(traceback.format_exception_only(error)).strip()


def _bad(path: Path, error: BaseException) -> BadModule:
    """What the user's own code raised, which may be anything."""
    return BadModule(path, describe(error), line_of(error, path))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadModule(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadModule(path, f"is not UTF-8: {error.reason}") from error


def _check_own(tasks: Iterable[TaskFunction[Any]], namespace: dict[str, Any]) -> None:
    """Only this module's text travels with the workflow, and tasks are found in it by name."""
    for called in tasks:
        if namespace.get(called.name) is not called:
            raise Invalid("task", called.name, "a task of this file, at its top level")


def _pools(tasks: Iterable[TaskFunction[Any]]) -> tuple[Pool, ...]:
    pools: dict[str, Pool] = {}
    for called in tasks:
        pool = called.pool
        if pool is None or pool.quota is None:
            continue
        if pools.setdefault(pool.name, pool) != pool:
            raise Invalid(f"pool {pool.name}: quota", pool.quota, str(pools[pool.name].quota))
    return tuple(pools.values())
