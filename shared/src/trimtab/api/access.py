"""API tokens with their grants, and the audit trail. Pure."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from trimtab.models import Model

TokenName = Annotated[
    str, StringConstraints(max_length=100, pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.@-]*[A-Za-z0-9])?$")
]
"""Of a token; it is the actor in history, so an address of a person is a good one."""


class GrantBody(Model):
    """A role for all that lies at a scope and below it; no part of a scope is the platform."""

    role: Literal["viewer", "editor", "admin"]
    domain: str = Field(default="", max_length=200)
    project: str = Field(default="", max_length=200)
    workflow: str = Field(default="", max_length=200)
    launch_plan: str = Field(default="", max_length=200)
    kinds: tuple[str, ...] = Field(default=(), max_length=100)
    """Only records of these; empty is those of every kind, and all that is no record."""


class TokenCreate(Model):
    name: TokenName
    grants: tuple[GrantBody, ...] = Field(min_length=1, max_length=100)
    expires_at: AwareDatetime | None = None
    """``None`` is never."""


class TokenRotate(Model):
    grace_seconds: int = Field(default=3600, ge=0, le=7 * 24 * 3600)
    """How long the secret before it is taken beside the new one."""
    expires_at: AwareDatetime | None = None
    """Absent, it stays as it is."""


class TokenBody(Model):
    """A token, without its secret, which nobody keeps."""

    id: str
    """How the token begins, after ``trimtab_``."""
    name: str
    grants: tuple[GrantBody, ...]
    created_at: AwareDatetime
    created_by: str
    expires_at: AwareDatetime | None = None
    rotated_at: AwareDatetime | None = None
    old_secret_until: AwareDatetime | None = None
    """Of the secret before the last rotation."""
    revoked_at: AwareDatetime | None = None
    last_used_at: AwareDatetime | None = None
    """To within some seconds."""


class NewTokenBody(TokenBody):
    secret: str
    """What ``Authorization: Bearer`` takes. It is told once."""


class AuditBody(Model):
    """A call that was refused, that changed an API token, or that took a token of a pool away."""

    id: int
    at: AwareDatetime
    status: int
    """Of the answer: 401 is nobody known, 403 somebody who may not, 429 one of too many."""
    client: str
    """The address that the call came from."""
    caller: str = ""
    """The name of the token; empty where it was none that is known."""
    token: str = ""
    """The id of the token, or what was brought as one."""
    method: str
    path: str
    scope: str = ""
    reason: str
    request_id: str
