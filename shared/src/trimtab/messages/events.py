"""The messages outside an execution's log, and the headers of all messages. Pure.

Each message carries the full new state. Readers ignore fields that they do not know, so that
services of two releases can run together. ``tests/unit/trimtab/wire`` has a golden file of each.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue

from trimtab.levels import Scope
from trimtab.messages import subjects

REVISION = "trimtab-revision"
"""Header in SETTINGS: the revision of the change."""
COMMIT = "trimtab-commit"
"""Header in SETTINGS: the last revision of the transaction of the change."""
EVENT_ID = "ce-id"
"""Header: the id of the event, the same each time it is published."""
EVENT_TYPE = "ce-type"
"""Header: the type and version of the event, such as ``trimtab.record_changed.v1``."""
SOURCE = "trimtab"
"""The value of the header ``ce-source``."""
SPEC_VERSION = "1.0"
"""The value of the header ``ce-specversion``."""
TRACEPARENT = "traceparent"
"""Header: the W3C trace context that the event was caused in."""
DEAD_REASON = "trimtab-reason"
"""Header of a dead letter: the error that made the message one."""
DEAD_SUBJECT = "trimtab-subject"
"""Header of a dead letter: the subject that the message had."""


class Event(BaseModel):
    """The base of every message outside an execution's log."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    @classmethod
    @cache
    def type_of_event(cls) -> str:
        """Return the CloudEvents type, such as ``trimtab.record_changed.v1``."""
        name = "".join("_" + c.lower() if c.isupper() else c for c in cls.__name__)
        return f"trimtab.{name.lstrip('_')}.v1"

    @property
    def event_type(self) -> str:
        return self.type_of_event()

    def body(self) -> bytes:
        return self.model_dump_json().encode()


class RecordChanged(Event):
    """The record of a kind at a scope was written or deleted."""

    kind: str
    domain: str = ""
    project: str = ""
    workflow: str = ""
    launch_plan: str = ""
    settings_file: bool = False
    """Whether the record is of the settings file, below all scopes."""
    document: dict[str, JsonValue] | None
    """The new document; ``null`` where the record was deleted."""
    labels: dict[str, str] = {}
    """The labels of the record itself, such as its owner."""

    @property
    def scope(self) -> Scope:
        return Scope(self.domain, self.project, self.workflow, self.launch_plan, self.settings_file)

    @classmethod
    def at(
        cls,
        scope: Scope,
        kind: str,
        document: Mapping[str, Any] | None,
        labels: Mapping[str, str] | None = None,
    ) -> "RecordChanged":
        return cls(
            kind=kind,
            domain=scope.domain,
            project=scope.project,
            workflow=scope.workflow,
            launch_plan=scope.launch_plan,
            settings_file=scope.settings_file,
            document=None if document is None else dict(document),
            labels=dict(labels or {}),
        )


class ProjectChanged(Event):
    """A project was created, changed or deleted."""

    name: str
    display_name: str = ""
    """The name for people; empty where it has none."""
    description: str = ""
    labels: dict[str, str] = {}
    state: Literal["active", "archived"] = "active"
    deleted: bool = False


class DomainChanged(Event):
    """A domain was created or deleted."""

    name: str
    deleted: bool = False


class ClusterChanged(Event):
    """A cluster, on which namespaces are made, was declared, changed or deleted."""

    name: str
    labels: tuple[str, ...] = ()
    """The labels that records of ``execution_cluster_label`` may name."""
    weight: float = 1.0
    enabled: bool = True
    deleted: bool = False


class PoolChanged(Event):
    """A pool, the quota of an outside resource, was declared, changed or deleted."""

    name: str
    quota: int = 1
    """The units that may be held at once."""
    project_cap: int | None = None
    """The units that one project may hold; ``null`` is no cap, 0 allows none."""
    project_domain_cap: int | None = None
    """The units that one project may hold in one domain; ``null`` is no cap."""
    cohort: str = "default"
    """Pools of one cohort can be taken together. Tokens are counted in it: after a change, nothing
    is granted before the cohort before holds none of the pool."""
    active: bool = True
    """Whether new tokens are granted; tokens that are held stay held."""
    max_weight: int | None = None
    """The largest weight of one token; ``null`` is the quota."""
    deleted: bool = False


class QueueChanged(Event):
    """A queue, which executions with certain tags go to, was declared, changed or deleted."""

    name: str
    attributes: tuple[str, ...] = ()
    """The queue takes executions all of whose tags, of ``execution_queue``, are among these."""
    clusters: tuple[str, ...] = ()
    """The clusters that have the queue; none is every cluster."""
    system: Literal["kueue", "child_queue"] = "kueue"
    """Where the name of the queue goes: to the label of Kueue on pods, or to the
    annotation ``trimtab.io/child-queue``."""
    deleted: bool = False


class PruneChanged(Event):
    """An admin confirmed that clusterres deletes certain objects of a namespace.

    It confirms this list alone: clusterres ignores it when what would be deleted is anything else.
    """

    cluster: str
    namespace: str
    project: str = ""
    domain: str = ""
    digest: str = ""
    """The `NamespaceStatus.prune_digest` that named the list."""
    objects: tuple[str, ...] = ()
    """The list: the `ObjectStatus.identity` of each object, of very many the first."""
    count: int = 0
    """The number of objects in the list."""
    deleted: bool = False

    @property
    def name(self) -> str:
        return f"{self.cluster}/{self.namespace}"


class LaterChange(Event):
    """A change of the settings that only a later release knows, kept as it is.

    Never published as such: readers build it, so that services of two releases can run together.
    """

    subject: str
    type: str = ""
    """The CloudEvents type; empty where it is not known."""
    text: str
    """The body."""
    deleted: bool = False

    @property
    def event_type(self) -> str:
        if self.type:
            return self.type
        family = self.subject.split(".")[1]
        known = SETTINGS_EVENTS.get(family)
        return known.type_of_event() if known else f"trimtab.{family.removesuffix('s')}_changed.v1"

    def body(self) -> bytes:
        return self.text.encode()


class Watermark(Event):
    """The facts that every view of the settings must equal at a revision."""

    revision: int
    count: int
    """The number of live subjects, without tombstones."""
    digest: str
    """The sum of a hash for each live subject and its revision, in hexadecimal."""


class ObjectStatus(BaseModel):
    """The last outcome of one object of a namespace."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    object: str
    """Kind and name, such as ``ResourceQuota/project-quota``."""
    outcome: str
    """``applied`` (created or changed), ``unchanged``, ``failed``, ``conflicted`` (another field
    manager has set a field), ``drifted`` (changed on the cluster and left so by the policy),
    ``pruned`` (deleted), ``released`` (not managed any longer), ``kept`` (no template renders it;
    the policy keeps it) or ``unconfirmed`` (to be deleted once an admin confirms it)."""
    message: str = ""
    """The reason, where there is one; that of the cluster's API where an apply failed."""
    identity: str = ""
    """API group, kind, name and uid of an ``unconfirmed`` object; empty for other outcomes."""
    seconds: float = 0.0
    """How long the last call took."""


class NamespaceStatus(Event):
    """The state of one namespace on one cluster, after clusterres tried to apply it."""

    cluster: str
    namespace: str
    project: str
    domain: str
    revision: int
    """The revision of the settings that the namespace was rendered from."""
    state: Literal["ready", "failed", "removed"]
    """``removed`` where the settings do not have the namespace on the cluster any longer: it is not
    kept up to date, and ``error`` is the reason."""
    objects: tuple[str, ...] = ()
    """The objects, such as ``ResourceQuota/project-quota``, in the order of application; of very
    many, the first."""
    counts: dict[str, int] = {}
    """The number of objects by outcome, those that ``details`` has no room for included."""
    details: tuple[ObjectStatus, ...] = ()
    """The outcome of each object; objects that no template renders any longer come last. Of very
    many, the worst."""
    usable: bool = False
    """Whether every object has been applied, at least as an earlier revision described it.
    Executions wait for it; it stays true while a later change fails."""
    prune_digest: str = ""
    """Names the list of ``unconfirmed`` objects; a confirmation that has it deletes them."""
    seconds: float = 0.0
    """How long rendering and applying took."""
    error: str = ""
    at: AwareDatetime

    @property
    def is_usable(self) -> bool:
        """Whether executions can use the namespace. Earlier releases publish the state only."""
        return self.usable or self.state == "ready"


class Heartbeat(Event):
    """A propeller is alive."""

    owner: str


class ExecutionsWaiting(Event):
    """A propeller does not claim the requests of a project and domain; repeated each second."""

    owner: str
    """The propeller."""
    project: str
    domain: str
    reason: str


SETTINGS_EVENTS: dict[str, type[Event]] = {
    "attributes": RecordChanged,
    "projects": ProjectChanged,
    "domains": DomainChanged,
    "clusters": ClusterChanged,
    "pools": PoolChanged,
    "queues": QueueChanged,
    "prunes": PruneChanged,
}
"""The event of each family of subjects in SETTINGS that this release knows."""


def settings_subject(event: Event) -> str:
    """Return the subject of a change of the settings.

    Raises `trimtab.errors.Invalid` where its names form none, and ``TypeError`` on another event.
    """
    match event:
        case RecordChanged():
            return subjects.attributes(event.kind, event.scope)
        case ProjectChanged():
            return subjects.project(event.name)
        case DomainChanged():
            return subjects.domain(event.name)
        case ClusterChanged():
            return subjects.cluster(event.name)
        case PoolChanged():
            return subjects.pool(event.name)
        case QueueChanged():
            return subjects.queue(event.name)
        case PruneChanged():
            return subjects.prune(event.cluster, event.namespace)
        case LaterChange():
            return event.subject
        case _:
            raise TypeError(f"{event.event_type} is not a change of the settings")


def tombstone(subject: str) -> Event:
    """Build the change by which a subject of a setting has no value any more."""
    family = subject.split(".")[1]
    if family == "attributes":
        kind, scope = subjects.parse_attributes(subject)
        return RecordChanged.at(scope, kind, None)
    if family == "prunes":
        cluster, namespace = subjects.parse_prune(subject)
        return PruneChanged(cluster=cluster, namespace=namespace, deleted=True)
    if (model := SETTINGS_EVENTS.get(family)) is None:
        return LaterChange(subject=subject, text='{"deleted":true}', deleted=True)
    return model.model_validate({"name": subjects.name_of(subject), "deleted": True})
