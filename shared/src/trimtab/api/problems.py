"""The error of a call, as ``application/problem+json``. Pure."""

from pydantic import JsonValue

from trimtab.models import Model


class Problem(Model):
    """RFC 9457, with the field that is wrong, its value and what is allowed."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    path: str | None = None
    """The path of the field."""
    value: JsonValue = None
    allowed: str | None = None
    given_version: int | None = None
    stored_version: int | None = None
