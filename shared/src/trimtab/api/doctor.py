"""The report of clusterres on itself, for ``trimtab doctor``. Pure."""

from collections.abc import Mapping

from pydantic import AwareDatetime

from trimtab.models import Model


class ClusterReport(Model, extra="ignore"):
    """The last check of a cluster."""

    name: str
    objects: int = 0
    """The number of objects in its templates."""
    templates_error: str = ""
    """Why the templates cannot be used; empty where they can."""
    error: str = ""
    """Why the cluster could not be checked; empty where it answered."""
    missing: tuple[str, ...] = ()
    """The permissions on objects of the templates' kinds that clusterres lacks, a sentence each."""
    at: AwareDatetime


class ClusterresReport(Model, extra="ignore"):
    """The state of the active clusterres."""

    version: str = ""
    revision: int = 0
    """The revision of its view of the settings."""
    reasons: Mapping[str, str] = {}
    """Why it is not ready, by part."""
    clusters: tuple[ClusterReport, ...] = ()
    """The clusters that it is configured for."""


class ClusterresBody(Model, extra="ignore"):
    """The report, if clusterres has replied."""

    report: ClusterresReport | None = None
    error: str = ""
    """Why there is none."""
