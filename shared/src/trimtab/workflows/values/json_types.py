"""Types and comparison of values as JSON has them. Pure."""

import math
from collections.abc import Callable, Mapping
from typing import Any


def are_equal(first: Any, second: Any, take: Callable[[int], None]) -> bool:
    """Compare as JSON does: ``true`` is not ``1``, at any depth. Takes a step for each part."""
    take(1)
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(
            are_equal(*pair, take) for pair in zip(first, second, strict=True)
        )
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(
            are_equal(value, second[key], take) for key, value in first.items()
        )
    return bool(first == second)


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    # A larger integer has no value among the floating-point numbers.
    return type(value) is int and -(2**1023) < value < 2**1023


IS_TYPE: Mapping[str, Callable[[object], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": _is_number,
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def is_multiple(value: int | float, factor: int | float) -> bool:
    if isinstance(value, int) and isinstance(factor, int):
        return value % factor == 0
    try:
        # As pydantic does: 0.3 is a multiple of 0.1, although its remainder is 0.1.
        rest, tolerance = math.fmod(value, factor), abs(value) / 1e9
    except OverflowError:
        return False
    return abs(rest) <= tolerance or abs(abs(rest) - factor) <= tolerance
