"""The names in the parameters of a call: a wrong one is an error, and never an empty result."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from trimtab import kinds, names
from trimtab.api.settings import ChangeBody, ChangesBody
from trimtab.errors import NotFound, Unavailable
from trimtab.levels import PLATFORM, Level, Scope
from trimtab.messages import subjects
from trimtab.settings.state import Settings
from trimtab_admin import slices
from trimtab_admin.access.authorization import Caller, Role
from trimtab_admin.settings.entities import ENTITY_TYPES
from trimtab_admin.settings.history import History
from trimtab_admin.settings.targets import RegisteredTargets
from trimtab_admin.storage.database import Sessions
from trimtab_admin.storage.tree import Tree

Parameters = Mapping[str, str]
_PARTS = ("domain", "project", "workflow", "launch_plan")
_MAX_WARNINGS = 20


class KnownNames:
    """Checks names against the settings in memory: only a wrong one costs a query."""

    def __init__(
        self, reading: Sessions, tree: Tree, history: History, targets: RegisteredTargets
    ) -> None:
        self._reading = reading
        self._tree = tree
        self._history = history
        self._targets = targets

    async def check(self, caller: Caller, parameters: Parameters) -> None:
        """Raise `NotFound`, with the nearest names, where a project, domain or kind never existed.

        Raises `Forbidden` for a project that the caller may not see, whether or not it exists.
        """
        project = parameters.get("project", "")
        if project and not caller.may_see_project(project):
            caller.check(Role.VIEWER, Scope(project=project))
        if not _unknown(self._tree.unverified, parameters):
            return
        settings = await self._tree.shown(self._reading)
        for type, name in _unknown(settings, parameters):
            if not await self._history.has(type, name):
                known = _visible(self._tree.unverified, type, caller)
                raise NotFound.among(type, name, known)

    async def warnings(self, caller: Caller, parameters: Parameters) -> tuple[str, ...]:
        """Return the warning about a workflow or a launch plan that is not registered, if any.

        Settings may be written before it is, so it is no error.
        """
        domain, project, workflow, launch_plan = map(parameters.get, _PARTS)
        if not (domain and project and workflow):
            return ()
        target = Scope(domain, project, workflow, launch_plan or "")
        scope = await self._unregistered(caller, target)
        return () if scope is None else (self._warning(caller, scope),)

    async def with_warnings(self, caller: Caller, body: ChangesBody) -> ChangesBody:
        """Return the changes with warnings about what is not registered.

        Of many, only the first have one each: an export may be applied before all registrations.
        The changes are made, so that no warnings are better than an error.
        """
        with suppress(Unavailable):
            return await self._with_warnings(caller, body)
        return body

    async def _with_warnings(self, caller: Caller, body: ChangesBody) -> ChangesBody:
        """Raises `Unavailable`."""
        found: list[tuple[int, Scope]] = []
        async for part in slices.of(enumerate(body.changes)):
            for index, change in part:
                if scope := await self._unregistered(caller, _target(change)):
                    found.append((index, scope))
        changes = list(body.changes)
        for index, scope in found[:_MAX_WARNINGS]:
            await slices.turn()
            changes[index] = _warned(changes[index], self._warning(caller, scope))
        if others := found[_MAX_WARNINGS:]:
            index, _ = others[0]
            warning = f"{len(others)} changes are of workflows or launch plans not registered yet"
            changes[index] = _warned(changes[index], warning)
        return body.model_copy(update={"changes": tuple(changes)}) if found else body

    async def _unregistered(self, caller: Caller, target: Scope) -> Scope | None:
        """Return the workflow or launch plan of the target that is not, if the caller may know."""
        for scope in target.chain:
            if scope.level < Level.WORKFLOW or not caller.reaches(scope):
                continue
            if not await self._targets.contain(scope, self._reading):
                return scope
        return None

    def _warning(self, caller: Caller, scope: Scope) -> str:
        above, of_plan = scope.chain[-2], bool(scope.launch_plan)

        def is_visible(name: str) -> bool:
            near = replace(above, launch_plan=name) if of_plan else replace(above, workflow=name)
            return caller.reaches(near)

        name = scope.launch_plan if of_plan else scope.workflow
        known = self._targets.names(above)
        # Most callers may see all of them, and the filter takes longer than the comparison.
        near = names.nearest(name, known if caller.reaches(above) else filter(is_visible, known))
        question = f"; did you mean {' or '.join(map(repr, near))}" if near else ""
        noun = "launch plan" if of_plan else "workflow"
        return f"{noun} {name!r} is not registered in {above}{question}"


def _target(change: ChangeBody) -> Scope:
    """Return the scope of a record that the change stores; the platform for other changes."""
    if change.scope is None or change.action not in ("create", "update"):
        return PLATFORM
    scope = change.scope
    return Scope(scope.domain, scope.project, scope.workflow, scope.launch_plan)


def _warned(change: ChangeBody, warning: str) -> ChangeBody:
    return change.model_copy(update={"warnings": (*change.warnings, warning)})


def _unknown(settings: Settings, parameters: Parameters) -> list[tuple[str, str]]:
    """Return the types and names of parameters that the settings do not have."""
    given = ((type, parameters.get(type)) for type in _IS_KNOWN)
    return [(type, name) for type, name in given if name and not _IS_KNOWN[type](settings, name)]


def _has_project(settings: Settings, name: str) -> bool:
    return name in settings.projects or bool(
        settings.later and subjects.project(name) in settings.later
    )


def _has_domain(settings: Settings, name: str) -> bool:
    return name in settings.domains or bool(
        settings.later and subjects.domain(name) in settings.later
    )


def _has_kind(settings: Settings, name: str) -> bool:
    return name in kinds.registered() or name in ENTITY_TYPES or name in _raw_kinds(settings)


def _raw_kinds(settings: Settings) -> Iterator[str]:
    """Yield the kinds of records that only another release knows."""
    yield from (kind for kind, records in settings.unknown.items() if records)
    for subject in settings.later:
        if subject.startswith(_ATTRIBUTES):
            yield subjects.parse_attributes(subject)[0]


def _visible(settings: Settings, type: str, caller: Caller) -> list[str]:
    match type:
        case "project":
            return sorted(filter(caller.may_see_project, settings.projects))
        case "domain":
            return sorted(settings.domains)
        case _:
            return list(dict.fromkeys([*kinds.registered(), *_raw_kinds(settings)]))


_ATTRIBUTES = subjects.ALL_ATTRIBUTES.removesuffix(">")
_IS_KNOWN: Mapping[str, Callable[[Settings, str], bool]] = {
    "project": _has_project,
    "domain": _has_domain,
    "kind": _has_kind,
}
"""By the names of parameters."""
