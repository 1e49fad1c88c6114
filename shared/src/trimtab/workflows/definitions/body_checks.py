"""Find mistakes in the code of a body that leave no trace when it runs. Pure.

Python evaluates a line that only mentions a task without any call, and whether a value ``is None``
without any method of its promise. So the instructions of the body are searched for them, and those
of the functions and comprehensions inside it.
"""

import dis
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Set
from itertools import pairwise
from types import CodeType, FunctionType
from typing import NamedTuple, NoReturn

from trimtab.errors import Rejected
from trimtab.workflows.definitions.closures import Callee
from trimtab.workflows.definitions.promises import Unreadable

_METHODS = frozenset({"with_overrides", "with_runtime_override"})
_LOOKS = frozenset({"isinstance", "type", "callable", "id", "vars", "dir"})
"""Builtin functions that a promise cannot refuse."""
_WITHOUT_EFFECT = frozenset({"CACHE", "COPY", "EXTENDED_ARG", "NOP", "NOT_TAKEN", "PUSH_NULL"})
_CLASS_OF_PATTERN = frozenset({"LOAD_GLOBAL", "LOAD_DEREF", "LOAD_ATTR", "LOAD_CONST"})
_ONE_VALUE = frozenset({"LOAD_CONST", "LOAD_GLOBAL", "LOAD_SMALL_INT"})

_VARIABLE = re.compile("(LOAD|STORE)_(?:FAST|DEREF)")
"""In the name of an instruction, which may be about two variables."""


def check_body(function: Callable[..., object]) -> None:
    """Raise `Rejected` for a call that is left out, and for a look at a promise."""
    function = inspect.unwrap(function)
    if not isinstance(function, FunctionType):
        return
    code = function.__code__
    inputs = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    _check(function, code, inputs)


def _check(function: FunctionType, code: CodeType, promises: Iterable[str]) -> None:
    """Check a code of which some variables have promises when it begins, and those inside it."""
    found = [each for each in dis.get_instructions(code) if each.opname not in _WITHOUT_EFFECT]
    callees = _Callees(function, code)
    variables = _Variables(code, found, callees, promises)
    for index, each in enumerate(found):
        window = found[index : index + 6]
        for mistake in (*callees.left_out(window), *_looks(variables, window)):
            line = each.positions.lineno if each.positions else code.co_firstlineno
            _refuse(function, line, mistake)
    for inner in _inner(code):
        _check(function, inner, variables.always & set(inner.co_freevars))


def _refuse(function: FunctionType, line: int | None, mistake: str) -> NoReturn:
    raise Rejected(f"{function.__code__.co_filename}, line {line}: {mistake}")


def _inner(code: CodeType) -> Iterator[CodeType]:
    return (each for each in code.co_consts if isinstance(each, CodeType))


def _looks(variables: "_Variables", window: list[dis.Instruction]) -> Iterator[str]:
    """Yield the operation of the first instructions that looks at a promise."""
    load, after = window[0], window[1] if len(window) > 1 else window[0]
    operation, names = "", _names("LOAD", load)[-1:]
    if after.opname.endswith(("IF_NONE", "IF_NOT_NONE")):
        operation = "is None"
    elif load.opname == "LOAD_GLOBAL" and load.argval in _LOOKS:
        operation, names = f"{load.argval}()", _names("LOAD", after)[:1]
    elif len(window) > 2 and window[2].opname == "IS_OP":
        operation, names = "is", _compared(load, after)
    elif _is_matched(window[1:]):
        operation = "match"
    if operation and (promises := variables.promises(names, load.offset)):
        yield (
            f"{operation} on {min(promises)} looks at a promise and not at its value; pass it "
            "unchanged to a task, which gets the value and can do this"
        )


def _compared(first: dis.Instruction, second: dis.Instruction) -> list[str]:
    """Return the variables that ``is`` after two instructions compares."""
    variables = _names("LOAD", second)[-2:]
    if len(variables) == 1 or second.opname in _ONE_VALUE:
        variables += _names("LOAD", first)[-1:]
    return variables


def _is_matched(after: list[dis.Instruction]) -> bool:
    """Return whether a pattern of ``match`` is compared with what has been loaded before."""
    for each in after:
        if each.opname not in _CLASS_OF_PATTERN:
            is_class = each.opname == "MATCH_CLASS" and each is not after[0]
            is_direct = each.opname in ("MATCH_SEQUENCE", "MATCH_MAPPING") and each is after[0]
            return is_class or is_direct
    return False


def _names(action: str, instruction: dis.Instruction) -> list[str]:
    """Return the variables of the function that an instruction loads, or stores."""
    actions = _VARIABLE.findall(instruction.opname)
    variables = instruction.argval if len(actions) > 1 else (instruction.argval,)
    return [name for each, name in zip(actions, variables, strict=False) if each == action]


class _Callees:
    """The callees that a code of the body names: those defined outside of the body."""

    def __init__(self, function: FunctionType, code: CodeType) -> None:
        self._globals = function.__globals__
        around = _variables_around(function)
        own = {*code.co_varnames, *code.co_cellvars}
        self._around = {name: each for name, each in around.items() if name not in own}

    def left_out(self, window: list[dis.Instruction]) -> Iterator[str]:
        """Yield the mistake where a callee is loaded and thrown away."""
        load, *after = window
        is_method = load.opname == "LOAD_ATTR" and load.argval in _METHODS
        if after and after[0].opname == "POP_TOP" and (is_method or self.loads_one(load)):
            yield f"{load.argval} without its call does nothing; write {load.argval}(…)"

    def loads_one(self, load: dis.Instruction) -> bool:
        match load.opname:
            case "LOAD_GLOBAL":
                return _is_callee(self._globals.get(load.argval))
            case "LOAD_DEREF":
                return _is_callee(self._around.get(load.argval))
        return False


class _Store(NamedTuple):
    """An instruction that gives a variable a value."""

    first_seen: int
    """The lowest offset of an instruction that may run after it."""
    is_call: bool
    """Whether the value is the output of a callee."""


class _Variables:
    """The variables that can only have a promise, by the offset of an instruction."""

    def __init__(
        self,
        code: CodeType,
        found: list[dis.Instruction],
        callees: _Callees,
        promises: Iterable[str],
    ) -> None:
        self._stores: dict[str, list[_Store]] = {name: [] for name in promises}
        calls = {_start(each) for each in found if callees.loads_one(each)} - {None}
        jumps = [(each.offset, each.argval) for each in found if "JUMP_BACKWARD" in each.opname]
        for before, each in pairwise(found):
            for name in _names("STORE", each):
                is_call = before.opname.startswith("CALL") and _start(before) in calls
                store = _Store(_first_after(each.offset, jumps), is_call)
                self._stores.setdefault(name, []).append(store)
        for name in _stored_inside(code):
            self._stores.pop(name, None)

    @property
    def always(self) -> Set[str]:
        """The variables that never have another value than a promise."""
        return {name for name, stores in self._stores.items() if all(s.is_call for s in stores)}

    def promises(self, names: Iterable[str], offset: int) -> Set[str]:
        """Return those of the variables that have a promise where an instruction runs."""
        return {
            name
            for name in names
            if name in self._stores
            and all(each.is_call for each in self._stores[name] if each.first_seen <= offset)
        }


def _first_after(offset: int, jumps: list[tuple[int, int]]) -> int:
    """Return the lowest offset that may run after this one, by jumps backward."""
    first = offset
    while (lower := min((to for at, to in jumps if at >= first), default=first)) < first:
        first = lower
    return first


def _stored_inside(code: CodeType) -> Iterator[str]:
    """Yield the variables of outer functions to which functions inside a code assign."""
    for inner in _inner(code):
        for each in dis.get_instructions(inner):
            if each.opname in ("STORE_DEREF", "DELETE_DEREF") and each.argval in inner.co_freevars:
                yield each.argval
        yield from _stored_inside(inner)


def _start(instruction: dis.Instruction) -> tuple[int | None, int] | None:
    """Return where the expression of an instruction begins: a call begins with its callee.

    It is unknown where Python runs without columns.
    """
    at = instruction.positions
    return None if at is None or at.col_offset is None else (at.lineno, at.col_offset)


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
