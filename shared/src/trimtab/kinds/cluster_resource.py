"""The kind `cluster_resource`: values for the templates of each namespace.

Flyte's files have the shape of our documents.
"""

from typing import Annotated

from pydantic import AfterValidator, Field

from trimtab.kinds.flyte import FlyteKind, FlyteMerge
from trimtab.kinds.kind import Kind, Value
from trimtab.levels import Level
from trimtab.texts import MULTILINE

RESERVED = frozenset({"namespace", "project", "domain"})
"""Placeholders with a computed value, which nothing may override."""
PLACEHOLDER_NAME = r"\w[^\s{}]*"
"""The names that a placeholder of a template can have."""

_TOO_NARROW = "namespaces belong to a project and a domain, never to a workflow"


def _not_reserved(name: str) -> str:
    if name in RESERVED:
        raise ValueError("a name that is not reserved; reserved are " + ", ".join(sorted(RESERVED)))
    return name


Placeholder = Annotated[str, Field(min_length=1), AfterValidator(_not_reserved)]


class ClusterResource(Value):
    """Values that replace the placeholders of templates."""

    attributes: Annotated[dict[Placeholder, str] | None, MULTILINE] = None
    """Values by name of the placeholder."""


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
    refused_levels={Level.WORKFLOW: _TOO_NARROW, Level.LAUNCH_PLAN: _TOO_NARROW},
    sample={"attributes": {"projectQuotaCpu": "12", "projectQuotaMemory": "24Gi"}},
)
