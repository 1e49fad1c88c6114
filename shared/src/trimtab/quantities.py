"""Kubernetes quantities as exact numbers. Pure.

Grammar: apimachinery ``resource/quantity.go``. As there, fractions of a nano are rounded up.
"""

import re
from decimal import ROUND_CEILING, Context, Decimal
from functools import lru_cache
from typing import Literal

from trimtab.errors import Rejected

Family = Literal["binary", "decimal", "exponent"]

_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}  # power of 1024
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_GRAMMAR = re.compile(
    r"(?P<sign>[+-]?)(?P<number>[0-9]+\.?[0-9]*|\.[0-9]+)"
    r"(?:[eE](?P<exponent>[+-]?[0-9]{1,3})|(?P<suffix>[KMGTPE]i|[numkMGTPE]?))"
)
_NANO = Decimal("1e-9")
_EXACT = Context(prec=400)  # wide enough for 40 digits with a three-digit exponent

ALLOWED = (
    "a number, then one of n u m k M G T P E, Ki Mi Gi Ti Pi Ei, or an exponent; "
    "for example 500m, 1.5Gi, 2e3"
)


class InvalidQuantity(Rejected):
    """The text is not a Kubernetes quantity."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is not a quantity; allowed: {ALLOWED}")
        self.text = text


@lru_cache(maxsize=4096)
def parse(text: str) -> Decimal:
    """Return the exact amount. Raises `InvalidQuantity`.

    Cached, because few texts are in use, and a change of a broad record compares them at every
    scope.
    """
    return _split(text)[0]


def is_amount(text: str) -> bool:
    """Return whether the text is a quantity that is not negative."""
    try:
        return parse(text) >= 0
    except InvalidQuantity:
        return False


def family(text: str) -> Family:
    """Return the suffix family, which `canonical` keeps. Raises `InvalidQuantity`."""
    return _split(text)[1]


def canonical(text: str) -> str:
    """Return the amount as Kubernetes prints it, in its family: ``1Gi`` for ``1024Mi``.

    Raises `InvalidQuantity`.
    """
    amount, suffixes = _split(text)
    return format_amount(amount, suffixes)


def format_amount(amount: Decimal, suffixes: Family = "decimal") -> str:
    """Format an amount as a whole number with the largest suffix that allows one.

    A binary amount that is not a whole number of bytes gets a decimal suffix.
    """
    if amount == 0:
        return "0"
    if suffixes == "binary" and amount == amount.to_integral_value():
        size = int(amount)
        suffix, power = next(
            (pair for pair in reversed(_BINARY.items()) if size % 1024 ** pair[1] == 0), ("", 0)
        )
        return f"{size // 1024**power}{suffix}"
    if suffixes == "exponent":
        _digits, power = _whole(amount)
        power -= power % 3
        number = int(amount.scaleb(-power, _EXACT))
        return f"{number}e{power}" if power else str(number)
    nanos = int(amount.scaleb(9, _EXACT))
    for suffix, power in reversed(_DECIMAL.items()):
        if nanos % 10 ** (9 + power) == 0:
            return f"{nanos // 10 ** (9 + power)}{suffix}"
    raise AssertionError("every whole number is a multiple of one")


def _whole(amount: Decimal) -> tuple[int, int]:
    """Return the digits as a whole number, and the power of ten to multiply it by."""
    _sign, digits, exponent = amount.normalize(_EXACT).as_tuple()
    assert isinstance(exponent, int)
    return int("".join(map(str, digits))), exponent


def _split(text: str) -> tuple[Decimal, Family]:
    match = _GRAMMAR.fullmatch(text)
    if match is None or len(text) > 64:
        raise InvalidQuantity(text)
    number = Decimal(match["sign"] + match["number"])
    if match["exponent"] is not None:
        amount, suffixes = number.scaleb(int(match["exponent"]), _EXACT), "exponent"
    elif match["suffix"] in _BINARY:
        amount = _EXACT.multiply(number, Decimal(1024) ** _BINARY[match["suffix"]])
        suffixes = "binary"
    else:
        amount, suffixes = number.scaleb(_DECIMAL[match["suffix"]], _EXACT), "decimal"
    return _round_up(amount), suffixes  # type: ignore[return-value]  # a literal, seen as str


def _round_up(amount: Decimal) -> Decimal:
    """Round away from zero to a whole number of nanos."""
    if amount == amount.to_integral_value():
        return amount
    nanos = amount.copy_abs().quantize(_NANO, rounding=ROUND_CEILING, context=_EXACT)
    return nanos.copy_sign(amount)
