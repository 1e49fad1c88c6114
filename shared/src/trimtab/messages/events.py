"""Messages on the wire outside an execution's own log: frozen, versioned, full new state. Pure.

Each has a golden file in ``tests/unit/trimtab/wire``. Readers ignore fields they do not know, so
that services of two releases can run together; writers never send one they do not know.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue

from trimtab.levels import Scope
from trimtab.messages import subjects

REVISION = "trimtab-revision"
"""Header: the revision of the change in the message."""
COMMIT = "trimtab-commit"
"""Header: the last revision of the transaction."""
EVENT_ID = "ce-id"
EVENT_TYPE = "ce-type"
TRACEPARENT = "traceparent"
DEAD_REASON = "trimtab-reason"
"""Header of a dead letter: the error that made the message one."""
DEAD_SUBJECT = "trimtab-subject"
"""Header of a dead letter: the subject that the message had."""


class Event(BaseModel):
    """Base of every message."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    @property
    def event_type(self) -> str:
        """Of the CloudEvent: ``trimtab.record_changed.v1``."""
        name = "".join("_" + c.lower() if c.isupper() else c for c in type(self).__name__)
        return f"trimtab.{name.lstrip('_')}.v1"

    def body(self) -> bytes:
        return self.model_dump_json().encode()


class RecordChanged(Event):
    """The value of a kind at a scope."""

    kind: str
    domain: str = ""
    project: str = ""
    workflow: str = ""
    launch_plan: str = ""
    settings_file: bool = False
    document: dict[str, JsonValue] | None
    """The new record; ``None`` where it was deleted."""
    labels: dict[str, str] = {}
    """Of the record itself: who owns it."""

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
    """A project as it is now."""

    name: str
    description: str = ""
    labels: dict[str, str] = {}
    state: Literal["active", "archived"] = "active"
    deleted: bool = False


class DomainChanged(Event):
    """A domain as it is now."""

    name: str
    deleted: bool = False


class ClusterChanged(Event):
    """A target that namespaces are made on, as declared."""

    name: str
    labels: tuple[str, ...] = ()
    """What ``execution_cluster_label`` may name."""
    weight: float = 1.0
    enabled: bool = True
    deleted: bool = False


class PoolChanged(Event):
    """A quota of an outside resource."""

    name: str
    quota: int = 1
    """Units that may be held at once."""
    project_cap: int | None = None
    """Units that one project may hold; ``None`` is no cap, 0 is none allowed."""
    project_domain_cap: int | None = None
    """Units that one project may hold in one domain."""
    cohort: str = "default"
    """Pools of one cohort can be taken together. Never changes: what is held is counted there."""
    active: bool = True
    """Whether anything is granted; what is held stays held."""
    max_weight: int | None = None
    """Units that one token may be of; ``None`` is as many as the quota has."""
    deleted: bool = False


class Watermark(Event):
    """What every reader's view must be like at a revision."""

    revision: int
    count: int
    """Subjects that live, tombstones not counted."""
    digest: str
    """Sum of a hash for each live subject and its revision, as hexadecimal text."""


class NamespaceStatus(Event):
    """What clusterres made of one namespace on one cluster."""

    cluster: str
    namespace: str
    project: str
    domain: str
    revision: int
    """Of the settings it was rendered from."""
    state: Literal["ready", "failed"]
    objects: tuple[str, ...] = ()
    """``ResourceQuota/project-quota``, in the order of application."""
    error: str = ""
    at: AwareDatetime


class Heartbeat(Event):
    """A propeller lives."""

    owner: str


_SETTINGS: dict[str, type[Event]] = {
    "attributes": RecordChanged,
    "projects": ProjectChanged,
    "domains": DomainChanged,
    "clusters": ClusterChanged,
    "pools": PoolChanged,
}


def setting(subject: str, body: bytes | str) -> Event:
    """The change that a message of SETTINGS says.

    Raises ``KeyError`` on another subject, and pydantic's ``ValidationError``.
    """
    return _SETTINGS[subject.split(".")[1]].model_validate_json(body)


def tombstone(subject: str) -> Event:
    """The change that says that nothing is at a subject of SETTINGS any more."""
    family = subject.split(".")[1]
    if family == "attributes":
        kind, scope = subjects.parse_attributes(subject)
        return RecordChanged.at(scope, kind, None)
    return _SETTINGS[family].model_validate({"name": subjects.name_of(subject), "deleted": True})
