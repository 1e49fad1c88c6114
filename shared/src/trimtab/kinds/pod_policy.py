"""The kind `pod_policy`: what the pods of executions may use. Flyte does not have this kind.

The settings file and the platform set each field as usual. A record of a narrower scope can only
narrow it: a switch that is false at any scope is false, and of lists, only what each of them allows
is allowed. An empty list allows nothing. Privileged pods and access to the node are denied unless
the settings file or the platform allows them. [Pod policies](pod-policy.md) lists what each field
covers.
"""

import posixpath
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from trimtab.kinds import repeats
from trimtab.kinds.kind import Kind, Value
from trimtab.kinds.narrowing import Narrowing, both, common, common_paths
from trimtab.labels import ObjectName
from trimtab.levels import Level


def _check_prefix(path: str) -> str:
    # POSIX gives two leading slashes a meaning of their own, so normpath keeps them.
    if not path.startswith("/") or path.startswith("//") or posixpath.normpath(path) != path:
        raise ValueError("an absolute path without empty parts, . and .., such as /mnt/data")
    return path


PathPrefix = Annotated[str, StringConstraints(max_length=4096), AfterValidator(_check_prefix)]
ClusterLabel = Annotated[str, StringConstraints(min_length=1, max_length=63)]


class PodPolicy(Value):
    """Limits of the pods of executions, and of the labels of clusters that they may set."""

    service_accounts: Annotated[tuple[ObjectName, ...], repeats.ONCE] | None = Field(
        default=None, strict=False
    )
    """Service accounts that a pod may name; any by default."""
    privileged: bool | None = None
    """Whether a pod may have more rights on its node than the baseline of Kubernetes' Pod Security
    Standards allows; false by default."""
    host_path: Annotated[tuple[PathPrefix, ...], repeats.ONCE] | None = Field(
        default=None, strict=False
    )
    """Paths of the node that a pod may mount, each with everything below it; none by default."""
    host_network: bool | None = None
    """Whether a pod may use the network of its node; false by default."""
    cluster_labels: Annotated[tuple[ClusterLabel, ...], repeats.ONCE] | None = Field(
        default=None, strict=False
    )
    """Labels of clusters that an execution or a launch plan may set; any by default."""


_LISTS = ("service_accounts", "host_path", "cluster_labels")


def _likely_mistakes(document: Mapping[str, Any]) -> Iterator[str]:
    for name in _LISTS:
        yield from repeats.warnings(name, document.get(name))


KIND = Kind(
    name="pod_policy",
    value=PodPolicy,
    levels=frozenset(Level) - {Level.SETTINGS},
    noun="pod-policy",
    summary="What the pods of executions may use; a narrower scope can only narrow it",
    narrowing={
        "service_accounts": Narrowing(common),
        "privileged": Narrowing(both, default=False),
        "host_path": Narrowing(common_paths, default=[]),
        "host_network": Narrowing(both, default=False),
        "cluster_labels": Narrowing(common),
    },
    likely_mistakes=_likely_mistakes,
    sample={
        "service_accounts": ["default", "trainer"],
        "privileged": False,
        "host_path": ["/mnt/data"],
        "host_network": False,
    },
)
