"""The configuration of clusterres, read once at start."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    DirectoryPath,
    PositiveFloat,
    model_validator,
)

from trimtab.api.entities import ClusterBody
from trimtab.runtime.config import ServiceConfig
from trimtab.settings import namespaces
from trimtab_clusterres.drift import Policy


class ClusterAccess(BaseModel):
    """How this service reaches a cluster that admin declares."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    directory: Path | None = None
    """Where manifests are written; not set where this service does not reach the cluster."""
    drift: Policy = "enforce"
    """How a change of an object by something else is treated: ``enforce`` takes it back, ``warn``
    reports it, ``off`` ignores it. An object's annotation ``trimtab.io/drift`` wins."""

    @model_validator(mode="before")
    @classmethod
    def _drop_what_admin_reads(cls, fields: Any) -> Any:
        """Drop labels and weight, which a cluster also has in a file that services share."""
        if not isinstance(fields, dict):
            return fields
        return {key: value for key, value in fields.items() if key not in ClusterBody.model_fields}


class ClusterresConfig(ServiceConfig):
    """The configuration of clusterres, in addition to that of every service."""

    templates: DirectoryPath
    """The directory of templates; its ``*.yaml`` files are read again for each render."""
    clusters: dict[str, ClusterAccess] = {}
    """How each cluster is reached, by the name under which admin declares it.

    An enabled cluster that is missing here is logged once, as ``cluster.not_configured``. Where the
    file has the list of clusters that admin reads under this key, set the variable.
    """
    namespace_template: Annotated[str, AfterValidator(namespaces.check_template)] = (
        namespaces.DEFAULT
    )
    """The template of namespaces' names, the same as that of admin; empty is the default, as in
    Flyte."""
    cluster_timeout_seconds: PositiveFloat = 30.0
    """How long a cluster may take to apply one namespace before that counts as a failure."""
    drift_check_seconds: PositiveFloat = 600.0
    """How often every namespace of a cluster is checked for changes that its watch missed, except
    where ``drift`` is ``off``; up to a tenth more or less."""
