"""Which projects a ``ProjectListRequest`` selects, and in which order. Pure.

The filters are those of Flyte 1: functions of a column and a value, joined by ``+``.
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flyteidl.admin.common_pb2 import Sort
from flyteidl.admin.project_pb2 import Project, ProjectListRequest
from google.rpc.code_pb2 import INVALID_ARGUMENT

from trimtab_admin.flyte.rpc import RpcError

_FILTER = re.compile(r"(.+)\((.+),\s?(.+)\)")
_OTHER_ENTITIES: Mapping[str, str] = {
    "task": "t",
    "workflow": "w",
    "launch_plan": "l",
    "execution": "e",
    "node_execution": "ne",
    "task_execution": "te",
    "entities": "nen",
    "named_entity_metadata": "nem",
    "signal": "s",
    "admin_tag": "at",
    "execution_admin_tag": "eat",
    "execution_tag": "et",
}
"""The other objects that a filter may name, with Flyte's short names of them in errors."""

_FILTERED = ("identifier", "name", "description", "labels", "state")
SORTED = (*_FILTERED, "created_at", "updated_at")

Column = str | int
Matches = Callable[[Project], bool]


@dataclass(frozen=True)
class Times:
    """The order in which projects were created and changed."""

    created: Mapping[str, int]
    updated: Mapping[str, int]


def select(
    request: ProjectListRequest, projects: Iterable[Project], times: Times
) -> tuple[Sequence[Project], str]:
    """Return the projects of the requested page, and the token of the next. Raises `RpcError`."""
    matches = _filters(request.filters)
    key, is_descending = _order(request)
    offset = _offset(request.token)
    found = [project for project in projects if all(each(project) for each in matches)]
    found.sort(key=lambda project: project.id)
    found.sort(key=lambda project: _sort_value(project, key, times), reverse=is_descending)
    end = offset + request.limit if request.limit else None
    page = found[offset:end]
    # As in Flyte, also where nothing was requested and nothing found.
    return page, str(offset + len(page)) if len(page) == request.limit else ""


def needs_creation(request: ProjectListRequest) -> bool:
    """Return whether the order is that of the creation of projects."""
    return bool(request.sort_by.key == "created_at")


def _filters(text: str) -> Sequence[Matches]:
    if not text:
        return [lambda project: bool(project.state != Project.ARCHIVED)]
    return [_filter(expression) for expression in text.split("+")]


def _filter(expression: str) -> Matches:
    match = _FILTER.search(expression)
    if match is None:
        raise _invalid("invalid value for filters")
    name, column, text = match.groups()
    for prefix, entity in _OTHER_ENTITIES.items():
        if column.startswith(f"{prefix}."):
            raise _invalid(f"'{entity}' entity is not allowed in filters")
    column = column.removeprefix("project.")
    if column not in _FILTERED:
        raise _invalid(f"'p.{column}' is invalid filter")
    values = [_value(column, part) for part in text.split(";")]
    if name in _OF_SEVERAL:
        return lambda project: _OF_SEVERAL[name](_column(project, column) in values)
    if name not in _OF_ONE:
        raise _invalid(f"unrecognized filter function: {name}")
    if len(values) > 1:
        raise _invalid("invalid value for filters")
    return lambda project: _OF_ONE[name](_column(project, column), values[0])


def _value(column: str, text: str) -> Column:
    if column != "state":
        return text
    try:
        return int(text)
    except ValueError:
        raise _invalid(f'invalid input syntax for type integer: "{text}"') from None


def _column(project: Project, column: str) -> Column:
    match column:
        case "identifier":
            return str(project.id)
        case "labels":
            # Flyte compares the bytes of a message, so that no text is equal.
            return ""
        case _:
            value: Column = getattr(project, column)
            return value


def _like(value: Column, pattern: Column) -> bool:
    parts = re.split("([%_])", str(pattern))
    expression = "".join({"%": ".*", "_": "."}.get(part, re.escape(part)) for part in parts)
    return re.fullmatch(expression, str(value), re.DOTALL) is not None


_OF_ONE: Mapping[str, Callable[[Any, Any], bool]] = {
    "contains": lambda value, text: _like(value, f"%{text}%"),
    "not_like": lambda value, text: not _like(value, text),
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "eq": operator.eq,
    "ne": operator.ne,
}
_OF_SEVERAL: Mapping[str, Callable[[bool], bool]] = {
    "value_in": bool,
    "value_not_in": operator.not_,
}


def _order(request: ProjectListRequest) -> tuple[str, bool]:
    if not request.HasField("sort_by"):
        return "identifier", False
    key, direction = request.sort_by.key, request.sort_by.direction
    if key not in SORTED:
        raise _invalid(f"invalid sort key '{key}'")
    if direction not in (Sort.ASCENDING, Sort.DESCENDING):
        raise _invalid(f"invalid sort order specified: {direction}")
    return key, direction == Sort.DESCENDING


def _sort_value(project: Project, key: str, times: Times) -> Column:
    match key:
        case "created_at":
            return times.created.get(project.id, 0)
        case "updated_at":
            return times.updated.get(project.id, 0)
        case _:
            return _column(project, key)


def _offset(token: str) -> int:
    if not token:
        return 0
    if not re.fullmatch(r"\+?[0-9]{1,18}", token):
        raise _invalid(f"invalid pagination token {token} for ListProjects")
    return int(token)


def _invalid(message: str) -> RpcError:
    return RpcError(INVALID_ARGUMENT, message)
