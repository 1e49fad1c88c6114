"""Effective values of one kind before and after a change of its records, at every target. Pure.

Each value is made once, from the next broader one, and where the change does not reach both sides
are the very same object: so a change is judged among ten thousand records in one pass.
"""

from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from pydantic import JsonValue

from trimtab.kinds import Kind
from trimtab.levels import PLATFORM, SETTINGS_FILE, Level, Scope
from trimtab.settings.fold import Effective, Record, fold
from trimtab.settings.state import ProjectDomain

Flat = Mapping[str, JsonValue]
"""Leaves and map keys that have a value, by dotted path."""


Places = Mapping[ProjectDomain, Mapping[Scope, Record]]


class Pair(NamedTuple):
    before: Flat
    after: Flat

    @property
    def changed(self) -> bool:
        return self.before is not self.after


class Comparison:
    """Of what is stored with what would be."""

    def __init__(
        self,
        kind: Kind,
        stored: Mapping[Scope, Record],
        edits: Mapping[Scope, Record | None],
        places: Places | None = None,
    ) -> None:
        """``edits`` are the records that are new at their scopes; ``None`` where none is left.

        ``places`` are what is stored, by domain and project, where that is known.
        """
        self.kind = kind
        self.edits = edits
        self._stored = stored
        self._places = places
        self._pairs: dict[Scope, Pair] = {}

    def at(self, target: Scope) -> Pair:
        """What applies to a target."""
        pair = self._pairs.get(target)
        if pair is None:
            pair = self._pairs[target] = self._below(self._around(target), target)
        return pair

    def effective(self, target: Scope, *, after: bool) -> Effective:
        """With the provenance of each leaf."""
        records = [self._after(at) if after else self._stored.get(at) for at in target.chain]
        return fold(self.kind, target, [record for record in records if record is not None])

    def changed_targets(self) -> Iterator[Scope]:
        """Targets at which records meet in a combination of their own, and the change is felt.

        Every other target that feels it has the value of one of these. A domain's and a project's
        records meet in a project-domain that may have no record itself.
        """
        scopes = self._near()
        domains = [scope.domain for scope in scopes if scope.level is Level.DOMAIN]
        projects = [scope.project for scope in scopes if scope.level is Level.PROJECT]
        both = {Scope(domain, project) for domain in domains for project in projects}
        return (target for target in (*scopes, *both.difference(scopes)) if self.at(target).changed)

    def _near(self) -> list[Scope]:
        """Scopes of records, new ones too, without most of those that the change cannot reach."""
        domain, project = _common(self.edits)
        if domain and project:
            return self._inside(domain, project)
        every = chain(self._stored, (scope for scope in self.edits if scope not in self._stored))
        return [
            scope
            for scope in every
            if (not domain or scope.domain in ("", domain))
            and (not project or scope.project in ("", project))
        ]

    def _inside(self, domain: str, project: str) -> list[Scope]:
        """Of one project in one domain, where all edits are."""
        place = self._places.get((domain, project), {}) if self._places else self._stored
        every = chain(place, (scope for scope in self.edits if scope not in place))
        workflows = {scope.workflow for scope in self.edits}
        return [
            scope
            for scope in every
            if (scope.domain, scope.project) == (domain, project)
            and ("" in workflows or scope.workflow in workflows)
        ]

    def _around(self, target: Scope) -> Pair:
        """What the next broader scope has."""
        match target.level:
            case Level.SETTINGS:
                return Pair(_NOTHING, _NOTHING)
            case Level.PLATFORM:
                return self.at(SETTINGS_FILE)
            case Level.DOMAIN | Level.PROJECT:
                return self.at(PLATFORM)
            case Level.PROJECT_DOMAIN:
                in_domain = self.at(Scope(domain=target.domain))
                return self._below(in_domain, Scope(project=target.project))
            case Level.WORKFLOW | Level.LAUNCH_PLAN:
                # A chain keeps its scopes, which costs less than making one.
                return self.at(target.chain[-2])

    def _below(self, around: Pair, scope: Scope) -> Pair:
        """With the records of one more scope."""
        stored, new = self._stored.get(scope), self._after(scope)
        if stored is None and new is None:
            return around
        before = _extended(around.before, stored)
        if stored is new and not around.changed:
            return Pair(before, before)
        after = _extended(around.after, new)
        return Pair(before, before if before == after else after)

    def _after(self, scope: Scope) -> Record | None:
        return self.edits[scope] if scope in self.edits else self._stored.get(scope)


_NOTHING: Flat = {}


def _extended(flat: Flat, record: Record | None) -> Flat:
    """As `trimtab.settings.fold` does it, without the provenance."""
    if record is None:
        return flat
    extended = dict(flat)
    for path, is_container in record.unset:
        extended.pop(path, None)
        if is_container:
            for known in [known for known in extended if known.startswith(path + ".")]:
                del extended[known]
    extended.update(record.flat)
    return extended


def _common(scopes: Collection[Scope]) -> tuple[str, str]:
    """The domain and the project that all are in; empty where there is none."""
    domains = {scope.domain for scope in scopes}
    projects = {scope.project for scope in scopes}
    return (
        domains.pop() if len(domains) == 1 else "",
        projects.pop() if len(projects) == 1 else "",
    )
