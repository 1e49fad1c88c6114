"""Policies about objects that nothing renders any longer, by their kind. Pure."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

Policy = Literal["orphan", "confirm", "prune"]

_CONFIRMED = ("Namespace", "ResourceQuota")
"""Kinds whose objects are deleted only after a confirmation: a deleted namespace takes everything
in it along, and without its quota a namespace has no limits."""


class PrunePolicies(BaseModel):
    """The policy of each kind on one cluster.

    ``orphan`` keeps an object that no template renders any longer, ``confirm`` deletes it once an
    admin has confirmed the list that it is in, ``prune`` deletes it at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    default: Policy = "orphan"
    """The policy of kinds that ``kinds`` does not name; for Namespace and ResourceQuota ``prune``
    means ``confirm``."""
    kinds: Mapping[str, Policy] = {}
    """Policies by kind, such as ``{ConfigMap: prune}``."""

    @model_validator(mode="after")
    def _check_confirmed_kinds(self) -> Self:
        for kind in _CONFIRMED:
            if self.kinds.get(kind) == "prune":
                raise ValueError(f"kinds.{kind} is 'prune'; allowed: orphan, confirm")
        return self

    def of(self, kind: str) -> Policy:
        policy = self.kinds.get(kind, self.default)
        return "confirm" if policy == "prune" and kind in _CONFIRMED else policy
