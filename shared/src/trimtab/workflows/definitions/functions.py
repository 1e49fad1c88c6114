"""Check functions that become tasks, workflows and references, and find where users wrote them.

Pure.
"""

import inspect
import re
import sys
from collections.abc import Callable
from types import FunctionType
from typing import NoReturn

from trimtab.errors import Rejected

_OWN_PACKAGE = "trimtab.workflows."
_NAME = re.compile("[A-Za-z0-9_]{1,200}")
_MUTABLE = (list, dict, set, bytearray)
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def signature_of(type_: str, function: Callable[..., object]) -> inspect.Signature:
    """Return the signature of a function that can be a task, a workflow or a reference.

    Raises `Rejected`: a graph is built once, and a node is one call with named values.
    """
    if not isinstance(function, FunctionType):
        # `repr` of what a user has written can be of any length.
        name = getattr(function, "__name__", type(function).__name__)
        raise Rejected(f"@{type_} decorates {name}: only a function can become a {type_}")
    if not _NAME.fullmatch(function.__name__):
        _refuse(
            type_, function, "its name must have letters a to z, digits and _; write it with def"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        _refuse(type_, function, "it contains yield; return a value instead")
    if inspect.iscoroutinefunction(function):
        _refuse(type_, function, "it is async; write it with def, and call asyncio.run in a task")
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        _check_parameter(type_, function, parameter)
    return signature


def place_of(function: Callable[..., object]) -> str:
    """Return where a function is written, below its decorators: ``file, line N``."""
    function = inspect.unwrap(function)
    code = function.__code__ if isinstance(function, FunctionType) else None
    return "" if code is None else f"{code.co_filename}, line {code.co_firstlineno}"


def calling_place() -> str:
    """Return the innermost place outside of this package that is running: ``file, line N``."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(_OWN_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}, line {frame.f_lineno}"


def _check_parameter(type_: str, function: FunctionType, parameter: inspect.Parameter) -> None:
    if parameter.kind in _VARIADIC:
        _refuse(type_, function, f"it has {parameter}; only named parameters can be inputs")
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        reason = (
            f"its parameter {parameter.name} is before a /; only named parameters can be inputs"
        )
        _refuse(type_, function, reason)
    if isinstance(parameter.default, _MUTABLE):
        default = type(parameter.default).__name__
        reason = (
            f"the default of {parameter.name} is a mutable {default}; use None or a tuple, "
            "and build the value in a task"
        )
        _refuse(type_, function, reason)


def _refuse(type_: str, function: FunctionType, reason: str) -> NoReturn:
    place = place_of(function)
    raise Rejected(f"{function.__name__} ({place}) cannot be a {type_}: {reason}")
