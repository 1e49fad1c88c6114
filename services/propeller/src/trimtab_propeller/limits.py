"""Requests and limits of one node against the effective ``task_resource``. Pure.

Filled in where they are missing, then held against the limits: a value over one is refused, or
lowered and noted where the settings say ``over_limit: clamp``. Nothing is changed silently.
"""

from collections.abc import Mapping
from typing import NamedTuple

from trimtab import quantities
from trimtab.errors import Rejected
from trimtab.kinds.task_resource import RESOURCES
from trimtab.messages.executions import Resolved
from trimtab.settings.fold import Effective


class Refusal(Rejected):
    """An execution cannot run as it was asked for."""

    def __init__(
        self,
        path: str,
        value: object,
        message: str,
        *,
        node: str = "",
        limit: str | None = None,
        scope: str = "",
    ) -> None:
        super().__init__(message)
        self.node = node
        self.path = path
        self.value = value
        self.limit = limit
        self.scope = scope


class _Bound(NamedTuple):
    """What a value may not exceed, and where that was said."""

    name: str
    text: str
    scope: str
    revision: int | None

    @property
    def place(self) -> str:
        return f"{self.name} of {self.scope or 'the node itself'}"


def settle(values: Mapping[str, Resolved], task_resource: Effective) -> dict[str, Resolved]:
    """The values by path, with every request and limit as the node runs. Raises `Refusal`."""
    settled = dict(values)
    for resource in RESOURCES:
        paths = (f"resources.requests.{resource}", f"resources.limits.{resource}")
        pair = _filled(resource, values.get(paths[0]), values.get(paths[1]), task_resource)
        for path, value in zip(paths, _within(resource, *pair, task_resource), strict=True):
            if value is not None:
                settled[path] = value
    return settled


def _filled(
    resource: str, request: Resolved | None, limit: Resolved | None, task_resource: Effective
) -> tuple[Resolved | None, Resolved | None]:
    """Both are there after this, but for the limit of a node that gives only a request."""
    requests, limits = f"resources.requests.{resource}", f"resources.limits.{resource}"
    if request is None and limit is None:
        name = f"defaults.{resource}"
        default = task_resource.leaves.get(name)
        if default is None or default.value is None:
            return None, None
        source = f"task_resource.{name}"
        request, limit = (
            Resolved(
                path=path,
                value=default.value,
                source=source,
                scope=str(default.scope),
                revision=default.revision,
            )
            for path in (requests, limits)
        )
    elif request is None and limit is not None:
        request = Resolved(path=requests, value=limit.value, source="limit")
    elif request is not None and limit is None and task_resource.flat.get("mirror_limits_request"):
        limit = Resolved(path=limits, value=request.value, source="request")
    return request, limit


def _within(
    resource: str, request: Resolved | None, limit: Resolved | None, task_resource: Effective
) -> tuple[Resolved | None, Resolved | None]:
    """request ≤ limit ≤ effective limit ≤ ceiling."""
    clamp = task_resource.flat.get("over_limit") == "clamp"
    bound = _bound(resource, task_resource)
    # What the user wrote is held against the limit before what was mirrored from it, so that a
    # refusal names the field that has to be changed.
    if request is not None and request.source != "limit":
        request = _lowered(request, bound, clamp)
    limit = _lowered(limit, bound, clamp)
    request = _lowered(request, bound, clamp)
    if limit is not None:
        own = _Bound(limit.path, str(limit.value), limit.scope, limit.revision)
        request = _lowered(request, own, clamp)
    return request, limit


def _bound(resource: str, task_resource: Effective) -> _Bound | None:
    """The smaller one of the effective limit and the ceiling."""
    bounds = [
        _Bound(f"task_resource.{name}", str(leaf.value), str(leaf.scope), leaf.revision)
        for name in (f"limits.{resource}", f"ceiling.{resource}")
        if (leaf := task_resource.leaves.get(name)) is not None and leaf.value is not None
    ]
    return min(bounds, key=lambda bound: quantities.parse(bound.text), default=None)


def _lowered(value: Resolved | None, bound: _Bound | None, clamp: bool) -> Resolved | None:
    """The value, or the bound where it is over it and may be lowered. Raises `Refusal`."""
    if value is None or bound is None:
        return value
    text = str(value.value)
    if quantities.parse(text) <= quantities.parse(bound.text):
        return value
    if clamp:
        return Resolved(
            path=value.path,
            value=bound.text,
            source=bound.name,
            scope=bound.scope,
            revision=bound.revision,
            note=f"lowered from {text} ({value.source})",
        )
    raise Refusal(
        value.path,
        text,
        f"{value.path}: {text} ({value.source}) is over {bound.text}, the {bound.place}",
        limit=bound.text,
        scope=bound.scope,
    )
