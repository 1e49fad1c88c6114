"""Query parameters and headers that several operations take."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from trimtab.api.settings import Part
from trimtab.levels import Scope
from trimtab.models import MAX_INTEGER
from trimtab.texts import MULTILINE
from trimtab_admin.access.call import Call
from trimtab_admin.settings import preconditions
from trimtab_admin.settings.preconditions import Precondition
from trimtab_admin.storage.outbox import Author

_MAX_REASON = 1000

Revision = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
"""A revision of the settings, or the version of a record, which is one."""


class Parameters(BaseModel):
    """Base of the models of query parameters and headers."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ScopeQuery(Parameters):
    """A scope; without any part it is the platform."""

    domain: Part = ""
    project: Part = ""
    workflow: Part = ""
    launch_plan: Part = ""

    @property
    def scope(self) -> Scope:
        """Raises `trimtab.errors.Invalid` where the parts name no level."""
        return Scope(self.domain, self.project, self.workflow, self.launch_plan)


class DryRunQuery(Parameters):
    """Whether a change is made."""

    dry_run: bool = False
    """Change nothing; check everything, and return what would change."""


class WriteQuery(DryRunQuery):
    """How an object is written."""

    force: bool = False
    """Replace whatever is stored. A version in ``If-Match`` must be stored all the same, and with
    ``If-None-Match: *`` nothing may be."""


class PageQuery(Parameters):
    """The part of a list that is returned."""

    limit: int = Field(default=1000, ge=1, le=10_000)
    token: str = Field(default="", max_length=4000)
    """Continues behind the page before; the header ``Link`` of a response has the address of the
    next page."""


class ScopeWriteQuery(ScopeQuery, WriteQuery):
    """The scope of a record, and how the record is written."""


class ProjectDomainQuery(Parameters):
    """A filter; an empty part matches all."""

    project: Part = ""
    domain: Part = ""


class ReasonHeader(Parameters):
    """The reason of a change, which history keeps."""

    reason: Annotated[str, MULTILINE] = Field(
        default="", max_length=_MAX_REASON, alias="x-trimtab-reason"
    )

    def author(self, call: Call) -> Author:
        return Author(call.caller, self.reason, call.request_id)


class WriteHeaders(ReasonHeader):
    """The reason of a change, and what it requires of the stored object."""

    if_match: str | None = Field(default=None, alias="if-match")
    """The version that is replaced"""
    if_none_match: str | None = Field(default=None, alias="if-none-match")
    """``*``: nothing is stored"""

    def required_precondition(self, *, force: bool) -> Precondition:
        """Raises `PreconditionRequired` where there is none, and `Invalid`."""
        return preconditions.parse(self.if_match, self.if_none_match, force)

    def optional_precondition(self, *, force: bool) -> Precondition:
        """Return the precondition, or that anything may be stored. Raises `Invalid`."""
        is_absent = self.if_match is None and self.if_none_match is None
        return self.required_precondition(force=force or is_absent)
