"""Run the Python module of a workflow, to register it or to execute one of its tasks."""

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
from trimtab.workflows.tasks import PythonTask
from trimtab.workflows.workflow_functions import WorkflowFunction

_NAME = "trimtab_workflow"
"""The name of the module while it runs, whatever the name of its file."""


class BadModule(Rejected):
    """The file is not a Python module that defines workflows."""

    def __init__(self, path: Path, reason: str, line: int | None = None) -> None:
        position = "" if line is None else f", line {line}"
        super().__init__(f"{path}{position}: {reason}")
        self.path = path
        self.reason = reason
        self.line = line


@dataclass(frozen=True)
class Module:
    """The workflows, launch plans and pools that a file defines, ready to be registered."""

    workflows: tuple[Workflow, ...]
    launch_plans: tuple[LaunchPlan, ...]
    """Launch plans other than the default ones."""
    pools: tuple[Pool, ...]
    """Pools whose quota the tasks declare."""


def load_module(path: str | Path, version: str | None = None) -> Module:
    """Run a file and build the graphs of its workflows. Raises `BadModule`.

    The default version is a hash of the text, so that the same text has the same version.
    """
    path = Path(path)
    source = _read(path)
    version = version or hashlib.sha256(source.encode()).hexdigest()[:12]
    namespace = vars(run_module(path, source))
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
        _check_defined_here(tasks, namespace)
        return Module(tuple(graphs.values()), plans, _declared_pools(tasks))
    except Exception as error:
        raise _bad_module(path, error) from error


def run_module(path: Path, source: str) -> ModuleType:
    """Run the body of a module, without writing a bytecode file. Raises `BadModule`."""
    module = ModuleType(_NAME)
    module.__file__ = str(path)
    # Dataclasses and pickle look a class up in its module by name.
    sys.modules[_NAME] = module
    try:
        exec(compile(source, str(path), "exec"), vars(module))
    except SyntaxError as error:
        raise BadModule(path, f"is not Python: {error.msg}", error.lineno) from error
    except (Exception, SystemExit) as error:
        raise _bad_module(path, error) from error
    return module


def forget_module() -> None:
    """Drop what the module that ran defines, so that files that it has left open are closed."""
    module = sys.modules.pop(_NAME, None)
    if module is not None:
        vars(module).clear()


def line_of(error: BaseException, path: Path) -> int | None:
    """Return the innermost line of the file in the traceback of the error, if there is one."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno for f in reversed(frames) if f.filename == str(path)), None)


def describe_error(error: BaseException) -> str:
    """Return the last line of a traceback, ``ValueError: no rows``; for `Rejected`, its message."""
    if isinstance(error, Rejected):
        return str(error)
    return "".join(traceback.format_exception_only(error)).strip()


def _bad_module(path: Path, error: BaseException) -> BadModule:
    """Report an error that the user's code raised, which may be of any class."""
    return BadModule(path, describe_error(error), line_of(error, path))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadModule(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadModule(path, f"is not UTF-8: {error.reason}") from error


def _check_defined_here(tasks: Iterable[PythonTask[Any]], namespace: dict[str, Any]) -> None:
    """Raise `Invalid` on a task from another module.

    Only the text of this module is stored with the workflow, and tasks are looked up in it by name.
    """
    for task in tasks:
        if namespace.get(task.name) is not task:
            raise Invalid("task", task.name, "a task defined at the top level of this file")


def _declared_pools(tasks: Iterable[PythonTask[Any]]) -> tuple[Pool, ...]:
    pools: dict[str, Pool] = {}
    for task in tasks:
        pool = task.pool
        if pool is None or pool.quota is None:
            continue
        if pools.setdefault(pool.name, pool) != pool:
            raise Invalid(f"pool {pool.name}: quota", pool.quota, str(pools[pool.name].quota))
    return tuple(pools.values())
