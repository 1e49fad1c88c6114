"""Values for the templates from which clusterres renders each namespace.

Flyte's files have our shape.
"""

from typing import Annotated

from pydantic import AfterValidator, Field

from trimtab.kinds.flyte import FlyteKind, FlyteMerge
from trimtab.kinds.kind import Kind, Value
from trimtab.levels import Level

RESERVED = frozenset({"namespace", "project", "domain"})
"""Names that every template has already; no source may give them another value."""

_TOO_NARROW = "namespaces belong to a project and a domain, never to a workflow"


def _not_reserved(name: str) -> str:
    if name in RESERVED:
        raise ValueError("any name but the reserved " + ", ".join(sorted(RESERVED)))
    return name


Placeholder = Annotated[str, Field(min_length=1), AfterValidator(_not_reserved)]


class ClusterResource(Value):
    """Free-form values; their names are the placeholders of the templates."""

    attributes: dict[Placeholder, str] | None = None
    """Value by placeholder name."""


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
)
