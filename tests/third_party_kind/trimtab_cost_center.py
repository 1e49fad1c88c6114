"""The kind `cost_center`: the budget that pays for executions.

Its files have the shape of its documents.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field, JsonValue, StringConstraints

from trimtab.kinds import Kind, Problem, Value
from trimtab.levels import Level

Code = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}-[0-9]{4}$")]
Percent = Annotated[int, Field(ge=0, le=100)]


class CostCenter(Value):
    """A budget, and the teams that share it."""

    code: Code | None = None
    """The code of the budget, such as ``ML-0042``."""
    shares: dict[str, Percent] | None = None
    """Percent by team; a narrower record adds a team or replaces its share."""


def _problems(flat: Mapping[str, JsonValue]) -> Iterator[Problem]:
    shares = {path: share for path, share in flat.items() if path.startswith("shares.")}
    total = sum(share for share in shares.values() if isinstance(share, int))
    if total > 100:
        path = max(shares)
        yield Problem(path, shares[path], f"shares whose sum is at most 100; it is {total}")


KIND = Kind(
    name="cost_center",
    value=CostCenter,
    levels=frozenset(Level) - {Level.SETTINGS, Level.LAUNCH_PLAN},
    noun="cost-center",
    other_nouns=("cost-centre",),
    summary="The budget that pays for executions",
    refused_levels={Level.LAUNCH_PLAN: "a budget is for a whole workflow"},
    validate=_problems,
)
