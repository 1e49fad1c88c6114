"""Dry runs of executions: the request to a propeller, and its reply. Pure.

The propeller resolves the request as it would at an admission, so a dry run is as exact as that.
"""

from typing import Any

from pydantic import JsonValue
from pydantic_core import to_json

from trimtab.messages.executions import Request
from trimtab.messages.resolutions import Resolution
from trimtab.models import Model


class DryRunRequested(Model):
    """A request to resolve an execution without running it."""

    request: Request
    node: str = ""
    """The node whose pod is built too; empty for none."""

    def body(self) -> bytes:
        return self.model_dump_json().encode()


class RefusedValue(Model, extra="ignore"):
    """The value for which an execution would be refused, as `Refused` has it."""

    node: str = ""
    path: str
    value: JsonValue = None
    limit: JsonValue = None
    scope: str = ""
    message: str


class DryRunReply(Model, extra="ignore"):
    """Either a resolution or the reason for a refusal."""

    resolution: Resolution | None = None
    refused: RefusedValue | None = None
    pod: dict[str, JsonValue] | None = None
    """The manifest of the first attempt of the requested node."""

    def body(self) -> bytes:
        content: dict[str, Any] = self.model_dump(exclude={"resolution"})
        if self.resolution is not None:
            content["resolution"] = self.resolution.content()
        return to_json(content)
