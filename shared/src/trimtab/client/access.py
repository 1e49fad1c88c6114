"""API tokens, and the audit trail."""

from collections.abc import Sequence
from datetime import datetime

from trimtab.api.access import AuditBody, NewTokenBody, TokenBody, TokenCreate, TokenRotate
from trimtab.client.http import DRY_RUN, Collection, path_of, without_empty


class Tokens(Collection):
    """API tokens; only an admin of the platform may read and change them."""

    async def list(self) -> Sequence[TokenBody]:
        """Return all API tokens, the oldest first, revoked ones included."""
        return await self._http.fetch_list(TokenBody, "/tokens")

    async def get(self, id: str) -> TokenBody:
        return await self._http.fetch(TokenBody, "GET", path_of("tokens", id))

    async def create(self, token: TokenCreate) -> NewTokenBody:
        """Create a token; no later call returns its secret. Raises `Conflict` on a used name."""
        return await self._http.fetch(NewTokenBody, "POST", "/tokens", body=token)

    async def dry_create(self, token: TokenCreate) -> TokenBody:
        """Return the token that `create` would create."""
        return await self._http.fetch(TokenBody, "POST", "/tokens", body=token, params=DRY_RUN)

    async def rotate(self, id: str, rotate: TokenRotate | None = None) -> NewTokenBody:
        """Give a token a new secret; the previous one is accepted until the grace ends."""
        path, body = path_of("tokens", id, "rotate"), rotate or TokenRotate()
        return await self._http.fetch(NewTokenBody, "POST", path, body=body)

    async def dry_rotate(self, id: str, rotate: TokenRotate) -> TokenBody:
        """Return the token as `rotate` would leave it."""
        path = path_of("tokens", id, "rotate")
        return await self._http.fetch(TokenBody, "POST", path, body=rotate, params=DRY_RUN)

    async def revoke(self, id: str, *, dry_run: bool = False) -> TokenBody:
        """Revoke a token; a dry run returns it as it would be then."""
        params = DRY_RUN if dry_run else {}
        return await self._http.fetch(TokenBody, "DELETE", path_of("tokens", id), params=params)


class Audit(Collection):
    """The audit trail: refused calls, changes of API tokens, forced releases and prunes."""

    async def list(
        self,
        *,
        status: int | None = None,
        caller: str | None = None,
        client: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Sequence[AuditBody]:
        """Return entries, the newest first; ``since`` has a time zone."""
        moment = None if since is None else since.isoformat()
        params = without_empty(status=status, caller=caller, client=client, since=moment)
        return await self._http.fetch_list(AuditBody, "/audit", params, limit)
