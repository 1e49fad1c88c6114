"""API tokens, and the audit trail."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, AwareDatetime, Field

from trimtab.api.access import AuditBody, NewTokenBody, TokenBody, TokenCreate, TokenRotate
from trimtab_admin.access.audit import Asked, Audit, Entry, Who
from trimtab_admin.access.tokens import Tokens
from trimtab_admin.api.inputs import Query as Parameters
from trimtab_admin.api.inputs import next_page
from trimtab_admin.api.rights import ADMIN, As
from trimtab_admin.api.strict import Routes


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a time between the years 1 and 9999, in UTC too") from error


class AuditQuery(Parameters):
    """Which part of the trail; what is empty does not matter."""

    status: int | None = Field(default=None, ge=100, le=599)
    caller: str = Field(default="", max_length=200)
    """The name of a token."""
    client: str = Field(default="", max_length=200)
    """An address."""
    since: Annotated[AwareDatetime, AfterValidator(_in_utc)] | None = None
    limit: int = Field(default=100, ge=1, le=1000)
    token: str = Field(default="", pattern=r"^[0-9]{0,18}$")
    """Of the page before; the header ``Link`` of an answer has the address of the next page."""


def router(tokens: Tokens, audit: Audit) -> APIRouter:
    routes = APIRouter()
    routes.include_router(_tokens(tokens))
    routes.include_router(_audit(audit))
    return routes


def _tokens(tokens: Tokens) -> APIRouter:
    routes = Routes("/tokens", tags=["access"])

    @routes.get("", dependencies=[ADMIN])
    async def list_tokens() -> Sequence[TokenBody]:
        return await tokens.list()

    @routes.post("", status_code=201, dependencies=[ADMIN])
    async def create_token(body: TokenCreate, caller: As, request: Request) -> NewTokenBody:
        return await tokens.create(body, Entry.of(request, 201, who=Who.is_(caller)))

    @routes.get("/{id}", dependencies=[ADMIN])
    async def get_token(id: str) -> TokenBody:
        return await tokens.get(id)

    @routes.post("/{id}/rotate", dependencies=[ADMIN])
    async def rotate_token(
        id: str, body: TokenRotate, caller: As, request: Request
    ) -> NewTokenBody:
        return await tokens.rotate(id, body, Entry.of(request, 200, who=Who.is_(caller)))

    @routes.delete("/{id}", dependencies=[ADMIN])
    async def revoke_token(id: str, caller: As, request: Request) -> TokenBody:
        """It is listed further on, as revoked; its name is never another token's."""
        return await tokens.revoke(id, Entry.of(request, 200, who=Who.is_(caller)))

    return routes


def _audit(audit: Audit) -> APIRouter:
    routes = Routes("/audit", tags=["access"])

    @routes.get("", dependencies=[ADMIN])
    async def list_audit(
        query: Annotated[AuditQuery, Query()], request: Request, response: Response
    ) -> Sequence[AuditBody]:
        """Refused calls, changes of tokens, and what admins took away; the newest first."""
        asked = Asked(query.status, query.caller, query.client, query.since)
        page = await audit.list(asked, int(query.token) if query.token else None, query.limit)
        next_page(request, response, page.cursor)
        return page.items

    return routes
