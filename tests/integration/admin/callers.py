"""API tokens for tests, and the headers of calls that carry them."""

from typing import Any

import httpx


def grant(role: str, *kinds: str, **scope: str) -> dict[str, Any]:
    return {"role": role, **scope, "kinds": list(kinds)}


async def create_token(
    admin: httpx.AsyncClient, name: str, *grants: Any, **fields: Any
) -> dict[str, Any]:
    """Create an API token; return the response, which contains the secret."""
    body = {"name": name, "grants": list(grants), **fields}
    response = await admin.post("/tokens", json=body)
    assert response.status_code == 201, response.text
    token: dict[str, Any] = response.json()
    return token


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def token_headers(
    admin: httpx.AsyncClient, name: str, *grants: Any, **fields: Any
) -> dict[str, str]:
    """Create an API token; return the header of calls that carry it."""
    return bearer((await create_token(admin, name, *grants, **fields))["secret"])


async def status(admin: httpx.AsyncClient, headers: dict[str, str], path: str = "/kinds") -> int:
    return (await admin.get(path, headers=headers)).status_code
