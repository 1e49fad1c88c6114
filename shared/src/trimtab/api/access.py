"""API tokens with their grants, and the audit trail. Pure."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from trimtab.models import Integer, Model, Time

TokenName = Annotated[
    str, StringConstraints(max_length=100, pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.@-]*[A-Za-z0-9])?$")
]
"""The name of an API token. History records it as the actor of a change."""


class GrantBody(Model):
    """A role for a scope and everything below it; a grant without a scope is for the platform."""

    role: Literal["viewer", "editor", "admin"]
    domain: str = Field(default="", max_length=200)
    project: str = Field(default="", max_length=200)
    workflow: str = Field(default="", max_length=200)
    launch_plan: str = Field(default="", max_length=200)
    kinds: tuple[str, ...] = Field(default=(), max_length=100)
    """Restricts the grant to records of these kinds; empty does not restrict it."""


class TokenCreate(Model):
    name: TokenName
    grants: tuple[GrantBody, ...] = Field(min_length=1, max_length=100)
    expires_at: Time | None = None
    """Absent: the token does not expire."""


class TokenRotate(Model):
    grace_seconds: Integer = Field(default=3600, ge=0, le=7 * 24 * 3600)
    """How long the previous secret is accepted in addition to the new one."""
    expires_at: Time | None = None
    """Absent: the expiry does not change."""


class TokenBody(Model):
    """An API token without its secret, of which only a hash is stored."""

    id: str
    """The part of the token after ``trimtab_``."""
    name: str
    grants: tuple[GrantBody, ...]
    created_at: AwareDatetime
    created_by: str
    expires_at: AwareDatetime | None = None
    rotated_at: AwareDatetime | None = None
    old_secret_until: AwareDatetime | None = None
    """Until when the secret before the last rotation is accepted."""
    revoked_at: AwareDatetime | None = None
    last_used_at: AwareDatetime | None = None
    """Accurate to some seconds."""


class NewTokenBody(TokenBody):
    secret: str
    """The value of ``Authorization: Bearer``. No later response contains it."""


class AuditBody(Model):
    """A call that was refused, that changed an API token, or that released a pool's token."""

    id: int
    at: AwareDatetime
    status: int
    """The status of the response. 401: unknown caller; 403: no permission; 429: throttled."""
    client: str
    """The network address of the caller."""
    caller: str = ""
    """The name of the API token; empty for an unknown caller."""
    token: str = ""
    """The id of the API token, or the part of an unknown credential that names one."""
    method: str
    path: str
    scope: str = ""
    reason: str
    request_id: str
