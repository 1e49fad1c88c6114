"""The kind `quality_of_service`: how long executions may wait in a queue.

In Flyte's JSON the budget is inside a message, ``spec: {queueing_budget: 600s}``, and the tier may
be a number.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator

from trimtab.kinds.flyte import FlyteKind, is_wrapper
from trimtab.kinds.kind import Kind, Value
from trimtab.levels import Level

Tier = Literal["HIGH", "MEDIUM", "LOW"]
_TIERS: Mapping[int, str] = dict(enumerate(get_args(Tier), start=1))
"""Tiers by Flyte's number; Flyte's 0, UNDEFINED, is not accepted."""
_MAX_SECONDS = Decimal(315_576_000_000)  # Ten thousand years, the limit of protobuf's Duration.


def _check_duration(text: str) -> str:
    number = text.removesuffix("s")
    digits = number.replace(".", "", 1)
    if number == text or not (digits.isascii() and digits.isdecimal()) or number[0] == ".":
        raise ValueError('a number of seconds followed by s, such as "600s" or "1.5s"')
    if len(number.partition(".")[2]) > 9 or Decimal(number) > _MAX_SECONDS:
        raise ValueError("at most ten thousand years, in whole nanoseconds")
    return text


Duration = Annotated[str, AfterValidator(_check_duration)]
"""A number of seconds as in protobuf's JSON: ``600s``."""


def seconds(duration: str) -> float:
    """Return the number of seconds of a valid `Duration`."""
    return float(duration.removesuffix("s"))


class QualityOfService(Value):
    """A tier or a budget, never both: a narrower record that sets one unsets the other."""

    tier: Tier | None = None
    """A named budget, whose length is in the configuration of propeller, ``quality_tiers``. A tier
    without a length there is no limit, which the resolution of each execution notes."""
    queueing_budget: Duration | None = None
    """The time that an execution may wait before its first task starts, such as ``600s``; after it,
    the execution fails. ``0s`` is no limit."""


def from_file(fields: Mapping[str, Any]) -> dict[str, Any]:
    document = dict(fields)
    tier = document.get("tier")
    if isinstance(tier, int) and not isinstance(tier, bool):
        document["tier"] = _TIERS.get(tier, tier)
    if is_wrapper(document.get("spec"), "queueing_budget"):
        document["queueing_budget"] = document.pop("spec")["queueing_budget"]
    return document


def to_file(document: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(document)
    if "queueing_budget" in fields:
        fields["spec"] = {"queueing_budget": fields.pop("queueing_budget")}
    return fields


KIND = Kind(
    name="quality_of_service",
    value=QualityOfService,
    levels=frozenset(Level) - {Level.SETTINGS},
    noun="quality-of-service",
    summary="How long executions may wait in a queue",
    # Flyte's API always refuses to set this kind, and nothing in Flyte reads it.
    flyte=FlyteKind(
        number=4, message="QualityOfService", record_levels=(), configuration_levels=()
    ),
    alternatives=frozenset({"tier", "queueing_budget"}),
    from_file=from_file,
    to_file=to_file,
    sample={"tier": "HIGH"},
)
