"""Workflows and tasks that the modules of a user define, and the module of each task."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar

from trimtab.errors import Invalid
from trimtab.workflows.code.bad_modules import BadModule
from trimtab.workflows.code.collecting import Code
from trimtab.workflows.code.import_graph import module_name
from trimtab.workflows.definitions.tasks import PythonTask
from trimtab.workflows.definitions.workflow_functions import WorkflowFunction
from trimtab.workflows.graphs.targets import Function


class _Defined(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def place(self) -> str: ...


D = TypeVar("D", bound=_Defined)


@dataclass
class Definitions:
    """The modules of a user after they ran, and what they define."""

    code: Code
    modules: Mapping[str, ModuleType]
    """The modules that may define workflows, by dotted name."""
    given: Path
    """The file or directory that the user named."""
    text: str | None = None
    """The code, where it is that of a single file."""
    image: str | None = None
    """The image that has the code, so that it is not registered."""

    @cached_property
    def workflows(self) -> dict[str, WorkflowFunction]:
        """Workflows by name, in the order of their definitions. Raises `BadModule`, `Invalid`."""
        found: dict[str, WorkflowFunction] = {}
        for name, module in self.modules.items():
            for value in vars(module).values():
                if isinstance(value, WorkflowFunction) and not self._is_imported(value, name):
                    _add(found, "workflow", value)
        if not found:
            raise BadModule(self.given, "defines no workflow; decorate a function with @workflow")
        return found

    @cached_property
    def tasks(self) -> dict[str, PythonTask[Any]]:
        """Tasks that the workflows call, by name. Raises `Invalid` where two have one name."""
        found: dict[str, PythonTask[Any]] = {}
        for defined in self.workflows.values():
            for called in defined.tasks.values():
                _add(found, "task", called)
        named = dict(found)
        for module in self.modules.values():
            for value in vars(module).values():
                if isinstance(value, PythonTask):
                    _add(named, "task", value)
        return found

    def target_of(self, task: PythonTask[Any]) -> Function:
        """Return where a task is found once more. Raises `Invalid` for one that is not."""
        if self.text is not None:
            [module] = self.modules.values()
            if (attribute := _attribute(module, task)) is None:
                raise Invalid("task", task.name, "a task defined at the top level of this file")
            return Function(name="" if attribute == task.name else attribute)
        for name, module in self._modules_of(task):
            if (attribute := _attribute(module, task)) is not None:
                return Function(module=name, name=attribute)
        raise Invalid("task", task.name, "a task defined at the top level of a module of the code")

    def _modules_of(self, task: PythonTask[Any]) -> Iterator[tuple[str, ModuleType]]:
        own = [name for path in self.code.files if (name := module_name(path)) is not None]
        first = task.function.__module__
        for name in (first, *own):
            if (name in own or self.image is not None) and name in sys.modules:
                yield name, sys.modules[name]

    def _is_imported(self, defined: WorkflowFunction, module: str) -> bool:
        """Return whether a name of a module is that of a workflow of another one.

        The other one may be given, too, and is the one that defines the workflow.
        """
        origin = defined.function.__module__
        return (
            self.text is None
            and origin != module
            and origin in sys.modules
            and any(value is defined for value in vars(sys.modules[origin]).values())
        )


def _add(found: dict[str, D], kind: str, defined: D) -> None:
    other = found.setdefault(defined.name, defined)
    if other is not defined:
        raise Invalid(
            kind,
            f"{defined.name} in {defined.place}",
            f"one {kind} of each name, and there is one in {other.place}",
        )


def _attribute(module: ModuleType, task: PythonTask[Any]) -> str | None:
    """Return the name of a task in a module, which may differ from that of its function."""
    names = [name for name, value in vars(module).items() if value is task]
    return task.name if task.name in names else next(iter(names), None)
