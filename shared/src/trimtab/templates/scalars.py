"""The value of a plain YAML scalar as go-yaml, and therefore kubectl, reads it. Pure.

PyYAML reads dates, ``1:30``, ``1e3``, ``0o10``, ``08`` and ``y`` differently.
"""

import re

Scalar = str | int | float | bool | None

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(["", "~", "null", "Null", "NULL"]),
    **dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE"], True),
    **dict.fromkeys(["on", "On", "ON"], True),
    **dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE"], False),
    **dict.fromkeys(["off", "Off", "OFF"], False),
    **dict.fromkeys([".nan", ".NaN", ".NAN"], float("nan")),
    **dict.fromkeys(
        [f"{sign}{word}" for sign in ("", "+") for word in (".inf", ".Inf", ".INF")], float("inf")
    ),
    **dict.fromkeys(["-.inf", "-.Inf", "-.INF"], float("-inf")),
}
_INTEGER = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|0[0-7]*|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NUMBER_BEGINS = frozenset("+-.0123456789")
_LONGEST = 70
"""Characters of a 64-bit integer in base two; Python refuses to convert very long texts."""
_LARGEST = 2**64 - 1
_SMALLEST = -(2**63)
_WRITTEN_WITH_EXPONENT = 1e21
"""From here on Go writes a whole number as ``1e+21``."""


def resolve(text: str) -> Scalar:
    """Return the value of a plain scalar; infinity and NaN, which JSON lacks, as floats."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_BEGINS:
        return text
    digits = text.replace("_", "")
    if len(digits) <= _LONGEST and (match := _INTEGER.fullmatch(digits)):
        whole = _int(*match.groups())
        if _SMALLEST <= whole <= _LARGEST:
            return whole
    return _float(digits, text)


def _int(sign: str, digits: str) -> int:
    # A leading zero is octal, as in YAML 1.1 and C; Python's int() refuses it.
    octal = len(digits) > 1 and digits.isdigit() and digits[0] == "0"
    whole = int(digits, 8 if octal else 0)
    return -whole if sign == "-" else whole


def _float(digits: str, text: str) -> Scalar:
    if not _FLOAT.fullmatch(digits):
        return text
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        return text  # Go's parser refuses what does not fit, and the scalar stays text.
    whole = number.is_integer() and abs(number) < _WRITTEN_WITH_EXPONENT
    return int(number) if whole else number
