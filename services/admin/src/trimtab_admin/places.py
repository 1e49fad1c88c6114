"""Projects, domains, clusters and pools: what settings and executions refer to by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from trimtab import subjects
from trimtab.api import ClusterBody, DomainBody, PoolBody, ProjectBody
from trimtab.database import Sessions, transaction
from trimtab.errors import Conflict, NotFound
from trimtab.events import ClusterChanged, DomainChanged, PoolChanged, ProjectChanged
from trimtab.levels import Scope
from trimtab.state import Settings
from trimtab_admin import preconditions
from trimtab_admin.changes import Author, Change, Changes
from trimtab_admin.preconditions import Precondition
from trimtab_admin.tree import Tree

B = TypeVar("B", bound=ProjectBody | DomainBody | ClusterBody | PoolBody)
E = TypeVar("E", bound=ProjectChanged | DomainChanged | ClusterChanged | PoolChanged)


@dataclass(frozen=True)
class Noun(Generic[B, E]):
    """What one sort of place is called, where it is kept, and how it looks outside and inside."""

    name: str
    subject: Callable[[str], str]
    kept: Callable[[Settings], Mapping[str, E]]
    body: Callable[..., B]
    event: Callable[..., E]

    def find(self, settings: Settings, name: str) -> E:
        """Raises `NotFound`, naming those there are."""
        try:
            return self.kept(settings)[name]
        except KeyError:
            known = ", ".join(sorted(self.kept(settings)))
            raise NotFound(self.name, name, known) from None

    def to_body(self, event: E, version: int | None) -> B:
        return self.body(**event.model_dump(exclude={"deleted"}), version=version)

    def to_event(self, body: B) -> E:
        return self.event(**body.model_dump(exclude={"version"}))


PROJECTS = Noun("project", subjects.project, lambda s: s.projects, ProjectBody, ProjectChanged)
DOMAINS = Noun("domain", subjects.domain, lambda s: s.domains, DomainBody, DomainChanged)
CLUSTERS = Noun("cluster", subjects.cluster, lambda s: s.clusters, ClusterBody, ClusterChanged)
POOLS = Noun("pool", subjects.pool, lambda s: s.pools, PoolBody, PoolChanged)


def check_scope(settings: Settings, scope: Scope) -> None:
    """Raises `NotFound` where the scope names a project or domain that there is not."""
    if scope.domain:
        DOMAINS.find(settings, scope.domain)
    if scope.project:
        PROJECTS.find(settings, scope.project)


class Places(Generic[B, E]):
    """One sort of place."""

    def __init__(self, noun: Noun[B, E], reading: Sessions, tree: Tree, changes: Changes) -> None:
        self._noun = noun
        self._reading = reading
        self._tree = tree
        self._changes = changes

    async def list(self) -> Sequence[B]:
        async with transaction(self._reading) as session:
            settings = await self._tree.current(session)
            return [self._body(settings, name) for name in sorted(self._noun.kept(settings))]

    async def get(self, name: str) -> B:
        """Raises `NotFound`."""
        async with transaction(self._reading) as session:
            return self._body(await self._tree.current(session), name)

    async def create(self, body: B, author: Author) -> B:
        """Raises `Conflict` where the name is taken."""
        async with self._changes.by(author) as change:
            if body.name in self._noun.kept(change.settings):
                raise Conflict(f"{self._noun.name} {body.name!r} exists already")
            return self._stored(change, body)

    async def put(self, body: B, precondition: Precondition, author: Author) -> B:
        """Replace it or make it. Raises `Stale`."""
        async with self._changes.by(author) as change:
            version = change.settings.digest.revision_of(self._noun.subject(body.name))
            what = f"{self._noun.name} {body.name}"
            preconditions.check(precondition, what, version)
            return self._stored(change, body)

    def _body(self, settings: Settings, name: str) -> B:
        version = settings.digest.revision_of(self._noun.subject(name))
        return self._noun.to_body(self._noun.find(settings, name), version)

    def _stored(self, change: Change, body: B) -> B:
        """With a new version, or with its old one where nothing changes."""
        event = self._noun.to_event(body)
        if self._noun.kept(change.settings).get(body.name) == event:
            return self._body(change.settings, body.name)
        version = change.add(self._noun.subject(body.name), event)
        return self._noun.to_body(event, version)
