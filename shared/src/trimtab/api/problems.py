"""What went wrong with a call, as ``application/problem+json``. Pure."""

from pydantic import JsonValue

from trimtab.models import Model


class Problem(Model):
    """RFC 9457, with the field."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    path: str | None = None
    """Of the field that is wrong."""
    value: JsonValue = None
    allowed: str | None = None
    given_version: int | None = None
    stored_version: int | None = None
