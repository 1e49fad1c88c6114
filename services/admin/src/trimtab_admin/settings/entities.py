"""Entities, such as projects and pools, and how each is stored, shown and sent. Pure.

A confirmation to prune is stored as an entity too, although no document of a request is one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from trimtab.api.entities import ClusterBody, DomainBody, PoolBody, ProjectBody, QueueBody
from trimtab.api.maintenance import PruneBody
from trimtab.errors import Conflict, Invalid, NotFound
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import (
    ClusterChanged,
    DomainChanged,
    PoolChanged,
    ProjectChanged,
    PruneChanged,
    QueueChanged,
)
from trimtab.models import Model
from trimtab.settings.state import Settings
from trimtab.wrong_values import allowed_instead

EntityBody = ProjectBody | DomainBody | ClusterBody | PoolBody | QueueBody
"""An entity in requests and responses."""
Entity = ProjectChanged | DomainChanged | ClusterChanged | PoolChanged | QueueChanged | PruneChanged
"""An entity as it is stored: the event of its last change."""

NOT_IN_DOCUMENTS = frozenset({"name", "version"})
"""Fields of bodies that are not part of the document of an entity."""

B = TypeVar("B", bound=Model)
E = TypeVar("E", bound=Entity)


@dataclass(frozen=True)
class EntityType(Generic[B, E]):
    """One type of entity: its name, its subjects, and the conversions between its forms.

    An entity has three forms: the body in requests and responses, the event that is stored, and
    the document, which holds its fields except the name.
    """

    name: str
    subject: Callable[[str], str]
    """Returns the subject of the entity with a name."""
    stored: Callable[[Settings], Mapping[str, E]]
    """Returns the stored entities by name."""
    body: type[B]
    event: Callable[..., E]
    keeps_omitted_fields: bool = False
    """Whether a field that a request leaves out keeps its stored value."""

    def find(self, settings: Settings, name: str) -> E:
        """Raise `NotFound`, which suggests names that exist, where the entity does not exist."""
        stored = self.stored(settings)
        try:
            return stored[name]
        except KeyError:
            raise NotFound.among(self.name, name, sorted(stored)) from None

    def to_body(self, event: E, version: int | None) -> B:
        # Not validated: a release before may have stored what requests may not have any more.
        fields = {**event.model_dump(exclude={"deleted"}), "version": version}
        # For pydantic's plugin of mypy it returns the bound of B.
        return self.body.model_construct(None, **fields)  # type: ignore[return-value]

    def to_event(self, body: B) -> E:
        return self.event(**body.model_dump(exclude={"version"}))

    def to_document(self, event: Entity) -> dict[str, Any]:
        return event.model_dump(mode="json", exclude={"deleted", "name"})

    def parse(self, name: str, document: Mapping[str, Any], version: int | None = None) -> B:
        """Return the body. Raises `Invalid`, which names the field."""
        for field in sorted(NOT_IN_DOCUMENTS & document.keys()):
            raise Invalid(field, document[field], "no such field: it is not part of the document")
        try:
            return self.body(**{**document, "name": name, "version": version})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            path = ".".join(str(step) for step in first["loc"] if step != "[key]")
            raise Invalid(path, first["input"], allowed_instead(first)) from error

    def with_omitted_fields(self, body: B, stored: E | None) -> B:
        """Return the body with the stored values of the fields that the request left out."""
        if stored is None or not self.keeps_omitted_fields:
            return body
        omitted = {
            name: value
            for name, value in stored.model_dump(exclude={"deleted"}).items()
            if name not in body.model_fields_set
        }
        return self.body(**{**body.model_dump(), **omitted})


PROJECTS = EntityType(
    "project",
    subjects.project,
    lambda settings: settings.projects,
    ProjectBody,
    ProjectChanged,
    keeps_omitted_fields=True,
)
DOMAINS = EntityType(
    "domain", subjects.domain, lambda settings: settings.domains, DomainBody, DomainChanged
)
CLUSTERS = EntityType(
    "cluster", subjects.cluster, lambda settings: settings.clusters, ClusterBody, ClusterChanged
)
POOLS = EntityType("pool", subjects.pool, lambda settings: settings.pools, PoolBody, PoolChanged)
QUEUES = EntityType(
    "queue", subjects.queue, lambda settings: settings.queues, QueueBody, QueueChanged
)
PRUNES = EntityType(
    "prune",
    lambda name: subjects.prune(*name.split("/", 1)),
    lambda settings: settings.prunes,
    PruneBody,
    PruneChanged,
)

ENTITY_TYPES: Mapping[str, EntityType[Any, Any]] = {
    type.name: type for type in (DOMAINS, PROJECTS, CLUSTERS, POOLS, QUEUES)
}
"""The types that requests write, by name."""


def check_scope(settings: Settings, scope: Scope) -> None:
    """Raise `NotFound` where the project or the domain of the scope does not exist."""
    if scope.domain:
        DOMAINS.find(settings, scope.domain)
    if scope.project:
        PROJECTS.find(settings, scope.project)


def check_active(project: ProjectChanged) -> None:
    """Raise `Conflict` where the project is archived: it can be read, but not changed."""
    if project.state == "archived":
        raise Conflict(
            f"project {project.name!r} is archived, so nothing in it is changed or executed; "
            "unarchive it first"
        )
