"""The clusters that may be selected for an execution, and the values that restrict them. Pure.

A label, a pool and a queue each leave some of the clusters; an execution runs on one that all of
them leave. One that is disabled, or that has the weight 0, is never selected.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from trimtab import names
from trimtab.errors import Unreadable
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import ClusterChanged
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import ResolvedValue
from trimtab.resolution import cluster_labels
from trimtab.resolution.limits import Refusal
from trimtab.settings.state import Settings
from trimtab_propeller.resolution import parts, queues, records

_LABEL = "execution_cluster_label"
_POOL = "cluster_assignment.cluster_pool_name"
_CLUSTERS = "trimtab.clusters."


@dataclass(frozen=True)
class Requirement:
    """A value that leaves some of the clusters."""

    value: ResolvedValue
    noun: str
    """The word for the value: ``label``, ``pool`` or ``queue``."""
    clusters: Sequence[str]
    """The names of the clusters that meet it, of those that can be selected."""

    @property
    def origin(self) -> str:
        scope = f" of {self.value.scope}" if self.value.scope else ""
        return f"{self.value.source}{scope}"

    def __str__(self) -> str:
        return f"the {self.noun} {self.value.value!r} ({self.origin})"


@dataclass(frozen=True)
class Candidates:
    """The clusters of which one is selected, and why these."""

    clusters: Sequence[ClusterChanged] = ()
    """In the order of names; none where the settings declare no cluster."""
    requirements: Sequence[Requirement] = ()
    any_cluster: ResolvedValue | None = None
    """The setting by which any cluster may be selected; ``None`` where none applies."""

    @property
    def label(self) -> ResolvedValue | None:
        return next((each.value for each in self.requirements if each.noun == "label"), None)


def of(request: Request, settings: Settings) -> Candidates:
    """Return the clusters that may be selected for an execution.

    Raises `Refusal` where no cluster meets every requirement, and where several are left although
    neither a label nor the settings allow a choice. Raises `Unreadable`.
    """
    target = parts.whole(request).target
    _check_readable(settings)
    selectable = [
        cluster
        for _, cluster in sorted(settings.clusters.items())
        if cluster.enabled and cluster.weight > 0
    ]
    requirements = list(_requirements(request, settings, target, selectable))
    fitting = [c for c in selectable if all(c.name in each.clusters for each in requirements)]
    found = Candidates(fitting, requirements, _any_cluster(settings, target))
    if not fitting and (requirements or settings.clusters):
        raise _none_left(found, settings, selectable)
    if len(fitting) > 1 and found.label is None and found.any_cluster is None:
        raise _several_left(found, target)
    return found


def _check_readable(settings: Settings) -> None:
    for subject in sorted(settings.later):
        if subject.startswith(_CLUSTERS):
            name = subjects.name_of(subject)
            raise Unreadable(f"the cluster {name!r} was declared by a later release")


def _any_cluster(settings: Settings, target: Scope) -> ResolvedValue | None:
    leaf = records.leaf(settings, _LABEL, "any", target)
    if leaf is None or leaf.value is not True:
        return None
    return records.value("cluster", f"{_LABEL}.any", leaf)


def _requirements(
    request: Request, settings: Settings, target: Scope, selectable: Sequence[ClusterChanged]
) -> Iterator[Requirement]:
    def requirement(
        noun: str, value: ResolvedValue, meets: Callable[[ClusterChanged], bool]
    ) -> Requirement:
        return Requirement(value, noun, [each.name for each in selectable if meets(each)])

    label = _label(request, settings, target)
    if label is not None:
        yield requirement("label", label, lambda cluster: label.value in cluster.labels)
    pool = records.leaf(settings, "cluster_assignment", "cluster_pool_name", target)
    if pool is not None:
        value = records.value(_POOL, _POOL, pool)
        yield requirement("pool", value, lambda cluster: pool.value in cluster.labels)
    queue = queues.select(settings, target)
    tags = records.leaf(settings, "execution_queue", "tags", target)
    if queue is not None and tags is not None and queue.clusters:
        value = records.value("queue", "execution_queue.tags", tags)
        value = value.model_copy(update={"value": queue.name})
        yield requirement("queue", value, lambda cluster: cluster.name in queue.clusters)


def _label(request: Request, settings: Settings, target: Scope) -> ResolvedValue | None:
    """Return the label of the request, of its launch plan, or of the settings, in this order.

    Raises `Refusal` where one that is not from the settings is not allowed.
    """
    leaf = records.leaf(settings, _LABEL, "value", target)
    of_settings = None if leaf is None else records.value(_LABEL, f"{_LABEL}.value", leaf)
    own = cluster_labels.own_label(request, request.launch_plan)
    if own is None:
        return of_settings
    # All parts run on one cluster, so the policy of each has to allow its label.
    cluster_labels.check(own, settings, [each.target for each in parts.of(request).values()])
    note = ""
    if of_settings is not None and of_settings.value != own.value:
        note = f"instead of {of_settings.value!r}, of {of_settings.scope}"
    return ResolvedValue(path=_LABEL, value=own.value, source=own.source, note=note)


def _none_left(
    found: Candidates, settings: Settings, selectable: Sequence[ClusterChanged]
) -> Refusal:
    """Return the refusal where no cluster meets every requirement."""
    kind = "enabled cluster of a positive weight"
    if not found.requirements or not selectable:
        clusters = names.listed(sorted(settings.clusters)) or "none"
        return _refusal(found, f"no {kind} is declared; clusters: {clusters}")
    for each in found.requirements:
        if not each.clusters:
            return _refusal(found, _unmet(each, kind, settings), each)
    met = "; ".join(f"{each}: {names.listed(each.clusters)}" for each in found.requirements)
    return _refusal(found, f"no {kind} meets every requirement; {met}")


def _unmet(requirement: Requirement, kind: str, settings: Settings) -> str:
    """Return the message about a requirement that no cluster meets."""
    value, wanted = requirement.value.value, requirement.origin
    if requirement.noun == "queue":
        queue = settings.queues[str(value)]
        clusters = names.listed(sorted(queue.clusters))
        return f"no {kind} is one of {clusters}, those of the queue {value!r}, for {wanted}"
    question = names.question(str(value), cluster_labels.known_labels(settings))
    known = cluster_labels.labels_of_clusters(settings)
    return f"no {kind} has the label {value!r} ({wanted}); {known}{question}"


def _several_left(found: Candidates, target: Scope) -> Refusal:
    clusters = names.listed([cluster.name for cluster in found.clusters])
    within = "".join(f", with {each}" for each in found.requirements)
    message = (
        f"the execution may run on several clusters{within}: {clusters}; set "
        f"execution_cluster_label of {target} or a broader scope: a label as value, or any: true "
        "for a selection by weight"
    )
    return Refusal(f"{_LABEL}.value", None, message)


def _refusal(found: Candidates, message: str, cause: Requirement | None = None) -> Refusal:
    """Return a refusal which has the path and the scope of its cause, or of the first value."""
    if not found.requirements:
        return Refusal(f"{_LABEL}.value", None, message)
    value = (cause or found.requirements[0]).value
    path = value.source if value.scope else value.path
    return Refusal(path, value.value, message, scope=value.scope)
