"""Find calls that a body leaves out: a line that only mentions what it means to call. Pure.

Python evaluates such a line without a trace, so the body's code is searched for it.
"""

import dis
from collections.abc import Callable
from itertools import pairwise
from types import FunctionType

from trimtab.errors import Rejected
from trimtab.workflows.closures import Callee
from trimtab.workflows.promises import Unreadable

_METHODS = frozenset({"with_overrides", "with_runtime_override"})


def check_mentions(function: Callable[..., object]) -> None:
    """Raise `Rejected` for a task, workflow, reference or method that a line only mentions."""
    if not isinstance(function, FunctionType):
        return
    code = function.__code__
    for load, after in pairwise(dis.get_instructions(code)):
        if after.opname != "POP_TOP" or not _is_uncalled(function, load):
            continue
        line = load.positions.lineno if load.positions else code.co_firstlineno
        raise Rejected(
            f"{code.co_filename}, line {line}: {load.argval} without its call does nothing; "
            f"write {load.argval}(…)"
        )


def _is_uncalled(function: FunctionType, load: dis.Instruction) -> bool:
    match load.opname:
        case "LOAD_ATTR":
            return load.argval in _METHODS
        case "LOAD_GLOBAL":
            return _is_callee(function.__globals__.get(load.argval))
        case "LOAD_DEREF":
            return _is_callee(_variables_around(function).get(load.argval))
    return False


def _variables_around(function: FunctionType) -> dict[str, object]:
    """Return the variables of the functions around this one that have a value."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # It gets its value later.
            continue
    return found


def _is_callee(value: object) -> bool:
    return not isinstance(value, Unreadable) and isinstance(value, Callee)
