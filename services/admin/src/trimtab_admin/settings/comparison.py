"""Effective values of one kind before and after a change, and what would be invalid then. Pure.

The value at a target is derived once, from the value at the next broader scope. Where the change
has no effect, both sides are the same object. A change is therefore judged among ten thousand
records in one pass.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, compress, product
from typing import NamedTuple

from pydantic import JsonValue

from trimtab.errors import Invalid
from trimtab.kinds import Kind, Problem
from trimtab.levels import PLATFORM, SETTINGS_FILE, Level, Scope
from trimtab.settings.fold import Effective, Record, fold
from trimtab.settings.state import ProjectDomain
from trimtab_admin import steps
from trimtab_admin.steps import Steps

Flat = Mapping[str, JsonValue]
"""An effective value: leaves and map keys that have a value, by dotted path."""


class Groups(NamedTuple):
    """The scopes that have a record, to find those that a change affects without a search."""

    by_project_domain: Mapping[ProjectDomain, Collection[Scope]]
    launch_plans: Mapping[Scope, Collection[Scope]]
    """The scopes of launch plans, by their workflow."""


class Pair(NamedTuple):
    """The effective values at one target before and after the change."""

    before: Flat
    after: Flat

    @property
    def changed(self) -> bool:
        return self.before is not self.after


class Comparison:
    """Compares the effective values of one kind before and after some records change."""

    def __init__(
        self,
        kind: Kind,
        stored: Mapping[Scope, Record],
        edits: Mapping[Scope, Record | None],
        groups: Groups | None = None,
    ) -> None:
        """``edits`` holds the new record of each scope that changes, ``None`` for a deleted one.

        ``groups`` holds the scopes of ``stored``.
        """
        self.kind = kind
        self.edits = edits
        self._stored = stored
        self._groups = groups
        self._pairs: dict[Scope, Pair] = {}

    def at(self, target: Scope) -> Pair:
        """Return the effective values at a target."""
        pair = self._pairs.get(target)
        if pair is None:
            pair = self._pairs[target] = self._extend(self._broader(target), target)
        return pair

    def effective_after(self, target: Scope) -> Effective:
        """Return the effective value after the change, with the provenance of each leaf."""
        records = [self._after(scope) for scope in target.chain]
        return fold(self.kind, target, [record for record in records if record is not None])

    def changed_targets(self) -> Steps[list[Scope]]:
        """Return targets whose effective values change: one for each combination of records.

        Every other target whose value changes has the value of one of these. The records of a
        domain and of a project combine at a project-domain, which may have no record itself.
        """
        scopes = yield from self._affected_scopes()
        domains, projects = list[str](), list[str]()

        def sort(scope: Scope) -> None:
            if scope.level is Level.DOMAIN:
                domains.append(scope.domain)
            elif scope.level is Level.PROJECT:
                projects.append(scope.project)

        yield from steps.each(sort, scopes, steps.LIGHT)
        both = yield from steps.each(lambda pair: Scope(*pair), product(domains, projects))
        targets = scopes | dict.fromkeys(both)
        changed = yield from steps.each(lambda target: self.at(target).changed, targets)
        return list(compress(targets, changed))

    def _affected_scopes(self) -> Steps[dict[Scope, None]]:
        """Return the scopes of stored and new records that the change may affect, each once.

        Most scopes that it cannot affect are left out.
        """
        if self._groups is not None and all(each.domain and each.project for each in self.edits):
            groups = self._groups
            affected_by = yield from steps.each(lambda at: _affected_by(at, groups), self.edits)
            scopes: dict[Scope, None] = {}
            yield from steps.each(lambda some: scopes.update(dict.fromkeys(some)), affected_by)
            return scopes
        domain, project = _common(self.edits)

        def may_be_affected(scope: Scope) -> bool:
            return (not domain or scope.domain in ("", domain)) and (
                not project or scope.project in ("", project)
            )

        every = dict.fromkeys([*self._stored, *self.edits])
        affected = yield from steps.each(may_be_affected, every, steps.LIGHT)
        return dict.fromkeys(compress(every, affected))

    def _broader(self, target: Scope) -> Pair:
        """Return the effective values at the next broader scope."""
        match target.level:
            case Level.SETTINGS:
                return Pair(_EMPTY, _EMPTY)
            case Level.PLATFORM:
                return self.at(SETTINGS_FILE)
            case Level.DOMAIN | Level.PROJECT:
                return self.at(PLATFORM)
            case Level.PROJECT_DOMAIN:
                in_domain = self.at(Scope(domain=target.domain))
                return self._extend(in_domain, Scope(project=target.project))
            case Level.WORKFLOW | Level.LAUNCH_PLAN:
                # Taken from the chain, because that is cheaper than creating a scope.
                return self.at(target.chain[-2])

    def _extend(self, broader: Pair, scope: Scope) -> Pair:
        """Return the effective values with the records of one more scope."""
        stored, new = self._stored.get(scope), self._after(scope)
        if stored is None and new is None:
            return broader
        before = _fold_one(broader.before, stored)
        if stored is new and not broader.changed:
            return Pair(before, before)
        after = _fold_one(broader.after, new)
        return Pair(before, before if before == after else after)

    def _after(self, scope: Scope) -> Record | None:
        return self.edits[scope] if scope in self.edits else self._stored.get(scope)


@dataclass(frozen=True)
class Violation:
    """A problem of the effective value that a target would have after a change."""

    problem: Problem
    effective: Effective

    def error(self, prefix: str = "") -> Invalid:
        """Return an error that names the scope of the bound, which may not be the edited one."""
        problem = self.problem
        bound = self.effective.leaves.get(problem.bound)
        source = f" by {bound.scope}" if bound else ""
        allowed = f"{problem.allowed}{source}, at {self.effective.target}"
        return Invalid(prefix + problem.path, problem.value, allowed)

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The scopes that set the value and its bound, in this order."""
        leaves = self.effective.leaves
        paths = (self.problem.path, self.problem.bound)
        return tuple(leaves[path].scope for path in paths if path in leaves)


def first_violation(comparison: Comparison) -> Steps[Violation | None]:
    """Return the new violation at the broadest target; ``None`` where the change is valid.

    Violations that exist already, because a release became stricter, do not count: they must not
    stop their own repair.
    """
    validate = comparison.kind.validate

    def new_problem(target: Scope) -> tuple[Scope, Problem] | None:
        pair = comparison.at(target)
        problems = list(validate(pair.after))
        known = list(validate(pair.before)) if problems else []
        return next(((target, problem) for problem in problems if problem not in known), None)

    targets = yield from comparison.changed_targets()
    found = list(filter(None, (yield from steps.each(new_problem, targets))))
    if not found:
        return None
    target, problem = min(found, key=lambda each: (each[0].level, str(each[0])))
    return Violation(problem, comparison.effective_after(target))


_EMPTY: Flat = {}


def _affected_by(edited: Scope, groups: Groups) -> Iterable[Scope]:
    """Return the scopes of records that a change at a project-domain or below it may affect."""
    match edited.level:
        case Level.PROJECT_DOMAIN:
            in_project = groups.by_project_domain.get((edited.domain, edited.project), ())
            return chain((edited,), in_project)
        case Level.WORKFLOW:
            return chain((edited,), groups.launch_plans.get(edited, ()))
        case _:
            return (edited,)


def _fold_one(flat: Flat, record: Record | None) -> Flat:
    """Fold one more record, as `trimtab.settings.fold` does, but without provenance."""
    if record is None:
        return flat
    extended, narrowing = dict(flat), record.narrowing
    for path, is_branch in record.unset:
        if path in narrowing:
            continue
        extended.pop(path, None)
        if is_branch:
            for known in [known for known in extended if known.startswith(path + ".")]:
                del extended[known]
    for path, own in record.flat.items():
        value = narrowing[path].value(flat.get(path), own) if path in narrowing else own
        if value is not None:
            extended[path] = value
    return extended


def _common(scopes: Collection[Scope]) -> tuple[str, str]:
    """Return the domain and the project that all scopes share; empty where they differ."""
    domains = {scope.domain for scope in scopes}
    projects = {scope.project for scope in scopes}
    return (
        domains.pop() if len(domains) == 1 else "",
        projects.pop() if len(projects) == 1 else "",
    )
