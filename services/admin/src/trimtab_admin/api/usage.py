"""Who holds of a pool and who waits, and what an admin does about one of them."""

from fastapi import APIRouter, Request

from trimtab.api.entities import PoolPriorityBody, PoolTokenBody
from trimtab.errors import Invalid
from trimtab.tokens.protocol import Inspected, Recounted, Released, Reprioritized
from trimtab_admin.access.audit import Entry, Who
from trimtab_admin.api.inputs import By
from trimtab_admin.api.rights import VIEWER_OF_ALL
from trimtab_admin.api.strict import Routes
from trimtab_admin.operations.pool_usage import PoolUsage


def router(usage: PoolUsage) -> APIRouter:
    routes = Routes("/pools/{name}", tags=["pools"])

    @routes.get("/usage", dependencies=[VIEWER_OF_ALL])
    async def inspect_pool(name: str) -> Inspected:
        """Holders, waiters with position and reason, and sums by project."""
        return await usage.inspect(name)

    @routes.get("/audit")
    async def audit_pool(name: str) -> Recounted:
        """Count the pool anew: what differs, and what admins took away."""
        return await usage.recount(name)

    # Ids of tokens hold slashes.
    @routes.post("/tokens/{token:path}/release")
    async def release_token(
        name: str, token: str, body: PoolTokenBody, author: By, request: Request
    ) -> Released:
        """Take a token away; ``X-Trimtab-Reason`` says why. Its holder is told that it is lost."""
        if not author.reason:
            raise Invalid("X-Trimtab-Reason", "", "why the token is taken away")
        note = Entry.of(request, 200, who=Who.is_(author.caller))
        return await usage.force_release(name, token, body.pools, author, note)

    @routes.patch("/tokens/{token:path}")
    async def patch_token(
        name: str, token: str, body: PoolPriorityBody, author: By
    ) -> Reprioritized:
        """Change the priority of one that waits."""
        return await usage.reprioritize(name, token, body.pools, body.priority, author)

    return routes
