"""Operations on settings: kinds, records, effective values, history, apply, export and watch."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any, Literal

from pydantic import Field

from trimtab import kinds
from trimtab.api.settings import (
    EXPORT_HEAD,
    EXPORT_TAIL,
    ApplyBody,
    ChangesBody,
    EffectiveAllBody,
    EffectiveBody,
    ExplainBody,
    ExportBody,
    HistoryBody,
    KindBody,
    Part,
    RecordBody,
    RollbackBody,
)
from trimtab.kinds import forms
from trimtab_admin import slices
from trimtab_admin.access.authentication import Authentication
from trimtab_admin.access.authorization import (
    Caller,
    Role,
    any_caller,
    record_editor,
    record_viewer,
)
from trimtab_admin.access.call import Call
from trimtab_admin.api.operation import Operation, Reply, Stream
from trimtab_admin.api.parameters import (
    PageQuery,
    Parameters,
    ReasonHeader,
    Revision,
    ScopeQuery,
    ScopeWriteQuery,
    WriteHeaders,
)
from trimtab_admin.paging import Page
from trimtab_admin.settings.documents import Export
from trimtab_admin.settings.entities import ENTITY_TYPES
from trimtab_admin.settings.explaining import Explainer
from trimtab_admin.settings.history import History, HistoryFilter
from trimtab_admin.settings.known_names import KnownNames
from trimtab_admin.settings.preconditions import Precondition
from trimtab_admin.settings.reading import Reader, RecordFilter
from trimtab_admin.settings.requests import (
    ApplyDocuments,
    DeleteRecord,
    PatchRecord,
    PutRecord,
    RollBackRecord,
    WriteRequest,
)
from trimtab_admin.settings.watching import Watches
from trimtab_admin.settings.writing import Writer
from trimtab_admin.storage.record_index import Search

LevelLabel = Literal[
    "", "settings", "platform", "domain", "project", "project-domain", "workflow", "launch-plan"
]
Document = Annotated[dict[str, Any], Field(description="Fields of the kind, and ``unset``")]


class EffectiveQuery(ScopeQuery):
    """The target of an effective value, and the rule that computes it."""

    as_flyte: bool = False
    """Return the narrowest record as a whole, as Flyte 1 does."""


class RecordsQuery(ScopeQuery, PageQuery):
    """A filter of records; an empty part matches all."""

    kind: Part = ""
    level: LevelLabel = ""


class RecordHistoryQuery(ScopeQuery, PageQuery):
    """The changes of one record."""

    since: Revision = 0
    """Only changes after this revision."""
    limit: int = Field(default=100, ge=1, le=1000)


class ApplyQuery(Parameters):
    """How documents are applied."""

    dry_run: bool = False
    """Change nothing; return what would change, and for which targets."""
    prune: str = Field(default="", max_length=400)
    """A label, such as ``owner=team-a``, that each record gets; others that have it are deleted."""
    allow_empty: bool = False
    """Let `prune` delete all records of its label: there need be no record among the documents."""


class ExportQuery(Parameters):
    """How settings are exported."""

    readable_only: bool = False
    """Leave out records that this release cannot parse, which are an error otherwise."""


class ChangesQuery(ScopeQuery):
    """A filter of changes; an empty part matches all."""

    kind: Part = ""

    def matching(self, caller: Caller) -> HistoryFilter:
        names = {"kind", "domain", "project", "workflow", "launch_plan"}
        return HistoryFilter(caller, **self.model_dump(include=names))


class HistoryQuery(ChangesQuery, PageQuery):
    """A filter of changes that have been made."""

    since: Revision = 0
    """Only changes after this revision."""
    limit: int = Field(default=100, ge=1, le=1000)


class WatchQuery(ChangesQuery):
    """A filter of changes that are watched."""

    since: Revision | None = None
    """Begin with the changes after this revision; absent, with the next change."""


class WatchHeaders(Parameters):
    """The header by which a client resumes a stream of server-sent events."""

    last_event_id: Revision | None = Field(default=None, alias="last-event-id")
    """The id of the last event that the client received; overrides `since`"""


@dataclass(frozen=True)
class SettingsOperations:
    """The operations, with what reads and writes the settings for them."""

    reader: Reader
    writer: Writer
    explainer: Explainer
    history: History
    watches: Watches
    authentication: Authentication
    names: KnownNames

    def table(self) -> Sequence[Operation]:
        """Return the operations; those with the most calls first, because routing is linear."""
        records, settings = partial(Operation, tag="records"), partial(Operation, tag="settings")
        record = "/records/{kind}"
        dry_run = (200, "What a dry run would change")
        return (
            records("GET", "/effective/{kind}", self.get_effective, record_viewer),
            records("GET", "/kinds", self.list_kinds, any_caller),
            records("GET", "/records", self.list_records, any_caller),
            records("GET", record, self.get_record, record_viewer),
            records("PUT", record, self.put_record, record_editor),
            records("PATCH", record, self.patch_record, record_editor),
            records("DELETE", record, self.delete_record, record_editor, 204, dry_run),
            records("GET", f"{record}/history", self.list_history_of_record, record_viewer),
            records("GET", "/effective", self.get_effective_of_all_kinds, any_caller),
            records("GET", "/explain/{kind}", self.explain, record_viewer),
            records("POST", f"{record}/rollback", self.roll_back_record, record_editor),
            settings("POST", "/apply", self.apply, any_caller, takes_documents=True),
            settings("GET", "/export", self.export, any_caller),
            settings("GET", "/history", self.list_history, any_caller),
            settings("GET", "/watch", self.watch, any_caller),
        )

    async def get_effective(self, call: Call, kind: str, query: EffectiveQuery) -> EffectiveBody:
        found = kinds.by_name(kind)
        return await self.reader.effective(found, query.scope, as_flyte=query.as_flyte)

    async def list_kinds(self, call: Call) -> Sequence[KindBody]:
        return [_kind_body(name) for name in kinds.registered()]

    async def list_records(self, call: Call, query: RecordsQuery) -> Page[RecordBody]:
        if query.kind in ENTITY_TYPES:
            kinds.by_name(query.kind)
        search = Search(**query.model_dump(exclude={"limit", "token"}))
        matching = RecordFilter(call.caller, search)
        return await self.reader.records(matching, query.token, query.limit)

    async def get_record(self, call: Call, kind: str, query: ScopeQuery) -> Reply[RecordBody]:
        body = await self.reader.record(kinds.by_name(kind), query.scope)
        return Reply(body, version=body.version)

    async def put_record(
        self, call: Call, kind: str, query: ScopeWriteQuery, headers: WriteHeaders, body: Document
    ) -> Reply[RecordBody | ChangesBody]:
        precondition = _precondition(query, headers)
        request = PutRecord(kinds.by_name(kind), query.scope, body, precondition)
        return await self._write_record(call, request, query, headers)

    async def patch_record(
        self, call: Call, kind: str, query: ScopeWriteQuery, headers: WriteHeaders, body: Document
    ) -> Reply[RecordBody | ChangesBody]:
        precondition = _precondition(query, headers)
        request = PatchRecord(kinds.by_name(kind), query.scope, body, precondition)
        return await self._write_record(call, request, query, headers)

    async def _write_record(
        self, call: Call, request: WriteRequest, query: ScopeWriteQuery, headers: WriteHeaders
    ) -> Reply[RecordBody | ChangesBody]:
        if query.dry_run:
            return Reply(await self.writer.dry_run(request, call.caller))
        record = (await self.writer.write(request, headers.author(call))).record()
        return Reply(record, version=record.version)

    async def delete_record(
        self, call: Call, kind: str, query: ScopeWriteQuery, headers: WriteHeaders
    ) -> Reply[ChangesBody | None]:
        precondition = _precondition(query, headers)
        request = DeleteRecord(kinds.by_name(kind), query.scope, precondition)
        if query.dry_run:
            return Reply(await self.writer.dry_run(request, call.caller), status=200)
        [edit] = (await self.writer.write(request, headers.author(call))).draft.records.values()
        nothing = () if edit.action == "delete" else (f"no {kind} of {query.scope} was stored",)
        return Reply(None, warnings=nothing)

    async def list_history_of_record(
        self, call: Call, kind: str, query: RecordHistoryQuery
    ) -> Page[HistoryBody]:
        matching = HistoryFilter.of_record(call.caller, kind, query.scope)
        return await self.history.list(matching, query.since, query.token, query.limit)

    async def get_effective_of_all_kinds(self, call: Call, query: ScopeQuery) -> EffectiveAllBody:
        scope, caller = query.scope, call.caller
        visible = [kind for kind in kinds.registered() if caller.may(Role.VIEWER, scope, kind)]
        if not visible:
            caller.check(Role.VIEWER, scope)
        return await self.reader.effective_of_kinds(scope, visible)

    async def explain(self, call: Call, kind: str, query: ScopeQuery) -> ExplainBody:
        return await self.explainer.explain(kinds.by_name(kind), query.scope)

    async def roll_back_record(
        self,
        call: Call,
        kind: str,
        query: ScopeWriteQuery,
        headers: WriteHeaders,
        body: RollbackBody,
    ) -> ChangesBody:
        precondition = _precondition(query, headers)
        request = RollBackRecord(kinds.by_name(kind), query.scope, body.revision, precondition)
        if query.dry_run:
            return await self.writer.dry_run(request, call.caller)
        return await (await self.writer.write(request, headers.author(call))).changes()

    async def apply(
        self, call: Call, query: ApplyQuery, headers: ReasonHeader, body: ApplyBody
    ) -> ChangesBody:
        request = ApplyDocuments(body.documents, query.prune, query.allow_empty)
        if query.dry_run:
            changes = await self.writer.dry_run(request, call.caller)
        else:
            changes = await (await self.writer.write(request, headers.author(call))).changes()
        return await self.names.with_warnings(call.caller, changes)

    async def export(self, call: Call, query: ExportQuery) -> Stream[ExportBody]:
        exported = await self.reader.export(call.caller, readable_only=query.readable_only)
        headers = {
            "X-Trimtab-Revision": f"{exported.revision}",
            "X-Trimtab-Documents": f"{len(exported)}",
        }
        return Stream(_export_text(exported), headers)

    async def list_history(self, call: Call, query: HistoryQuery) -> Page[HistoryBody]:
        matching = query.matching(call.caller)
        return await self.history.list(matching, query.since, query.token, query.limit)

    async def watch(
        self, call: Call, query: WatchQuery, headers: WatchHeaders
    ) -> AsyncIterator[str]:
        resumed = headers.last_event_id
        start = await self.history.start(query.since if resumed is None else resumed)
        is_valid = partial(self.authentication.is_valid, call.caller)
        return self.watches.events(query.matching(call.caller), start, is_valid)


async def _export_text(exported: Export) -> AsyncIterator[bytes]:
    """Yield the JSON text of an `ExportBody`, with a document in each line."""
    separator = EXPORT_HEAD + b"\n"
    async for documents in slices.of(exported.documents()):
        yield separator + b",\n".join(body.model_dump_json().encode() for body in documents)
        separator = b",\n"
    yield (b"" if len(exported) else separator) + b"\n" + EXPORT_TAIL


def _precondition(query: ScopeWriteQuery, headers: WriteHeaders) -> Precondition:
    """Return the precondition, which a dry run may leave out."""
    parse = headers.optional_precondition if query.dry_run else headers.required_precondition
    return parse(force=query.force)


@cache
def _kind_body(name: str) -> KindBody:
    kind = kinds.by_name(name)
    return KindBody(
        name=kind.name,
        noun=kind.noun,
        summary=kind.summary,
        flyte_number=kind.flyte.number if kind.flyte else None,
        aliases=kind.other_nouns,
        levels=tuple(level.label for level in sorted(kind.levels)),
        refused_levels={level.label: why for level, why in sorted(kind.refused_levels.items())},
        form=forms.of_kind(kind),
        alternatives=tuple(sorted(kind.alternatives)),
        narrowing=tuple(sorted(kind.narrowing)),
        deprecated=dict(kind.deprecated),
        sample=forms.sample(kind),
        json_schema=kind.value.model_json_schema(),
    )
