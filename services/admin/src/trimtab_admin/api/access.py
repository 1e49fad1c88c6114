"""Operations on API tokens and on the audit trail."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field

from trimtab.api.access import AuditBody, NewTokenBody, TokenBody, TokenCreate, TokenRotate
from trimtab_admin.access.api_tokens import ApiTokens
from trimtab_admin.access.audit import AuditEntry, AuditFilter, AuditTrail
from trimtab_admin.access.authorization import platform_admin
from trimtab_admin.access.call import Call
from trimtab_admin.api.operation import Operation, Reply
from trimtab_admin.api.parameters import DryRunQuery, Parameters
from trimtab_admin.paging import Page


def _to_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a time between the years 1 and 9999, in UTC too") from error


class AuditQuery(Parameters):
    """A filter of the audit trail; an empty part matches all."""

    status: int | None = Field(default=None, ge=100, le=599)
    caller: str = Field(default="", max_length=200)
    """The name of an API token."""
    client: str = Field(default="", max_length=200)
    """The address of a client."""
    since: Annotated[AwareDatetime, AfterValidator(_to_utc)] | None = None
    limit: int = Field(default=100, ge=1, le=1000)
    token: str = Field(default="", pattern=r"^[0-9]{0,18}$")
    """Continues behind the page before; the header ``Link`` of a response has the address of the
    next page."""


@dataclass(frozen=True)
class AccessOperations:
    """The operations, with the API tokens and the audit trail."""

    api_tokens: ApiTokens
    trail: AuditTrail

    def table(self) -> Sequence[Operation]:
        """Return the operations. All of them are for admins of the platform."""
        access = partial(Operation, tag="access")
        dry_run = (200, "The token that would be created, without a secret")
        return (
            access("GET", "/tokens", self.list_tokens),
            access("POST", "/tokens", self.create_token, platform_admin, 201, dry_run),
            access("GET", "/tokens/{id}", self.get_token),
            access("DELETE", "/tokens/{id}", self.revoke_token),
            access("POST", "/tokens/{id}/rotate", self.rotate_token),
            access("GET", "/audit", self.list_audit),
        )

    async def list_tokens(self, call: Call) -> Sequence[TokenBody]:
        return await self.api_tokens.list()

    async def create_token(
        self, call: Call, query: DryRunQuery, body: TokenCreate
    ) -> Reply[NewTokenBody | TokenBody]:
        entry, dry_run = AuditEntry.of(call, 201), query.dry_run
        created = await self.api_tokens.create(body, entry, dry_run=dry_run)
        return Reply(created, status=200 if dry_run else 201)

    async def get_token(self, call: Call, id: str) -> TokenBody:
        return await self.api_tokens.get(id)

    async def revoke_token(self, call: Call, id: str, query: DryRunQuery) -> TokenBody:
        """Revoke an API token. It stays in the list, and its name is never used again."""
        return await self.api_tokens.revoke(id, AuditEntry.of(call, 200), dry_run=query.dry_run)

    async def rotate_token(
        self, call: Call, id: str, query: DryRunQuery, body: TokenRotate
    ) -> Reply[NewTokenBody | TokenBody]:
        """Replace the secret of an API token. A dry run returns none."""
        entry = AuditEntry.of(call, 200)
        return Reply(await self.api_tokens.rotate(id, body, entry, dry_run=query.dry_run))

    async def list_audit(self, call: Call, query: AuditQuery) -> Page[AuditBody]:
        """Return refused calls, changes of tokens, forced releases and prunes, newest first."""
        if query.caller:
            await self.api_tokens.check_caller(query.caller)
        matching = AuditFilter(query.status, query.caller, query.client, query.since)
        before = int(query.token) if query.token else None
        return await self.trail.list(matching, before, query.limit)
