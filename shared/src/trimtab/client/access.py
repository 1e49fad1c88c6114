"""API tokens, and the audit trail."""

from collections.abc import Sequence
from datetime import datetime

from trimtab.api.access import AuditBody, NewTokenBody, TokenBody, TokenCreate, TokenRotate
from trimtab.client.requests import Noun, at, given


class Tokens(Noun):
    """Of the API; only an admin of the platform may see and change them."""

    async def list(self) -> Sequence[TokenBody]:
        """The oldest first, with those that were revoked."""
        return await self._calls.many(TokenBody, "/tokens")

    async def get(self, id: str) -> TokenBody:
        return await self._calls.one(TokenBody, "GET", at("tokens", id))

    async def create(self, token: TokenCreate) -> NewTokenBody:
        """With its secret, which is told once. Raises `Conflict` where the name is taken."""
        return await self._calls.one(NewTokenBody, "POST", "/tokens", body=token)

    async def rotate(self, id: str, rotate: TokenRotate | None = None) -> NewTokenBody:
        """With a new secret; the one before is taken until the grace is over."""
        path, body = at("tokens", id, "rotate"), rotate or TokenRotate()
        return await self._calls.one(NewTokenBody, "POST", path, body=body)

    async def revoke(self, id: str) -> TokenBody:
        return await self._calls.one(TokenBody, "DELETE", at("tokens", id))


class Audit(Noun):
    """Calls that were refused, and changes of tokens."""

    async def list(
        self,
        *,
        status: int | None = None,
        caller: str | None = None,
        client: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Sequence[AuditBody]:
        """The newest first; ``since`` is aware of its zone."""
        moment = None if since is None else since.isoformat()
        asked = given(status=status, caller=caller, client=client, since=moment)
        return await self._calls.many(AuditBody, "/audit", asked, limit)
