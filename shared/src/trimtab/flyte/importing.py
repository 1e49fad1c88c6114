"""The documents that an import of another control plane writes. Pure.

A plan depends neither on the order of the rows nor on earlier imports: a second import of the same
contents changes nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from flyteidl.admin.matchable_resource_pb2 import MatchingAttributes

from trimtab import kinds, texts
from trimtab.api.entities import DomainBody, ProjectBody
from trimtab.api.settings import DocumentBody, ScopeBody
from trimtab.errors import Invalid
from trimtab.flyte.comparing import Comparison, Difference
from trimtab.flyte.messages import from_message, kinds_by_number, revised
from trimtab.flyte.rows import FlyteProject, Row
from trimtab.kinds import Kind, task_resource
from trimtab.levels import Level, Scope
from trimtab.models import Model, parse_model
from trimtab.settings.fold import Record, fold

Action = Literal["create", "update", "none"]


class Refusal(Model):
    """Something of the other control plane that is not imported."""

    what: str
    reason: str
    kind: str = ""
    """The kind of a row; empty for something else."""
    scope: ScopeBody | None = None
    """The scope of a row, if it has one: values of the kind below it cannot be compared."""


@dataclass(frozen=True)
class Given:
    """A record to import."""

    what: str
    """The row in words, for a `Refusal`."""
    record: Record
    as_read: Record | None = None
    """The record with the fields that Flyte reads; ``None`` where Flyte's rule does not apply."""
    revise: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    """Returns the document that replaces a stored one; ``None`` selects that of a row."""


@dataclass(frozen=True)
class Contents:
    """All settings of another control plane."""

    domains: Sequence[str]
    projects: Sequence[FlyteProject]
    records: Sequence[Given]
    refused: Sequence[Refusal] = ()
    has_flyte_rule: bool = True
    """Whether the other control plane takes one row whole, so that effective values can differ."""


class PlannedDocument(Model):
    """A document of the contents, and what it changes."""

    action: Action
    document: DocumentBody
    """With the version of what it replaces."""


@dataclass
class Plan:
    """Everything that an import does and does not do."""

    planned: list[PlannedDocument] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    compared: int = 0
    """How many effective values were compared: one for each kind and target."""

    @cached_property
    def documents(self) -> list[DocumentBody]:
        """The documents to write."""
        return [each.document for each in self.planned if each.action != "none"]

    @cached_property
    def counts(self) -> Mapping[Action, int]:
        return Counter(each.action for each in self.planned)


def contents_of_rows(
    domains: Sequence[str],
    projects: Sequence[FlyteProject],
    rows: Iterable[Row],
    configuration: Sequence[Given] = (),
) -> Contents:
    """Return the contents of a Flyte 1; ``configuration`` is its configuration as records."""
    records, refused = list(configuration), list[Refusal]()
    for row in rows:
        try:
            records.append(_given(row))
        except Invalid as error:
            refused.append(_refusal(row, error))
    return Contents(domains, projects, records, refused)


def _refusal(row: Row, error: Invalid) -> Refusal:
    try:
        scope = ScopeBody.of(row.scope)
    except Invalid:
        # It applies to nothing.
        scope = None
    return Refusal(what=str(row), reason=str(error), kind=row.kind.name, scope=scope)


def _given(row: Row) -> Given:
    """Raises `Invalid` where the row is none that Trimtab can store."""
    kind, document = from_message(row.message, row.scope)
    if kind is not row.kind:
        raise Invalid("matching_attributes", kind.name, f"attributes of {row.kind.name}")
    record = Record.of(kind, row.scope, 0, document)
    if kind is not task_resource.KIND:
        return Given(str(row), record, record)
    # Flyte reads no `storage`, which Trimtab reads as `ephemeral_storage`.
    read = _without_storage(row)
    return Given(str(row), record, Record.of(kind, row.scope, 0, from_message(read, row.scope)[1]))


def _without_storage(row: Row) -> MatchingAttributes:
    message = MatchingAttributes()
    message.CopyFrom(row.message)
    for group in ("defaults", "limits"):
        if message.task_resource_attributes.HasField(group):
            getattr(message.task_resource_attributes, group).storage = ""
    return message


def plan(
    contents: Contents, stored: Iterable[DocumentBody], *, keep_effective: bool = False
) -> Plan:
    """Return what an import writes into an installation that stores these documents.

    ``keep_effective`` extends records so that targets with a row keep their effective value.
    """
    found = Plan(refused=list(contents.refused))
    by_kind: dict[str, dict[Scope, DocumentBody]] = {}
    entities: dict[tuple[str, str], DocumentBody] = {}
    for body in stored:
        if body.kind in kinds.registered():
            by_kind.setdefault(body.kind, {})[_scope(body)] = body
        else:
            entities[body.kind, body.name] = body
    domains, projects = _plan_entities(found, contents, entities)
    given: dict[str, list[Given]] = {kind.name: [] for kind in kinds_by_number().values()}
    for each in contents.records:
        given.setdefault(each.record.kind.name, []).append(each)
    for name, records in sorted(given.items()):
        part = _KindPlan(
            found, contents, domains, projects, kinds.by_name(name), by_kind.get(name, {})
        )
        part.add(records, keep_effective)
    return found


def _plan_entities(
    found: Plan, contents: Contents, stored: Mapping[tuple[str, str], DocumentBody]
) -> tuple[list[str], dict[str, bool]]:
    """Plan domains and projects, and return those that records may name.

    A project that stays archived is false: admin changes nothing in it.
    """
    domains, projects = list[str](), dict[str, bool]()
    for name in sorted(contents.domains):
        try:
            parse_model(DomainBody, {"name": name})
        except Invalid as error:
            found.refused.append(Refusal(what=f'domain "{name}"', reason=str(error)))
            continue
        domains.append(name)
        found.planned.append(_planned_entity("domain", name, {}, stored))
    for project in sorted(contents.projects, key=lambda each: each.id):
        document = {
            "display_name": project.name if project.name != project.id else "",
            "description": project.description,
            "labels": dict(project.labels),
            "state": "archived" if project.is_archived else "active",
        }
        try:
            texts.check(parse_model(ProjectBody, {"name": project.id, **document}))
        except Invalid as error:
            found.refused.append(Refusal(what=f'project "{project.id}"', reason=str(error)))
            continue
        before = stored.get(("project", project.id))
        was_archived = before is not None and before.document.get("state") == "archived"
        projects[project.id] = not (was_archived and project.is_archived)
        if before is not None and not project.has_details:
            document = {}
        found.planned.append(_planned_entity("project", project.id, document, stored))
    return domains, projects


def _planned_entity(
    kind: str,
    name: str,
    document: Mapping[str, Any],
    stored: Mapping[tuple[str, str], DocumentBody],
) -> PlannedDocument:
    before = stored.get((kind, name))
    if before is None:
        body = DocumentBody(kind=kind, name=name, document=dict(document), version=0)
        return PlannedDocument(action="create", document=body)
    after = before.model_copy(update={"document": {**before.document, **document}})
    action: Action = "none" if after.document == before.document else "update"
    return PlannedDocument(action=action, document=after)


@dataclass
class _KindPlan:
    """The part of a plan that has the records of one kind."""

    plan: Plan
    contents: Contents
    domains: Sequence[str]
    projects: Mapping[str, bool]
    """Whether records of the project can be changed, which is not archived."""
    kind: Kind
    stored: Mapping[Scope, DocumentBody]
    others: dict[str, list[Scope]] = field(default_factory=dict)
    """By project, the scopes of stored records that are not replaced."""

    def add(self, given: Sequence[Given], keep_effective: bool) -> None:
        """Add the records, broadest first: what is valid then does not depend on their order."""
        kind, accepted = self.kind, dict[Scope, Given]()
        for each in sorted(given, key=_order):
            if reason := self._unknown_part(each.record.scope):
                self._refuse(each, reason)
            elif each.record.scope in accepted:
                self._refuse(each, "another row has the same identity")
            else:
                accepted[each.record.scope] = each
        sides = Comparison(kind, trimtab=_records(kind, self.stored, accepted))
        for scope in sides.trimtab:
            self.others.setdefault(scope.project, []).append(scope)
        for scope, each in accepted.items():
            self._add_record(sides, each, self.stored.get(scope), keep_effective)
        self._compare(sides, accepted)

    def _add_record(
        self, sides: Comparison, given: Given, before: DocumentBody | None, keep_effective: bool
    ) -> None:
        record = given.record
        if given.as_read is not None:
            sides.flyte[record.scope] = given.as_read
            if keep_effective:
                record = sides.kept(record, self.domains)
        stored = {} if before is None else before.document
        document = (
            given.revise(stored)
            if given.revise
            else _with_native_parts(self.kind, stored, record.document)
        )
        is_same = before is not None and _normal(stored) == _normal(document)
        try:
            body = _body(self.kind, record.scope, document, before)
            if not is_same and not self.projects.get(record.scope.project, True):
                allowed = "an active project: unarchive it first"
                raise Invalid("project", f"{record.scope.project}, which is archived", allowed)
            sides.trimtab[record.scope] = Record.of(self.kind, record.scope, 0, document)
            self._check_values(sides, record.scope)
        except Invalid as error:
            sides.flyte.pop(record.scope, None)
            sides.trimtab.pop(record.scope, None)
            if before is not None:
                sides.trimtab |= _records(self.kind, {record.scope: before}, {})
            self._refuse(given, str(error))
            return
        action: Action = "none" if is_same else "create" if before is None else "update"
        self.plan.planned.append(PlannedDocument(action=action, document=body))

    def _check_values(self, sides: Comparison, scope: Scope) -> None:
        """Raise `Invalid` where an effective value would be one that admin refuses."""
        targets = [scope]
        if scope.level is Level.PROJECT:
            targets += [Scope(domain, scope.project) for domain in self.domains]
        targets += [each for each in self.others.get(scope.project, ()) if scope.covers(each)]
        for target in targets:
            chain = [sides.trimtab[each] for each in target.chain if each in sides.trimtab]
            for problem in self.kind.validate(fold(self.kind, target, chain).flat):
                where = "" if target == scope else f" at {target}"
                raise Invalid(f"{problem.path}{where}", problem.value, problem.allowed)

    def _compare(self, sides: Comparison, accepted: Iterable[Scope]) -> None:
        if not self.contents.has_flyte_rule:
            return
        targets = [Scope(domain, name) for name in self.projects for domain in self.domains]
        targets += [scope for scope in accepted if scope.level > Level.PROJECT_DOMAIN]
        unknown = {
            Scope(at.domain, at.project, at.workflow, at.launch_plan)
            for refused in self.plan.refused
            if refused.kind == self.kind.name and (at := refused.scope)
        }
        targets = [target for target in targets if unknown.isdisjoint(target.chain)]
        self.plan.compared += len(targets)
        self.plan.differences += sides.differences(targets)

    def _unknown_part(self, scope: Scope) -> str:
        if scope.project and scope.project not in self.projects:
            return f'there is no project "{scope.project}" to import it into'
        if scope.domain and scope.domain not in self.domains:
            return f'there is no domain "{scope.domain}"'
        return ""

    def _refuse(self, given: Given, reason: str) -> None:
        record = given.record
        self.plan.refused.append(
            Refusal(
                what=given.what,
                reason=reason,
                kind=record.kind.name,
                scope=ScopeBody.of(record.scope),
            )
        )


def _order(given: Given) -> tuple[Any, ...]:
    scope = given.record.scope
    return (
        scope.level,
        scope.project,
        scope.domain,
        scope.workflow,
        scope.launch_plan,
        # Two rows of one identity are not Flyte's, but what is imported must not depend on luck.
        repr(sorted(given.record.flat.items())),
    )


def _records(
    kind: Kind, stored: Mapping[Scope, DocumentBody], replaced: Mapping[Scope, object]
) -> dict[Scope, Record]:
    """Return the stored records that are not replaced."""
    return {
        scope: Record.read(kind, scope, 0, body.document, {})
        for scope, body in stored.items()
        if scope not in replaced
    }


def _with_native_parts(
    kind: Kind, stored: Mapping[str, Any], document: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the document with the parts of the stored one that Flyte cannot have."""
    replaced = {name: value for name, value in stored.items() if name != kind.merged_map}
    return revised(kind, replaced, document)


def _normal(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document for comparisons: the order of ``unset`` does not matter."""
    return {**document, "unset": sorted(document.get("unset", ()))}


def _body(
    kind: Kind, scope: Scope, document: Mapping[str, Any], before: DocumentBody | None
) -> DocumentBody:
    """Raises `Invalid` where a part of the scope is no name in Trimtab."""
    if before is not None:
        return before.model_copy(update={"document": dict(document)})
    parts = {
        "domain": scope.domain,
        "project": scope.project,
        "workflow": scope.workflow,
        "launch_plan": scope.launch_plan,
    }
    content = {"kind": kind.name, **parts, "document": dict(document), "version": 0}
    return parse_model(DocumentBody, content)


def _scope(body: DocumentBody) -> Scope:
    return Scope(body.domain, body.project, body.workflow, body.launch_plan)
