"""Settings of clusterres, read once at start."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, DirectoryPath, field_validator

from trimtab.settings import ServiceSettings
from trimtab_clusterres.namespaces import DOMAIN, PROJECT

DEFAULT_NAMESPACE = f"{PROJECT}-{DOMAIN}"


class ClusterTarget(BaseModel):
    """How a cluster that admin declares is reached from here."""

    # One settings file may say of a cluster what only admin reads: its labels and weight.
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    directory: Path | None = None
    """Where manifests are kept; ``None``: this service does not reach the cluster."""


class ClusterresSettings(ServiceSettings):
    """``TRIMTAB_TEMPLATES``, ``TRIMTAB_CLUSTERS`` (JSON), ``TRIMTAB_NAMESPACE_TEMPLATE``."""

    templates: DirectoryPath
    """Of the templates; its ``*.yaml`` files are read afresh for each render."""
    clusters: dict[str, ClusterTarget] = {}
    """By the name under which admin declares the cluster."""
    namespace_template: str = DEFAULT_NAMESPACE
    """Name of the namespace of a project and domain; empty is the default, as in Flyte."""

    @field_validator("namespace_template")
    @classmethod
    def _has_known_placeholders(cls, template: str) -> str:
        rest = template.replace(PROJECT, "").replace(DOMAIN, "")
        if "{{" in rest or "}}" in rest:
            raise ValueError(f"its placeholders are {PROJECT} and {DOMAIN}")
        return template or DEFAULT_NAMESPACE
