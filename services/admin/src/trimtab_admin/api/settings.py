"""All settings together: applied, exported, their history, and each change as it comes."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from trimtab.api.scopes import Part
from trimtab.api.settings import ApplyBody, ChangesBody, HistoryBody
from trimtab_admin.access.rights import Caller
from trimtab_admin.access.tokens import Tokens
from trimtab_admin.api.inputs import By, Paged, ScopeQuery, next_page
from trimtab_admin.api.inputs import Query as Parameters
from trimtab_admin.api.rights import ANYONE, As
from trimtab_admin.api.strict import Routes
from trimtab_admin.settings.history import History, HistoryFilter
from trimtab_admin.settings.reading import Reader
from trimtab_admin.settings.requests import ApplyDocuments
from trimtab_admin.settings.watching import Watches
from trimtab_admin.settings.writing import Writer


class ApplyQuery(Parameters):
    """How documents are applied."""

    dry_run: bool = False
    """Change nothing; answer what would change, for whom."""
    prune: str = Field(default="", max_length=400)
    """A label, such as ``owner=team-a``, that each record gets; others that have it are deleted."""


class ExportQuery(Parameters):
    """What is exported."""

    readable_only: bool = False
    """Leave out what is not readable here, which is an error otherwise."""


class ChangesQuery(ScopeQuery):
    """Changes of what; empty parts do not matter."""

    kind: Part = ""

    def which(self, caller: Caller) -> HistoryFilter:
        names = ("kind", "domain", "project", "workflow", "launch_plan")
        return HistoryFilter(caller, **self.model_dump(include=set(names)))


class HistoryQuery(ChangesQuery, Paged):
    """HistoryFilter changes are listed."""

    since: int = Field(default=0, ge=0)
    """Those after this revision."""
    limit: int = Field(default=100, ge=1, le=1000)


class WatchQuery(ChangesQuery):
    """HistoryFilter changes are told."""

    since: int | None = Field(default=None, ge=0)
    """Those after this revision, and then each as it comes; absent, from now on."""


LastEventId = Annotated[
    int | None, Header(ge=0, description="Of the event that was seen last; goes before `since`")
]


def router(
    reader: Reader, writer: Writer, history: History, watches: Watches, tokens: Tokens
) -> APIRouter:
    routes = Routes(tags=["settings"])

    @routes.post("/apply", dependencies=[ANYONE])
    async def apply(
        body: ApplyBody, query: Annotated[ApplyQuery, Query()], author: By
    ) -> ChangesBody:
        request = ApplyDocuments(body.documents, query.prune)
        if query.dry_run:
            return await writer.dry_run(request, author.caller)
        return (await writer.write(request, author)).changes()

    @routes.get("/export")
    async def export(query: Annotated[ExportQuery, Query()], caller: As) -> ApplyBody:
        return await reader.export(caller, readable_only=query.readable_only)

    @routes.get("/history")
    async def list_history(
        query: Annotated[HistoryQuery, Query()], caller: As, request: Request, response: Response
    ) -> Sequence[HistoryBody]:
        page = await history.list(query.which(caller), query.since, query.token, query.limit)
        next_page(request, response, page.cursor)
        return page.items

    @routes.get("/watch", response_class=_Events)
    async def watch(
        query: Annotated[WatchQuery, Query()], caller: As, last_event_id: LastEventId = None
    ) -> StreamingResponse:
        start = await history.start(query.since if last_event_id is None else last_event_id)
        changes = watches.events(query.which(caller), start, lambda: tokens.holds(caller))
        return _Events(changes, headers={"Cache-Control": "no-store"})

    return routes


class _Events(StreamingResponse):
    media_type = "text/event-stream"
