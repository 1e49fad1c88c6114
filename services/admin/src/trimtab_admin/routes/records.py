"""Kinds, records and effective values."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response

from trimtab import kinds
from trimtab.api import EffectiveBody, KindBody, RecordBody
from trimtab.kinds import Kind, forms
from trimtab_admin.records import Filter, Records
from trimtab_admin.routes.inputs import (
    By,
    Given,
    Part,
    ScopeQuery,
    ScopeWrite,
)
from trimtab_admin.routes.strict import Routes

Document = Annotated[dict[str, Any], Body(description="Fields of the kind, and ``unset``")]


class RecordsQuery(ScopeQuery):
    """Which records are listed."""

    kind: Part = ""
    level: Part = ""


class EffectiveQuery(ScopeQuery):
    """What an effective value is of, and by which rule."""

    as_flyte: bool = False
    """By the rule of Flyte 1: the narrowest record, whole."""


def router(records: Records) -> APIRouter:
    routes = Routes(tags=["records"])

    @routes.get("/kinds")
    async def list_kinds() -> Sequence[KindBody]:
        return [_kind_body(kind) for kind in kinds.registered().values()]

    @routes.get("/records")
    async def list_records(query: Annotated[RecordsQuery, Query()]) -> Sequence[RecordBody]:
        return await records.list(Filter(**query.model_dump()))

    @routes.get("/records/{kind}")
    async def get_record(
        kind: str, query: Annotated[ScopeQuery, Query()], response: Response
    ) -> RecordBody:
        body = await records.get(kinds.by_name(kind), query.scope)
        return _tagged(response, body)

    @routes.put("/records/{kind}")
    async def put_record(
        kind: str,
        document: Document,
        query: Annotated[ScopeWrite, Query()],
        author: By,
        given: Given,
        response: Response,
    ) -> RecordBody:
        demand = given.demand(force=query.force)
        body = await records.put(kinds.by_name(kind), query.scope, document, demand, author)
        return _tagged(response, body)

    @routes.patch("/records/{kind}")
    async def patch_record(
        kind: str,
        patch: Document,
        query: Annotated[ScopeWrite, Query()],
        author: By,
        given: Given,
        response: Response,
    ) -> RecordBody:
        demand = given.demand(force=query.force)
        body = await records.patch(kinds.by_name(kind), query.scope, patch, demand, author)
        return _tagged(response, body)

    @routes.delete("/records/{kind}", status_code=204)
    async def delete_record(
        kind: str,
        query: Annotated[ScopeWrite, Query()],
        author: By,
        given: Given,
    ) -> None:
        demand = given.demand(force=query.force)
        await records.delete(kinds.by_name(kind), query.scope, demand, author)

    @routes.get("/effective/{kind}")
    async def get_effective(kind: str, query: Annotated[EffectiveQuery, Query()]) -> EffectiveBody:
        return await records.effective(kinds.by_name(kind), query.scope, as_flyte=query.as_flyte)

    return routes


def _tagged(response: Response, body: RecordBody) -> RecordBody:
    response.headers["ETag"] = f'"{body.version}"'
    return body


def _kind_body(kind: Kind) -> KindBody:
    return KindBody(
        name=kind.name,
        noun=kind.noun,
        summary=kind.summary,
        flyte_number=kind.flyte_number,
        aliases=kind.other_nouns,
        levels=tuple(level.label for level in sorted(kind.levels)),
        refused_levels={level.label: why for level, why in sorted(kind.refused_levels.items())},
        form=forms.of_kind(kind),
        alternatives=tuple(sorted(kind.alternatives)),
        deprecated=dict(kind.deprecated),
        json_schema=kind.value.model_json_schema(),
    )
