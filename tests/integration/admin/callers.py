"""Tokens for tests, and calls that bring them."""

from typing import Any

import httpx


def grant(role: str, *kinds: str, **scope: str) -> dict[str, Any]:
    return {"role": role, **scope, "kinds": list(kinds)}


async def made(admin: httpx.AsyncClient, name: str, *grants: Any, **more: Any) -> dict[str, Any]:
    """A new token, as its maker sees it."""
    answer = await admin.post("/tokens", json={"name": name, "grants": list(grants), **more})
    assert answer.status_code == 201, answer.text
    token: dict[str, Any] = answer.json()
    return token


def bearing(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def token(admin: httpx.AsyncClient, name: str, *grants: Any, **more: Any) -> dict[str, str]:
    """The header of a new token."""
    return bearing((await made(admin, name, *grants, **more))["secret"])


async def status(admin: httpx.AsyncClient, headers: dict[str, str], path: str = "/kinds") -> int:
    return (await admin.get(path, headers=headers)).status_code
