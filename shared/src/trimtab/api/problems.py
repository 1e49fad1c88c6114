"""The error of a call, as ``application/problem+json``, and the header of its warnings. Pure."""

from pydantic import JsonValue

from trimtab.models import Model

WARNING_HEADER = "X-Trimtab-Warning"
"""The header of a response, once for each warning about the call's parameters."""


class Problem(Model):
    """RFC 9457, with the field that is wrong, its value and what is allowed."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str | None = None
    """The name of a `trimtab.errors.Code`, which docs/errors.md lists. An error that exists in HTTP
    only, such as 415, has none."""
    path: str | None = None
    """The path of the field."""
    value: JsonValue = None
    allowed: str | None = None
    given_version: int | None = None
    stored_version: int | None = None
