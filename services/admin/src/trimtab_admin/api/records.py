"""Kinds, records and effective values."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import Field

from trimtab import kinds
from trimtab.api.effective import EffectiveAllBody, ExplainBody
from trimtab.api.records import KindBody, RecordBody, RollbackBody
from trimtab.api.scopes import Part
from trimtab.api.settings import ChangesBody, HistoryBody
from trimtab.kinds import Kind, forms
from trimtab_admin.access.rights import Role
from trimtab_admin.api.inputs import By, Conditions, Given, Paged, ScopeQuery, ScopeWrite, next_page
from trimtab_admin.api.rights import ANYONE, EDITOR_OF_RECORD, VIEWER_OF_RECORD, As
from trimtab_admin.api.strict import Routes
from trimtab_admin.settings.explaining import Explainer
from trimtab_admin.settings.history import History, HistoryFilter
from trimtab_admin.settings.preconditions import Precondition
from trimtab_admin.settings.reading import Reader, RecordFilter
from trimtab_admin.settings.requests import DeleteRecord, PatchRecord, PutRecord, RollBackRecord
from trimtab_admin.settings.writing import Writer

Document = Annotated[dict[str, Any], Body(description="Fields of the kind, and ``unset``")]
Where = Annotated[ScopeQuery, Query()]
How = Annotated[ScopeWrite, Query()]


class RecordsQuery(ScopeQuery, Paged):
    """Which records are listed."""

    kind: Part = ""
    level: Part = ""


class HistoryQuery(ScopeQuery, Paged):
    """Which changes are listed."""

    since: int = Field(default=0, ge=0)
    """Those after this revision."""
    limit: int = Field(default=100, ge=1, le=1000)


def router(reader: Reader, writer: Writer, explainer: Explainer, history: History) -> APIRouter:
    # One router, because every level of them costs each call a search.
    routes = Routes(tags=["records"])
    _add_reads(routes, reader, explainer, history)
    _add_writes(routes, writer)
    return routes


def _add_reads(routes: Routes, reader: Reader, explainer: Explainer, history: History) -> None:
    @routes.get("/kinds", dependencies=[ANYONE])
    async def list_kinds() -> Sequence[KindBody]:
        return [_kind_body(kind) for kind in kinds.registered().values()]

    @routes.get("/records")
    async def list_records(
        query: Annotated[RecordsQuery, Query()], caller: As, request: Request, response: Response
    ) -> Sequence[RecordBody]:
        selected = RecordFilter(caller, **query.model_dump(exclude={"limit", "token"}))
        page = await reader.records(selected, query.token, query.limit)
        next_page(request, response, page.cursor)
        return page.items

    @routes.get("/records/{kind}", dependencies=[VIEWER_OF_RECORD])
    async def get_record(kind: str, query: Where, response: Response) -> RecordBody:
        return _tagged(response, await reader.record(kinds.by_name(kind), query.scope))

    @routes.get("/records/{kind}/history", dependencies=[VIEWER_OF_RECORD])
    async def list_history_of_record(
        kind: str,
        query: Annotated[HistoryQuery, Query()],
        caller: As,
        request: Request,
        response: Response,
    ) -> Sequence[HistoryBody]:
        which = HistoryFilter.of_record(caller, kinds.by_name(kind), query.scope)
        page = await history.list(which, query.since, query.token, query.limit)
        next_page(request, response, page.cursor)
        return page.items

    @routes.get("/effective")
    async def get_effective_of_all_kinds(query: Where, caller: As) -> EffectiveAllBody:
        scope = query.scope
        seen = [kind for kind in kinds.registered() if caller.may(Role.VIEWER, scope, kind)]
        if not seen:
            caller.check(Role.VIEWER, scope)
        return await reader.effective_of_kinds(scope, seen)

    @routes.get("/explain/{kind}", dependencies=[VIEWER_OF_RECORD])
    async def explain(kind: str, query: Where) -> ExplainBody:
        return await explainer.explain(kinds.by_name(kind), query.scope)


def _add_writes(routes: Routes, writer: Writer) -> None:
    @routes.put("/records/{kind}", dependencies=[EDITOR_OF_RECORD])
    async def put_record(
        kind: str, document: Document, query: How, author: By, given: Given, response: Response
    ) -> RecordBody | ChangesBody:
        request = PutRecord(kinds.by_name(kind), query.scope, document, _precondition(query, given))
        if query.dry_run:
            return await writer.dry_run(request, author.caller)
        return _tagged(response, (await writer.write(request, author)).record())

    @routes.patch("/records/{kind}", dependencies=[EDITOR_OF_RECORD])
    async def patch_record(
        kind: str, patch: Document, query: How, author: By, given: Given, response: Response
    ) -> RecordBody | ChangesBody:
        request = PatchRecord(kinds.by_name(kind), query.scope, patch, _precondition(query, given))
        if query.dry_run:
            return await writer.dry_run(request, author.caller)
        return _tagged(response, (await writer.write(request, author)).record())

    @routes.delete(
        "/records/{kind}",
        status_code=204,
        response_model=None,
        responses={200: {"model": ChangesBody, "description": "What a dry run would change"}},
        dependencies=[EDITOR_OF_RECORD],
    )
    async def delete_record(
        kind: str, query: How, author: By, given: Given, response: Response
    ) -> ChangesBody | None:
        request = DeleteRecord(kinds.by_name(kind), query.scope, _precondition(query, given))
        if query.dry_run:
            response.status_code = 200
            return await writer.dry_run(request, author.caller)
        await writer.write(request, author)
        return None

    @routes.post("/records/{kind}/rollback", dependencies=[EDITOR_OF_RECORD])
    async def roll_back_record(
        kind: str, body: RollbackBody, query: How, author: By, given: Given
    ) -> ChangesBody:
        request = RollBackRecord(
            kinds.by_name(kind), query.scope, body.revision, _precondition(query, given)
        )
        if query.dry_run:
            return await writer.dry_run(request, author.caller)
        return (await writer.write(request, author)).changes()


def _precondition(query: ScopeWrite, given: Conditions) -> Precondition:
    """Return the precondition, which a dry run may leave out."""
    demand = given.optional if query.dry_run else given.demand
    return demand(force=query.force)


def _tagged(response: Response, body: RecordBody) -> RecordBody:
    response.headers["ETag"] = f'"{body.version}"'
    return body


def _kind_body(kind: Kind) -> KindBody:
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
        deprecated=dict(kind.deprecated),
        json_schema=kind.value.model_json_schema(),
    )
