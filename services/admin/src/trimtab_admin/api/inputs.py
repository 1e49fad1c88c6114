"""What several routes read from a request."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from trimtab.api.scopes import Part
from trimtab.levels import Scope
from trimtab_admin.api.rights import As
from trimtab_admin.settings import preconditions
from trimtab_admin.settings.preconditions import Precondition
from trimtab_admin.storage.outbox import Author

_MAX_REASON = 1000


class Query(BaseModel):
    """Base of query parameters. An unknown one is an error: misspelt, it would widen the scope."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ScopeQuery(Query):
    """A scope; no part at all is the platform."""

    domain: Part = ""
    project: Part = ""
    workflow: Part = ""
    launch_plan: Part = ""

    @property
    def scope(self) -> Scope:
        """Raises `trimtab.errors.Invalid` where the parts name no level."""
        return Scope(self.domain, self.project, self.workflow, self.launch_plan)


class Write(Query):
    """How something is written."""

    force: bool = False
    """Replace whatever is stored."""


class Paged(Query):
    """Which part of a list."""

    limit: int = Field(default=1000, ge=1, le=10_000)
    token: str = Field(default="", max_length=4000)
    """Of the page before; the header ``Link`` of an answer has the address of the next page."""


def next_page(request: Request, response: Response, token: str | None) -> None:
    """Say where the list goes on, if it does."""
    if token is not None:
        url = request.url.include_query_params(token=token)
        response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'


class ScopeWrite(ScopeQuery, Write):
    """A scope that is written."""

    dry_run: bool = False
    """Change nothing; answer what would change, for whom."""


class PlaceQuery(Query):
    """Where to look; an empty part is everywhere."""

    project: Part = ""
    domain: Part = ""


@dataclass(frozen=True)
class Conditions:
    """What the headers demand of what is stored."""

    if_match: str | None
    if_none_match: str | None

    def demand(self, *, force: bool) -> Precondition:
        """Raises `PreconditionRequired` and `Invalid`."""
        return preconditions.parse(self.if_match, self.if_none_match, force)

    def optional(self, *, force: bool) -> Precondition:
        """As `demand`, but nothing need be said."""
        said = self.if_match is not None or self.if_none_match is not None
        return self.demand(force=force or not said)


async def conditions(
    if_match: Annotated[str | None, Header(description="The version that is replaced")] = None,
    if_none_match: Annotated[str | None, Header(description="``*``: nothing is stored")] = None,
) -> Conditions:
    return Conditions(if_match, if_none_match)


Given = Annotated[Conditions, Depends(conditions)]


async def author(
    request: Request,
    caller: As,
    x_trimtab_reason: Annotated[str, Header(max_length=_MAX_REASON)] = "",
) -> Author:
    return Author(caller, x_trimtab_reason, request.state.request_id)


By = Annotated[Author, Depends(author)]
