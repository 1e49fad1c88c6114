"""The types that a function declares for the inputs of its workflow. Pure."""

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from trimtab.workflows.graph import InputType

_SIMPLE: Mapping[type, InputType] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
}


def input_types(function: Callable[..., object], names: Iterable[str]) -> dict[str, InputType]:
    """Return the types of parameters by name, without those that are no type of JSON."""
    try:
        hints = get_type_hints(function)
    except (NameError, AttributeError, TypeError, SyntaxError):
        # A name that is imported for the type checker only.
        hints = {}
    found = {name: _input_type(hints[name]) for name in names if name in hints}
    return {name: type_ for name, type_ in found.items() if type_ is not None}


def _input_type(hint: Any) -> InputType | None:
    """Return the type of an annotation; where the value may be ``None``, that of other values."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _input_type(arguments[0])
    if origin is Literal:
        kinds = {type(each) for each in arguments}
        return _SIMPLE.get(kinds.pop()) if len(kinds) == 1 else None
    if origin in (Union, types.UnionType):
        others = {_input_type(each) for each in arguments if each is not type(None)}
        return others.pop() if len(others) == 1 else None
    container = origin or hint
    if not isinstance(container, type):
        return None
    if container in _SIMPLE:
        return _SIMPLE[container]
    if issubclass(container, Mapping):
        return "object"
    return "array" if issubclass(container, Sequence) and container is not bytes else None
