"""The kind `cluster_resource`: values for the templates of each namespace.

Flyte's files have the shape of our documents.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from trimtab.errors import Invalid
from trimtab.kinds.flyte import FlyteKind, FlyteMerge
from trimtab.kinds.kind import Kind, Value
from trimtab.levels import Level
from trimtab.texts import MULTILINE

RESERVED = frozenset({"namespace", "project", "domain"})
"""Placeholders with a computed value, which nothing may override."""
PLACEHOLDER_NAME = r"\w[^\s{}]*"
"""The names that a placeholder of a template can have."""

_ALLOWED_NAME = (
    "a name that a placeholder can have: it begins with a letter, a digit or _, and has no blank "
    "and no brace"
)
_TOO_NARROW = "namespaces belong to a project and a domain, never to a workflow"


def check_placeholder(name: str) -> str:
    """Return the name of a placeholder that may be set. Raises `ValueError`."""
    if not re.fullmatch(PLACEHOLDER_NAME, name):
        raise ValueError(_ALLOWED_NAME)
    return _not_reserved(name)


def _not_reserved(name: str) -> str:
    if name in RESERVED:
        raise ValueError("a name that is not reserved; reserved are " + ", ".join(sorted(RESERVED)))
    return name


Placeholder = Annotated[str, Field(min_length=1), AfterValidator(_not_reserved)]


class ClusterResource(Value):
    """Values that replace the placeholders of templates."""

    attributes: Annotated[dict[Placeholder, str] | None, MULTILINE] = None
    """Values by name of the placeholder."""


def _check_names(value: Value) -> None:
    """Raise `Invalid` on a name that no placeholder can have; earlier releases accepted it."""
    assert isinstance(value, ClusterResource)
    for name, text in (value.attributes or {}).items():
        if not re.fullmatch(PLACEHOLDER_NAME, name):
            raise Invalid(f"attributes.{name}", text, _ALLOWED_NAME)


KIND = Kind(
    name="cluster_resource",
    value=ClusterResource,
    levels=frozenset({Level.PLATFORM, Level.DOMAIN, Level.PROJECT, Level.PROJECT_DOMAIN}),
    noun="cluster-resource-attribute",
    summary="Values for the templates of each namespace",
    flyte=FlyteKind(
        number=1,
        message="ClusterResourceAttributes",
        merge=FlyteMerge.OVER_CONFIGURATION,
        record_levels=(Level.PROJECT, Level.PROJECT_DOMAIN),
        configuration_levels=(Level.SETTINGS, Level.PLATFORM, Level.DOMAIN),
    ),
    check_written=_check_names,
    refused_levels={Level.WORKFLOW: _TOO_NARROW, Level.LAUNCH_PLAN: _TOO_NARROW},
    sample={"attributes": {"projectQuotaCpu": "12", "projectQuotaMemory": "24Gi"}},
)
