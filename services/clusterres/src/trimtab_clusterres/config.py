"""Settings of clusterres, read once at start."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, DirectoryPath

from trimtab.runtime.config import ServiceConfig
from trimtab.settings import namespaces


class ClusterTarget(BaseModel):
    """How a cluster that admin declares is reached from here."""

    # One settings file may say of a cluster what only admin reads: its labels and weight.
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    directory: Path | None = None
    """Where manifests are kept; ``None``: this service does not reach the cluster."""


class ClusterresConfig(ServiceConfig):
    """``TRIMTAB_TEMPLATES``, ``TRIMTAB_CLUSTERS`` (JSON), ``TRIMTAB_NAMESPACE_TEMPLATE``."""

    templates: DirectoryPath
    """Of the templates; its ``*.yaml`` files are read afresh for each render."""
    clusters: dict[str, ClusterTarget] = {}
    """By the name under which admin declares the cluster."""
    namespace_template: Annotated[str, AfterValidator(namespaces.checked)] = namespaces.DEFAULT
    """Name of the namespace of a project and domain; empty is the default, as in Flyte."""
