"""Projects, domains, clusters and pools: how each looks outside, inside and on the wire. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from trimtab.api.places import ClusterBody, DomainBody, PoolBody, ProjectBody
from trimtab.errors import Conflict, Invalid, NotFound
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import ClusterChanged, DomainChanged, PoolChanged, ProjectChanged
from trimtab.settings.state import Settings

Body = ProjectBody | DomainBody | ClusterBody | PoolBody
Place = ProjectChanged | DomainChanged | ClusterChanged | PoolChanged

B = TypeVar("B", bound=Body)
E = TypeVar("E", bound=Place)


@dataclass(frozen=True)
class Noun(Generic[B, E]):
    """What one sort of place is called, where it is kept, and how it looks outside and inside."""

    name: str
    subject: Callable[[str], str]
    kept: Callable[[Settings], Mapping[str, E]]
    body: Callable[..., B]
    event: Callable[..., E]
    keeps: bool = False
    """Whether a field that a writer leaves out stays as it is."""

    def find(self, settings: Settings, name: str) -> E:
        """Raises `NotFound`, naming those there are."""
        try:
            return self.kept(settings)[name]
        except KeyError:
            known = ", ".join(sorted(self.kept(settings)))
            raise NotFound(self.name, name, known) from None

    def to_body(self, event: E, version: int | None) -> B:
        return self.parse(event.name, self.to_document(event), version)

    def to_event(self, body: B) -> E:
        return self.event(**body.model_dump(exclude={"version"}))

    def to_document(self, event: Place) -> dict[str, Any]:
        """All but its name."""
        return event.model_dump(mode="json", exclude={"deleted", "name"})

    def parse(self, name: str, document: Mapping[str, Any], version: int | None = None) -> B:
        """Raises `Invalid`, naming the field."""
        if "name" in document or "version" in document:
            field = "name" if "name" in document else "version"
            raise Invalid(field, document[field], "nothing: it stands beside the document")
        try:
            return self.body(**{**document, "name": name, "version": version})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            path = ".".join(str(step) for step in first["loc"] if step != "[key]")
            allowed = first["msg"].removeprefix("Value error, ")
            raise Invalid(path, first["input"], allowed) from error

    def kept_fields(self, body: B, stored: E | None) -> B:
        """The body, where what was left out may stay as it is stored."""
        if stored is None or not self.keeps:
            return body
        left_out = {
            name: value
            for name, value in stored.model_dump(exclude={"deleted"}).items()
            if name not in body.model_fields_set
        }
        return self.body(**{**body.model_dump(), **left_out})


PROJECTS = Noun(
    "project", subjects.project, lambda s: s.projects, ProjectBody, ProjectChanged, keeps=True
)
DOMAINS = Noun("domain", subjects.domain, lambda s: s.domains, DomainBody, DomainChanged)
CLUSTERS = Noun("cluster", subjects.cluster, lambda s: s.clusters, ClusterBody, ClusterChanged)
POOLS = Noun("pool", subjects.pool, lambda s: s.pools, PoolBody, PoolChanged)

BY_NAME: Mapping[str, Noun[Any, Any]] = {
    noun.name: noun for noun in (DOMAINS, PROJECTS, CLUSTERS, POOLS)
}


def check_scope(settings: Settings, scope: Scope) -> None:
    """Raises `NotFound` where the scope names a project or domain that there is not."""
    if scope.domain:
        DOMAINS.find(settings, scope.domain)
    if scope.project:
        PROJECTS.find(settings, scope.project)


def check_active(project: ProjectChanged) -> None:
    """Raises `Conflict` where a project is at rest: it is read, and nothing in it changes."""
    if project.state == "archived":
        raise Conflict(
            f"project {project.name!r} is archived, so nothing in it is changed or executed; "
            "unarchive it first"
        )


def place_of(subject: str) -> dict[str, str]:
    """What a subject of SETTINGS is about: its kind, and the parts of its scope that are set."""
    family = subject.split(".")[1]
    if family == "attributes":
        kind, scope = subjects.parse_attributes(subject)
        return {"kind": kind, **parts_of(scope)}
    noun, name = family.removesuffix("s"), subjects.name_of(subject)
    own = {noun: name} if noun in ("project", "domain") else {}
    return {"kind": noun, **parts_of(Scope()), **own}


def parts_of(scope: Scope) -> dict[str, str]:
    return {
        "domain": scope.domain,
        "project": scope.project,
        "workflow": scope.workflow,
        "launch_plan": scope.launch_plan,
    }
