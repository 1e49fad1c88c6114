"""Find mistakes in the code of a body that leave no trace when it runs. Pure.

Python evaluates a line that only mentions a task without any call, and whether an input ``is None``
without any method of its promise. So the instructions of the body are searched for them.
"""

import dis
from collections.abc import Callable, Collection, Iterator
from itertools import pairwise
from types import FunctionType

from trimtab.errors import Rejected
from trimtab.workflows.closures import Callee
from trimtab.workflows.promises import Unreadable

_METHODS = frozenset({"with_overrides", "with_runtime_override"})
_LOOKS = frozenset({"isinstance", "type", "callable", "id"})
"""Builtin functions that a promise cannot refuse."""
_WITHOUT_EFFECT = frozenset({"CACHE", "COPY", "EXTENDED_ARG", "NOP", "NOT_TAKEN", "PUSH_NULL"})

Pair = tuple[dis.Instruction, dis.Instruction]


def check_body(function: Callable[..., object]) -> None:
    """Raise `Rejected` for a call that is left out, and for a look at an input of a workflow."""
    if not isinstance(function, FunctionType):
        return
    code, inputs = function.__code__, _inputs(function)
    found = [each for each in dis.get_instructions(code) if each.opname not in _WITHOUT_EFFECT]
    for pair in pairwise(found):
        for mistake in (*_left_out(function, pair), *_looks(inputs, pair)):
            positions = pair[0].positions
            line = positions.lineno if positions else code.co_firstlineno
            raise Rejected(f"{code.co_filename}, line {line}: {mistake}")
    for first, second, after in zip(found, found[1:], found[2:], strict=False):
        if after.opname == "IS_OP" and (_loads(first, inputs) or _loads(second, inputs)):
            line = after.positions.lineno if after.positions else code.co_firstlineno
            raise Rejected(f"{code.co_filename}, line {line}: {_no_value('is')}")


def _left_out(function: FunctionType, pair: Pair) -> Iterator[str]:
    load, after = pair
    if after.opname == "POP_TOP" and _is_uncalled(function, load):
        yield f"{load.argval} without its call does nothing; write {load.argval}(…)"


def _looks(inputs: Collection[object], pair: Pair) -> Iterator[str]:
    load, after = pair
    if _loads(load, inputs) and after.opname.endswith(("IF_NONE", "IF_NOT_NONE")):
        yield _no_value("is None")
    if load.opname == "LOAD_GLOBAL" and load.argval in _LOOKS and _loads(after, inputs):
        yield _no_value(f"{load.argval}()")


def _no_value(operation: str) -> str:
    return (
        f"{operation} on an input of the workflow looks at a promise and not at its value; pass "
        "the input unchanged to a task, which gets the value and can do this"
    )


def _loads(load: dis.Instruction, inputs: Collection[object]) -> bool:
    return load.opname.startswith(("LOAD_FAST", "LOAD_DEREF")) and load.argval in inputs


def _inputs(function: FunctionType) -> frozenset[object]:
    """Return the parameters to which the body assigns nothing else."""
    code = function.__code__
    stored = {
        each.argval for each in dis.get_instructions(code) if each.opname.startswith("STORE_")
    }
    return frozenset(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]) - stored


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
