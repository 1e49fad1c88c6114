"""Promises: what calls return while the body of a workflow builds its graph. Pure.

A promise has no value. Whatever would read one would silently run on something else than the data
of an execution, so it is an error where it is written.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from typing import NoReturn, Self

from pydantic import BaseModel

from trimtab.errors import Rejected

_SHOWN = re.compile(r"<(input \w+|output of \S+ \(node [\w-]+\)) of workflow \w+>")
"""The text that `repr` returns for a promise."""

_UNARY = {
    "__neg__": "-",
    "__pos__": "+",
    "__invert__": "~",
    "__abs__": "abs()",
    "__len__": "len()",
    "__int__": "int()",
    "__float__": "float()",
    "__complex__": "complex()",
    "__index__": "use as an index",
    "__round__": "round()",
    "__trunc__": "math.trunc()",
    "__floor__": "math.floor()",
    "__ceil__": "math.ceil()",
    "__bytes__": "bytes()",
    "__fspath__": "use as a path",
    "__hash__": "hash(), or use as a key of a dict or an item of a set",
    "__str__": "str(), %s or print() (repr() shows what it stands for)",
    "__format__": "an f-string or format()",
    "__bool__": "if, while, and, or, not or bool()",
    "__iter__": "iteration, unpacking or *",
    "__reversed__": "reversed()",
    "__next__": "next()",
    "__contains__": "in",
    "__getitem__": "an index or a key in []",
    "__setitem__": "assignment to []",
    "__delitem__": "del []",
    "__call__": "a call",
    "__enter__": "with",
    "__exit__": "with",
    "__reduce_ex__": "pickle",
    "__setattr__": "assignment to an attribute",
    "__delattr__": "del of an attribute",
}
_BINARY = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "matmul": "@",
    "truediv": "/",
    "floordiv": "//",
    "mod": "%",
    "divmod": "divmod()",
    "pow": "**",
    "lshift": "<<",
    "rshift": ">>",
    "and": "&",
    "xor": "^",
    "or": "|",
}
_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_REFUSED = (
    _UNARY
    | {f"__{name}__": sign for name, sign in (_BINARY | _COMPARISONS).items()}
    | {f"__r{name}__": sign for name, sign in _BINARY.items()}
)


def _refusal(operation: str) -> Callable[..., NoReturn]:
    def refuse(self: "Unreadable", *_args: object, **_kwargs: object) -> NoReturn:
        error = Rejected(
            f"{operation} on {self!r}: a promise has no value while the body of a workflow builds "
            "its graph; pass it unchanged to a task, which gets the value and can do this"
        )
        self._refused(error)
        raise error

    return refuse


class Unreadable:
    """Base of promises. Each operation that would read a value raises `Rejected`."""

    _description = "promise"

    def __init__(self, description: str) -> None:
        vars(self)["_description"] = description

    def _refused(self, error: Rejected) -> None:
        """Record the error of an operation, before it is raised."""

    def __repr__(self) -> str:
        return f"<{self._description}>"

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            # Debuggers and libraries look such names up on any object.
            raise AttributeError(f"{self!r} has no attribute {name!r}")
        _refusal(f"attribute .{name}")(self)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


for _method, _operation in _REFUSED.items():
    setattr(Unreadable, _method, _refusal(_operation))


def contains_promise(value: object) -> bool:
    """Return whether a promise is in a value: an item, a key or a field, at any depth.

    A text contains one where it is made of its `repr`, as by ``f"{promise!r}"``.
    """
    waiting, seen = [value], set[int]()
    while waiting:
        each = waiting.pop()
        if isinstance(each, Unreadable) or (isinstance(each, str) and _SHOWN.search(each)):
            return True
        if isinstance(each, str | int | float | None) or id(each) in seen:
            continue
        seen.add(id(each))
        waiting += _parts(each)
    return False


def refuse_promises(callee: str, values: Iterable[object]) -> None:
    """Raise `Rejected` where a call outside of every body gets a promise as its argument."""
    for value in values:
        if isinstance(value, Unreadable):
            raise Rejected(f"{callee}: {value!r} is used outside of the body of its workflow")


def _parts(value: object) -> list[object]:
    match value:
        case Mapping():
            return [*value.keys(), *value.values()]
        case list() | tuple() | AbstractSet():
            return list(value)
        case BaseModel():
            return [each for _, each in value]
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in fields(value)]
    return []
