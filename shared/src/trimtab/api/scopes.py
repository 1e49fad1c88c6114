"""Scopes. Pure."""

from typing import Annotated

from pydantic import StringConstraints

from trimtab.models import Model

Part = Annotated[
    str, StringConstraints(max_length=200, pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.\-]*)?$")
]
"""A part of a scope; empty is unset."""


class ScopeBody(Model):
    level: str
    domain: str = ""
    project: str = ""
    workflow: str = ""
    launch_plan: str = ""
