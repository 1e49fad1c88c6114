"""An operation of the API: a method of a path, what it requires, takes and returns. Pure.

Operations are independent of HTTP libraries. `trimtab_admin.api.routing` serves them and
`trimtab_admin.api.openapi` describes them.
"""

import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import NoneType
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter

from trimtab_admin.access.authorization import Requirement, platform_admin
from trimtab_admin.paging import Page

T = TypeVar("T")

PREFIX = "/api/v2"
"""Every operation's path begins with it."""

Handler = Callable[..., Awaitable[Any]]
"""An async function of the `Call`. Its other parameters are what it takes from the request: the
parameters of the path by name, and ``query``, ``headers``, ``body`` and ``content``. Their types,
and the type that it returns, are the operation's models. It returns a body, a `Page`, an iterator
of server-sent events, a `Reply`, a `Stream`, or ``None`` for no content."""


@dataclass(frozen=True)
class Content:
    """A body of bytes that the handler reads by itself, as far as it wants it."""

    parts: AsyncIterator[bytes]
    """Raises where the body is too large, pauses too long or ends early."""


@dataclass(frozen=True)
class Reply(Generic[T]):
    """A body, or ``None`` for no content, with what belongs into the head of the response."""

    body: T
    status: int | None = None
    """``None`` is the status of the operation."""
    version: int | None = None
    """The version of the body, which becomes its ETag."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stream(Generic[T]):
    """A body of the type, too large for one piece, as parts of its JSON text."""

    parts: AsyncIterator[bytes]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Operation:
    """One method of one path, with its handler."""

    method: str
    path: str
    """The path below `PREFIX`; ``{name:path}`` matches slashes too."""
    handler: Handler
    requires: Requirement = platform_admin
    """The requirement on the caller; an operation that names none is for admins."""
    status: int = 200
    other_status: tuple[int, str] | None = None
    """A second status of success, with its description."""
    takes_documents: bool = False
    """Whether the body may have the size of many documents."""
    takes_workflow: bool = field(default=False, kw_only=True)
    """Whether the body may have the size of the largest workflow."""
    may_warn: bool = field(default=False, kw_only=True)
    """Whether its response may have warnings in addition to those about names."""
    tag: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        known = {*re.findall(r"{(\w+)", self.path), "query", "headers", "body", "content", "call"}
        if unknown := set(inspect.signature(self.handler).parameters) - known:
            names = ", ".join(sorted(unknown))
            raise TypeError(f"{self.name} takes {names}, which no request of {self.path} has")

    @property
    def name(self) -> str:
        return getattr(self.handler, "__name__", "")

    @property
    def path_template(self) -> str:
        """The path as OpenAPI writes it."""
        return re.sub(r":path}", "}", self.path)

    @cached_property
    def path_types(self) -> Mapping[str, TypeAdapter[Any]]:
        """The parameters of the path."""
        names = re.findall(r"{(\w+)", self.path)
        return {name: TypeAdapter(self._types[name]) for name in names}

    @cached_property
    def query(self) -> type[BaseModel] | None:
        return self._types.get("query")

    @cached_property
    def headers(self) -> type[BaseModel] | None:
        """A model whose fields have the names of headers as aliases."""
        return self._types.get("headers")

    @cached_property
    def body_type(self) -> Any:
        """The type of the request's body; ``None`` where it has none."""
        return self._types.get("body")

    @cached_property
    def body(self) -> TypeAdapter[Any] | None:
        return None if self.body_type is None else TypeAdapter(self.body_type)

    @cached_property
    def takes_content(self) -> bool:
        """Whether the body is bytes, and not JSON."""
        return "content" in self._types

    @cached_property
    def response(self) -> TypeAdapter[Any] | None:
        """The body of the response; ``None`` where there is none, or a stream of events."""
        returned = _unwrap(self._types["return"])
        return None if returned is NoneType or self.is_stream else TypeAdapter(returned)

    @cached_property
    def is_stream(self) -> bool:
        """Whether the response is a stream of server-sent events."""
        return get_origin(self._types["return"]) is AsyncIterator

    @cached_property
    def _types(self) -> Mapping[str, Any]:
        return get_type_hints(self.handler, include_extras=True)


def _unwrap(returned: Any) -> Any:
    """Return the type of the body that a handler returns, also within a `Page` and the like."""
    if get_origin(returned) is Page:
        return Sequence[get_args(returned)[0]]  # type: ignore[misc]  # a type made at run time
    if get_origin(returned) in (Reply, Stream):
        return _unwrap(get_args(returned)[0])
    members = [member for member in get_args(returned) if member is not NoneType]
    if NoneType in get_args(returned) and len(members) == 1:
        return _unwrap(members[0])
    return returned
