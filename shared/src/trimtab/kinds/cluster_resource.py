"""Values for the templates from which clusterres renders each namespace."""

from typing import Annotated

from pydantic import AfterValidator

from trimtab.kinds.kind import Kind, Value
from trimtab.levels import Level

RESERVED = frozenset({"namespace", "project", "domain"})
"""Names that every template has already; no source may give them another value."""

_TOO_NARROW = "namespaces belong to a project and a domain, never to a workflow"


def _not_reserved(attributes: dict[str, str]) -> dict[str, str]:
    for name in sorted(RESERVED & attributes.keys()):
        raise ValueError(f"names other than the reserved {', '.join(sorted(RESERVED))}, not {name}")
    return attributes


class ClusterResource(Value):
    """Free-form values; their names are the placeholders of the templates."""

    attributes: Annotated[dict[str, str], AfterValidator(_not_reserved)] | None = None
    """Value by placeholder name."""


KIND = Kind(
    name="cluster_resource",
    value=ClusterResource,
    levels=frozenset({Level.PLATFORM, Level.DOMAIN, Level.PROJECT, Level.PROJECT_DOMAIN}),
    noun="cluster-resource-attribute",
    summary="Values for the templates of each namespace",
    flyte_number=1,
    refused_levels={Level.WORKFLOW: _TOO_NARROW, Level.LAUNCH_PLAN: _TOO_NARROW},
)
