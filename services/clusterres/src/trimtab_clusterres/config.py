"""The configuration of clusterres, read once at start."""

import json
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    DirectoryPath,
    Field,
    FilePath,
    PositiveFloat,
    model_validator,
)
from pydantic_settings import NoDecode

from trimtab.api.entities import ClusterBody
from trimtab.errors import Invalid
from trimtab.runtime.config import ServiceConfig
from trimtab.settings import namespaces
from trimtab.templates.configuration import ClusterResources
from trimtab_clusterres.clusters.kubernetes.access import Access, InCluster, Kubeconfig
from trimtab_clusterres.drift import Policy
from trimtab_clusterres.pruning.policies import PrunePolicies


def _directories(value: Any) -> Any:
    """Return a list of directories, of which one may be written alone, and several as JSON."""
    if isinstance(value, str) and value.startswith("["):
        return json.loads(value)
    return [value] if value and isinstance(value, str | Path) else value or ()


TemplateDirectories = Annotated[tuple[DirectoryPath, ...], NoDecode, BeforeValidator(_directories)]


class ClusterAccess(BaseModel):
    """How this service reaches a cluster that admin declares."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    directory: Path | None = None
    """Where manifests are written instead of a Kubernetes cluster. A cluster without ``directory``,
    ``kubeconfig`` and ``in_cluster`` is not reached by this service."""
    kubeconfig: FilePath | None = None
    """The kubeconfig file with the address and the credentials of the cluster."""
    context: str | None = None
    """The context of the kubeconfig; the current one where it is not set."""
    in_cluster: bool = False
    """Whether it is the cluster that this process is a pod of."""
    request_timeout_seconds: PositiveFloat = 10.0
    """How long the API server may take to answer one request. Keep it below
    ``cluster_timeout_seconds``."""
    templates: TemplateDirectories = ()
    """Templates for this cluster alone, in addition to those for all clusters."""
    drift: Policy = "enforce"
    """How a change of an object by something else is treated: ``enforce`` takes it back, ``warn``
    reports it, ``off`` ignores it. An object's annotation ``trimtab.io/drift`` wins."""

    prune: PrunePolicies = PrunePolicies()
    """How objects are treated that no template renders any longer, such as
    ``{default: orphan, kinds: {ConfigMap: prune, Namespace: confirm}}``."""

    @property
    def api_server(self) -> Access | None:
        """How the API server is reached; ``None`` where it is a directory, or not reached."""
        if self.kubeconfig is not None:
            return Kubeconfig(self.kubeconfig, self.context)
        return InCluster() if self.in_cluster else None

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [self.directory is not None, self.kubeconfig is not None, self.in_cluster]
        if sum(given) > 1:
            raise ValueError("only one of directory, kubeconfig and in_cluster can be set")
        if self.context is not None and self.kubeconfig is None:
            raise ValueError("context needs kubeconfig")
        if self.api_server is not None:
            self.api_server.check()
        return self

    @model_validator(mode="before")
    @classmethod
    def _drop_what_admin_reads(cls, fields: Any) -> Any:
        """Drop labels and weight, which a cluster also has in a file that services share."""
        if not isinstance(fields, dict):
            return fields
        return {key: value for key, value in fields.items() if key not in ClusterBody.model_fields}


class ClusterresConfig(ServiceConfig):
    """The configuration of clusterres, in addition to that of every service."""

    templates: TemplateDirectories = ()
    """The ``*.yaml`` files are templates, which are read again after each change. No two
    directories may have a file of the same name."""
    cluster_resources: ClusterResources = ClusterResources()
    """Flyte's block: another directory of templates, and values for them."""
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
    leader_lease_seconds: Annotated[float, Field(ge=1.0)] = 5.0
    """How long after the last renewal of the active replica another one takes over."""

    def template_directories(self, cluster: str) -> tuple[Path, ...]:
        """Return the directories of templates for a cluster, in their order."""
        return (
            *self.cluster_resources.directories,
            *self.templates,
            *self.clusters[cluster].templates,
        )

    @model_validator(mode="after")
    def _check_templates(self) -> Self:
        """Raise `Invalid` where a cluster has no templates."""
        common = (*self.cluster_resources.directories, *self.templates)
        bare = [name for name, access in self.clusters.items() if not access.templates]
        if not common and (bare or not self.clusters):
            needed = f" for cluster {bare[0]}" if bare else ""
            raise Invalid("configuration templates", None, f"a directory of templates{needed}")
        for directory in self.cluster_resources.directories:
            if not directory.is_dir():
                path = "configuration cluster_resources.templatePath"
                raise Invalid(path, str(directory), "an existing directory")
        return self
