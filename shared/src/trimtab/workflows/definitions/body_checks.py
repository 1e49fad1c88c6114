"""Find mistakes in the code of a body that leave no trace when it runs. Pure.

Python evaluates a line that only mentions a task without any call, and whether a value ``is None``
without any method of its promise. So the instructions of the body are searched for them.
"""

import dis
import inspect
import re
from collections.abc import Callable, Iterator, Sequence, Set
from itertools import pairwise
from types import FunctionType
from typing import NoReturn

from trimtab.errors import Rejected
from trimtab.workflows.definitions.closures import Callee
from trimtab.workflows.definitions.promises import Unreadable

_METHODS = frozenset({"with_overrides", "with_runtime_override"})
_LOOKS = frozenset({"isinstance", "type", "callable", "id"})
"""Builtin functions that a promise cannot refuse."""
_WITHOUT_EFFECT = frozenset({"CACHE", "COPY", "EXTENDED_ARG", "NOP", "NOT_TAKEN", "PUSH_NULL"})

_VARIABLE = re.compile("(LOAD|STORE)_(?:FAST|DEREF)")
"""In the name of an instruction, which may be about two variables."""

Pair = tuple[dis.Instruction, dis.Instruction]


def check_body(function: Callable[..., object]) -> None:
    """Raise `Rejected` for a call that is left out, and for a look at a promise."""
    function = inspect.unwrap(function)
    if not isinstance(function, FunctionType):
        return
    found = [
        each
        for each in dis.get_instructions(function.__code__)
        if each.opname not in _WITHOUT_EFFECT
    ]
    promises = _promises(function, found)
    for pair in pairwise(found):
        for mistake in (*_left_out(function, pair), *_looks(promises, pair)):
            _refuse(function, pair[0], mistake)
    for first, second, after in zip(found, found[1:], found[2:], strict=False):
        loaded = {*_names("LOAD", first), *_names("LOAD", second)}
        if after.opname == "IS_OP" and loaded & promises:
            _refuse(function, after, _no_value("is", loaded & promises))


def _refuse(function: FunctionType, at: dis.Instruction, mistake: str) -> NoReturn:
    code = function.__code__
    line = at.positions.lineno if at.positions else code.co_firstlineno
    raise Rejected(f"{code.co_filename}, line {line}: {mistake}")


def _left_out(function: FunctionType, pair: Pair) -> Iterator[str]:
    load, after = pair
    if after.opname == "POP_TOP" and _is_uncalled(function, load):
        yield f"{load.argval} without its call does nothing; write {load.argval}(…)"


def _looks(promises: Set[str], pair: Pair) -> Iterator[str]:
    load, after = pair
    compared = promises & set(_names("LOAD", load)[-1:])
    if compared and after.opname.endswith(("IF_NONE", "IF_NOT_NONE")):
        yield _no_value("is None", compared)
    given = promises & set(_names("LOAD", after)[:1])
    if given and load.opname == "LOAD_GLOBAL" and load.argval in _LOOKS:
        yield _no_value(f"{load.argval}()", given)


def _no_value(operation: str, promises: Set[str]) -> str:
    return (
        f"{operation} on {min(promises)} looks at a promise and not at its value; pass it "
        "unchanged to a task, which gets the value and can do this"
    )


def _names(action: str, instruction: dis.Instruction) -> list[str]:
    """Return the variables of the function that an instruction loads, or stores."""
    actions = _VARIABLE.findall(instruction.opname)
    variables = instruction.argval if len(actions) > 1 else (instruction.argval,)
    return [name for each, name in zip(actions, variables, strict=False) if each == action]


def _promises(function: FunctionType, found: Sequence[dis.Instruction]) -> Set[str]:
    """Return the parameters and variables that never have another value than a promise."""
    code = function.__code__
    names = dict.fromkeys(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], True)
    callees = {_start(each) for each in found if _loads_callee(function, each)}
    for before, each in pairwise(found):
        is_call = before.opname.startswith("CALL") and _start(before) in callees
        for name in _names("STORE", each):
            names[name] = names.get(name, True) and is_call
    return {name for name, is_promise in names.items() if is_promise}


def _start(instruction: dis.Instruction) -> tuple[int | None, int | None]:
    """Return where the expression of an instruction begins: a call begins with its callee."""
    positions = instruction.positions or dis.Positions()
    return positions.lineno, positions.col_offset


def _loads_callee(function: FunctionType, load: dis.Instruction) -> bool:
    match load.opname:
        case "LOAD_GLOBAL":
            return _is_callee(function.__globals__.get(load.argval))
        case "LOAD_DEREF":
            return _is_callee(_variables_around(function).get(load.argval))
    return False


def _is_uncalled(function: FunctionType, load: dis.Instruction) -> bool:
    is_method = load.opname == "LOAD_ATTR" and load.argval in _METHODS
    return is_method or _loads_callee(function, load)


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
