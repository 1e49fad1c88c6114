"""The rows by which Flyte 1 reads the effective values of Trimtab, and the way to them. Pure.

Each row holds the folded value of its scope, so that Flyte's rule, by which the narrowest row is
taken as a whole, gives Trimtab's effective value. No API of Flyte reads or writes its configuration
file. It may have any part of what the settings file and the platform set, and for some kinds the
domain, but no other value: a scope without any value has no row.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flyteidl.admin.matchable_resource_pb2 import MatchingAttributes
from google.protobuf import json_format
from pydantic import JsonValue

from trimtab import kinds, placeholders, quantities
from trimtab.errors import Unreadable
from trimtab.flyte.messages import target_of, to_message
from trimtab.flyte.rows import FlyteProject
from trimtab.kinds import Kind, task_resource, workflow_execution_config
from trimtab.kinds.flyte import FlyteMerge
from trimtab.levels import Level, Scope
from trimtab.messages.events import ProjectChanged
from trimtab.settings.fold import fold
from trimtab.settings.state import Settings

Rows = Mapping[Scope, MatchingAttributes]
Flat = Mapping[str, JsonValue]

_NATIVE = "Flyte has no such field"
_ZERO = "Flyte reads 0 as not set"
_PLACEHOLDER = "Flyte fills no placeholders"
_NO_IDENTITY = "Flyte ignores a security context without an identity"
_CONFIGURED = "Flyte takes the value of its configuration where a row has none"
_NO_KIND = "Flyte has no such kind"
_REFUSED_KIND = "Flyte's API refuses this kind"


@dataclass(frozen=True)
class Loss:
    """A field of an effective value that Flyte cannot read."""

    kind: str
    target: Scope
    """A project-domain, which stands for its workflows too, a workflow, or a launch plan."""
    path: str
    value: JsonValue
    """The effective value; ``None`` where the field is unset."""
    reason: str

    def __str__(self) -> str:
        return f"{self.kind} of {self.target}: {self.path}: {self.reason}"


@dataclass
class Image:
    """The rows of one kind that Flyte has to have, and what they cannot hold."""

    rows: dict[Scope, MatchingAttributes] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    unreadable: dict[Scope, str] = field(default_factory=dict)
    """Scopes whose value cannot be computed, with the reason. Their rows stay as they are."""


@dataclass(frozen=True)
class Update:
    """Write a row. Plugin overrides are merged into the stored row by type of task."""

    kind: Kind
    scope: Scope
    message: MatchingAttributes

    def __str__(self) -> str:
        return f"update {self.kind.name} of {self.scope}"


@dataclass(frozen=True)
class Delete:
    """Delete a row and, in Flyte, every narrower row of its kind."""

    kind: Kind
    scope: Scope

    def __str__(self) -> str:
        return f"delete {self.kind.name} of {self.scope}"


@dataclass(frozen=True)
class Register:
    project: FlyteProject

    def __str__(self) -> str:
        return f"register project {self.project.id}"


@dataclass(frozen=True)
class UpdateProject:
    project: FlyteProject

    def __str__(self) -> str:
        return f"update project {self.project.id}"


ProjectOperation = Register | UpdateProject
RowOperation = Update | Delete
Operation = ProjectOperation | RowOperation


def mirrored_kinds() -> Sequence[Kind]:
    """Return the kinds whose rows Flyte 1 stores and reads."""
    return [kind for kind in kinds.registered().values() if kind.flyte and kind.flyte.record_levels]


def image(settings: Settings, kind: Kind, projects: Iterable[str], domains: Sequence[str]) -> Image:
    """Return the rows of a kind for these projects and domains.

    A scope has a row only where Flyte would read something else without it.
    """
    found = _Image(settings, kind)
    found.image.unreadable |= settings.unreadable.get(kind.name, {})
    for project in projects:
        found.add_project(project, domains)
    return found.image


def unmirrored(settings: Settings, projects: Collection[str], domains: Sequence[str]) -> list[Loss]:
    """Return the values of the kinds that have no rows in Flyte 1."""
    losses = []
    for kind in kinds.registered().values():
        if (kind.flyte and kind.flyte.record_levels) or not settings.records.get(kind.name):
            continue
        reason = _REFUSED_KIND if kind.flyte else _NO_KIND
        for target in _targets(settings, kind, projects, domains):
            try:
                flat = settings.effective(kind.name, target).flat
            except Unreadable:
                continue
            losses += [Loss(kind.name, target, path, flat[path], reason) for path in flat]
    return losses


class _Image:
    """An image that is being made."""

    def __init__(self, settings: Settings, kind: Kind) -> None:
        assert kind.flyte is not None
        self.image = Image()
        self._settings = settings
        self._kind = kind
        self._flyte = kind.flyte
        self._levels = set(kind.flyte.record_levels)
        if kind.flyte.merge is FlyteMerge.FIELD_BY_FIELD:
            # Flyte would take from it what a row of a project-domain lacks.
            self._levels.discard(Level.PROJECT)

    def add_project(self, project: str, domains: Sequence[str]) -> None:
        of_project = self._add(Scope(project=project), None)
        for domain in domains:
            target = Scope(domain, project)
            of_domain = self._add(target, of_project)
            for scope in _narrower(self._settings, self._kind, target):
                if scope.level is Level.WORKFLOW:
                    self._add(scope, of_domain)
                if scope.level not in self._levels:
                    self._compare(scope)

    def _add(self, scope: Scope, inherited: MatchingAttributes | None) -> MatchingAttributes | None:
        """Add the row of a scope where it needs one, and return what Flyte then reads there."""
        if scope.level not in self._levels:
            return inherited
        try:
            flat = self._settings.effective(self._kind.name, scope).flat
            configured = self._configured(scope)
        except Unreadable as error:
            self.image.unreadable[scope] = str(error)
            return inherited
        carried, reasons = _carried(self._kind, flat, scope)
        if scope.level > Level.PROJECT:
            reasons |= _filled(self._kind, carried, configured)
            self._report(scope, flat, reasons)
        message = to_message(self._kind, self._kind.schema.nest(carried))
        # An empty row is read as the end of inheritance, unless Flyte reads on in such a row.
        stops = bool(configured) and not _is_empty_ignored(self._kind)
        if message != inherited if inherited is not None else carried or stops:
            self.image.rows[scope] = message
            return message
        return inherited

    def _compare(self, scope: Scope) -> None:
        """Add the losses of a scope whose rows Flyte does not read or has not."""
        try:
            flat = self._settings.effective(self._kind.name, scope).flat
            of_row = self._read(scope)
        except Unreadable as error:
            self.image.unreadable[scope] = str(error)
            return
        carried, reasons = _carried(self._kind, flat, scope)
        own = {**carried, **{path: flat[path] for path in reasons}}
        level = f"Flyte reads no {self._kind.name} of {_plural(scope.level)}"
        reasons = {
            path: reasons.get(path, level)
            for path in own.keys() | of_row
            if own.get(path) != of_row.get(path)
        }
        self._report(scope, flat, reasons)

    def _report(self, scope: Scope, flat: Flat, reasons: Mapping[str, str]) -> None:
        self.image.losses += [
            Loss(self._kind.name, scope, path, flat.get(path), reason)
            for path, reason in sorted(reasons.items())
        ]

    def _read(self, scope: Scope) -> Flat:
        """Return the values of the row that Flyte reads for a scope."""
        row = next((each for each in reversed(scope.chain) if each in self.image.rows), None)
        if row is None:
            return {}
        return _carried(self._kind, self._settings.effective(self._kind.name, row).flat, row)[0]

    def _configured(self, scope: Scope) -> Flat:
        """Return what Flyte's configuration may set for a target, without native fields."""
        levels = self._flyte.configuration_levels
        chain = self._settings.chain(self._kind.name, scope)
        records = [record for record in chain if record.scope.level in levels]
        flat = fold(self._kind, scope, records).flat
        return {path: flat[path] for path in flat if _field(path) not in self._flyte.native_fields}


def _carried(kind: Kind, flat: Flat, scope: Scope) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values that a row of the scope can hold, and why it cannot hold others."""
    assert kind.flyte is not None
    carried: dict[str, Any] = {}
    reasons = {}
    for path, value in flat.items():
        filled = _fill(value, scope) if kind is workflow_execution_config.KIND else value
        if _field(path) in kind.flyte.native_fields:
            reasons[path] = _NATIVE
        elif kind is task_resource.KIND and quantities.parse(str(value)) == 0:
            reasons[path] = _ZERO
        elif filled is None:
            reasons[path] = _PLACEHOLDER
        elif (path, value) != ("overwrite_cache", False):  # Its message has no presence.
            carried[path] = filled
    if _IDENTITIES.isdisjoint(carried):
        for path in [path for path in carried if _field(path) == "security_context"]:
            reasons[path] = _NO_IDENTITY
            del carried[path]
    return carried, reasons


_IDENTITIES = frozenset(
    f"security_context.run_as.{name}"
    for name in ("iam_role", "k8s_service_account", "execution_identity")
)


def _fill(value: JsonValue, scope: Scope) -> JsonValue:
    """Return a text with its placeholders filled; ``None`` where only an execution fills them."""
    if not isinstance(value, str):
        return value
    parts = {"project": scope.project, "domain": scope.domain, "workflow": scope.workflow}
    texts = [
        placeholders.fill(value, {name: parts.get(name) or other for name in placeholders.NAMES})
        for other in ("a", "b")
    ]
    return texts[0] if texts[0] == texts[1] else None


def _filled(kind: Kind, carried: Flat, configured: Flat) -> dict[str, str]:
    """Return what Flyte may take from its configuration although it is not the effective value."""
    assert kind.flyte is not None
    match kind.flyte.merge:
        case FlyteMerge.NARROWEST_RECORD:
            is_filled = not carried and kind.flyte.ignores_empty
            return dict.fromkeys(configured, _CONFIGURED) if is_filled else {}
        case FlyteMerge.OVER_CONFIGURATION:
            return {path: _CONFIGURED for path in configured if path not in carried}
        case FlyteMerge.FIELD_BY_FIELD:
            fields = set(map(_field, carried))
            if _IDENTITIES.isdisjoint(configured):
                fields.add("security_context")
            # A false of the configuration counts as not set.
            taken = [path for path, value in configured.items() if value is not False]
            return {path: _CONFIGURED for path in taken if _field(path) not in fields}


def _is_empty_ignored(kind: Kind) -> bool:
    """Whether Flyte reads the same from an empty row as from none."""
    assert kind.flyte is not None
    return kind.flyte.ignores_empty or kind.flyte.merge is not FlyteMerge.NARROWEST_RECORD


def _targets(
    settings: Settings, kind: Kind, projects: Iterable[str], domains: Iterable[str]
) -> Iterator[Scope]:
    for project in projects:
        for domain in domains:
            target = Scope(domain, project)
            yield target
            yield from _narrower(settings, kind, target)


def _narrower(settings: Settings, kind: Kind, target: Scope) -> list[Scope]:
    """Return the workflows of a project-domain that have records, then its launch plans."""
    of_kind = settings.by_project_domain.get(kind.name, {})
    scopes = of_kind.get((target.domain, target.project), {})
    return sorted((scope for scope in scopes if scope.workflow), key=_order)


def _field(path: str) -> str:
    return path.partition(".")[0]


def _plural(level: Level) -> str:
    return level.label.replace("-", " ") + "s"


def operations(
    kind: Kind, rows: Rows, present: Rows, kept: Collection[Scope] = ()
) -> list[RowOperation]:
    """Return what turns the present rows into the given ones, in order.

    Rows of the scopes in ``kept`` stay as they are. Rows are written from narrow to broad, so that
    each target goes from the old value to the new one. A row that is not needed but has narrower
    ones that have to stay is not deleted, where it can hold what Flyte reads there without it.
    Otherwise the narrower rows are written again right after the delete.
    """
    planned: list[RowOperation] = []
    rows_of, present_of = _by_project(rows), _by_project(present)
    for project in sorted(rows_of.keys() | present_of.keys()):
        plan = _Plan(kind, rows_of.get(project, {}), present_of.get(project, {}), kept)
        planned += plan.operations()
    return planned


def _by_project(rows: Rows) -> dict[str, dict[Scope, MatchingAttributes]]:
    found: dict[str, dict[Scope, MatchingAttributes]] = {}
    for scope, message in rows.items():
        found.setdefault(scope.project, {})[scope] = message
    return found


class _Plan:
    """The operations on the rows of one kind in one project."""

    def __init__(self, kind: Kind, rows: Rows, present: Rows, kept: Collection[Scope]) -> None:
        assert kind.flyte is not None
        self._kind = kind
        self._rows = rows
        self._present = present
        self._left = {scope: message for scope, message in present.items() if scope in kept}
        self._final = {**self._left, **{s: m for s, m in rows.items() if s not in kept}}
        self._is_merged = bool(kind.flyte.merged_map)

    def operations(self) -> list[RowOperation]:
        deleted = self._place_unneeded()
        changed = [s for s, m in self._final.items() if not self._is_present(s, m)]
        again = [scope for scope in changed if self._has_to_be_replaced(scope)]
        replaced = _broadest([*again, *(scope for scope in deleted if self._stays_below(scope))])
        # Flyte merges plugin overrides of a project-domain into the row of one of its workflows
        # where that row is older.
        writes = sorted(changed, key=_order, reverse=not self._is_merged)
        planned: list[RowOperation] = [
            Update(self._kind, scope, self._final[scope])
            for scope in writes
            if not _is_below(scope, replaced)
        ]
        # A narrower row first would uncover the old value of a broader one.
        planned += [
            Delete(self._kind, scope)
            for scope in sorted(deleted, key=_order)
            if not _is_below(scope, replaced)
        ]
        for scope in replaced:
            below = sorted((each for each in self._final if _covers(scope, each)), key=_order)
            planned.append(Delete(self._kind, scope))
            planned += [Update(self._kind, each, self._final[each]) for each in below]
        return planned

    def _place_unneeded(self) -> list[Scope]:
        """Return the present rows to delete; others get the value that is read without them."""
        deleted = []
        for scope in sorted(self._present.keys() - self._final.keys(), key=_order):
            inherited = self._inherited(scope)
            if self._stays_below(scope) and inherited is not None:
                self._final[scope] = inherited
            else:
                deleted.append(scope)
        return deleted

    def _inherited(self, scope: Scope) -> MatchingAttributes | None:
        """Return a row that is read as none would be; ``None`` where there is no such row."""
        above = [self._rows[each] for each in reversed(scope.chain[:-1]) if each in self._rows]
        if above:
            return above[0]
        return to_message(self._kind, {}) if _is_empty_ignored(self._kind) else None

    def _stays_below(self, scope: Scope) -> bool:
        return any(_covers(scope, other) and other != scope for other in self._final)

    def _is_present(self, scope: Scope, message: MatchingAttributes) -> bool:
        present = self._present.get(scope)
        if present is None or not self._is_merged:
            return bool(present == message)
        return _entries(self._kind, present) == _entries(self._kind, message)

    def _has_to_be_replaced(self, scope: Scope) -> bool:
        """Whether an update would leave entries in a row, or be merged into a narrower row."""
        if not self._is_merged:
            return False
        present = self._present.get(scope)
        narrower = any(_covers(scope, other) and other != scope for other in self._present)
        stored = _entries(self._kind, present) if present is not None else {}
        return narrower or bool(stored.keys() - _entries(self._kind, self._final[scope]).keys())


def _entries(kind: Kind, message: MatchingAttributes) -> dict[str, Any]:
    """Return the entries of a kind that Flyte merges, by type of task; the last one counts."""
    overrides = json_format.MessageToDict(getattr(message, target_of(kind))).get("overrides", ())
    return {entry.get("taskType", ""): entry for entry in overrides}


def _covers(scope: Scope, other: Scope) -> bool:
    """Whether a delete of the row of a scope deletes the row of the other one."""
    return scope.project == other.project and all(
        mine in ("", theirs)
        for mine, theirs in ((scope.domain, other.domain), (scope.workflow, other.workflow))
    )


def _broadest(scopes: Iterable[Scope]) -> list[Scope]:
    found: list[Scope] = []
    for scope in sorted(scopes, key=_order):
        if not _is_below(scope, found):
            found.append(scope)
    return found


def _is_below(scope: Scope, broader: Iterable[Scope]) -> bool:
    return any(_covers(each, scope) for each in broader)


def _order(scope: Scope) -> tuple[int, str]:
    return int(scope.level), str(scope)


def project_operations(
    projects: Iterable[ProjectChanged], present: Iterable[FlyteProject]
) -> list[ProjectOperation]:
    """Return what gives Flyte the projects. Archived ones that it lacks are not registered.

    Flyte cannot clear a description or the name that its console shows, so these stay.
    """
    stored = {project.id: project for project in present}
    planned: list[ProjectOperation] = []
    for project in sorted(projects, key=lambda each: each.name):
        is_archived = project.state == "archived"
        before = stored.get(project.name)
        after = FlyteProject(
            project.name,
            project.display_name or (before.name if before else project.name),
            project.description or (before.description if before else ""),
            project.labels,
            is_archived,
        )
        if before is None and not is_archived:
            planned.append(Register(after))
        elif before is not None and before != after:
            planned.append(UpdateProject(after))
    return planned
