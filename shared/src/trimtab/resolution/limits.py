"""Complete the requests and limits of one node and check them against ``task_resource``. Pure.

Missing ones are filled in from the defaults, and requests below the minimum are raised to it. Then
a value over a limit is refused, or lowered with a note where the settings have ``over_limit:
clamp``. Nothing is changed without a note or a source.
"""

from collections.abc import Mapping
from typing import NamedTuple

from trimtab import quantities
from trimtab.errors import Rejected
from trimtab.kinds.task_resource import RESOURCES
from trimtab.messages.resolutions import ResolvedValue
from trimtab.settings.fold import Effective

NOT_OVERCOMMITTED = frozenset({"gpu"})
"""Resources whose request and limit Kubernetes requires to be equal."""


class Refusal(Rejected):
    """An execution cannot run with a value that its request, workflow or settings have."""

    def __init__(
        self,
        path: str,
        value: object,
        message: str,
        *,
        node: str = "",
        limit: str | None = None,
        scope: str = "",
        bound: str = "",
    ) -> None:
        """``scope`` is that of the record that set the limit, ``bound`` the limit in words."""
        super().__init__(message)
        self.node = node
        self.path = path
        self.value = value
        self.limit = limit
        self.scope = scope
        self.bound = bound


class Bound(NamedTuple):
    """An amount that a value may not exceed, and the record that set it."""

    name: str
    amount: str
    scope: str
    """Empty for the node's own limit."""
    revision: int | None

    def __str__(self) -> str:
        return f"{self.amount}, the {self.name} of {self.scope or 'the node itself'}"


def complete_resources(
    values: Mapping[str, ResolvedValue], task_resource: Effective
) -> dict[str, ResolvedValue]:
    """Return the values by path, with each request and limit that the node runs with.

    Raises `Refusal`.
    """
    completed = dict(values)
    for resource in RESOURCES:
        paths = (f"resources.requests.{resource}", f"resources.limits.{resource}")
        pair = _fill_in(resource, values.get(paths[0]), values.get(paths[1]), task_resource)
        pair = _raise(resource, *pair, task_resource)
        for path, value in zip(paths, enforce(resource, *pair, task_resource), strict=True):
            if value is not None:
                completed[path] = value
    return completed


def _fill_in(
    resource: str,
    request: ResolvedValue | None,
    limit: ResolvedValue | None,
    task_resource: Effective,
) -> tuple[ResolvedValue | None, ResolvedValue | None]:
    """Return request and limit, each derived from the other or the default where it is missing.

    A limit stays missing where the node sets only a request and it is not mirrored.
    """
    requests, limits = f"resources.requests.{resource}", f"resources.limits.{resource}"
    if request is None and limit is None:
        name = f"defaults.{resource}"
        default = task_resource.leaves.get(name)
        if default is None or default.value is None:
            return None, None
        source = f"task_resource.{name}"
        request, limit = (
            ResolvedValue(
                path=path,
                value=default.value,
                source=source,
                scope=str(default.scope),
                revision=default.revision,
            )
            for path in (requests, limits)
        )
    elif request is None and limit is not None:
        request = ResolvedValue(path=requests, value=limit.value, source="limit")
    elif request is not None and limit is None and _is_mirrored(resource, task_resource):
        limit = ResolvedValue(path=limits, value=request.value, source="request")
    return request, limit


def _raise(
    resource: str,
    request: ResolvedValue | None,
    limit: ResolvedValue | None,
    task_resource: Effective,
) -> tuple[ResolvedValue | None, ResolvedValue | None]:
    """Return both, neither below the minimum; a limit stays missing unless it is mirrored."""
    name = f"minimum.{resource}"
    minimum = task_resource.leaves.get(name)
    if minimum is None or minimum.value is None:
        return request, limit

    def raised(path: str, value: ResolvedValue | None) -> ResolvedValue | None:
        amount = "0" if value is None else str(value.value)
        if quantities.parse(amount) >= quantities.parse(str(minimum.value)):
            return value
        return ResolvedValue(
            path=path,
            value=minimum.value,
            source=f"task_resource.{name}",
            scope=str(minimum.scope),
            revision=minimum.revision,
            note="" if value is None else f"raised from {amount} ({value.source})",
        )

    if limit is not None or (request is None and _is_mirrored(resource, task_resource)):
        limit = raised(f"resources.limits.{resource}", limit)
    return raised(f"resources.requests.{resource}", request), limit


def _is_mirrored(resource: str, task_resource: Effective) -> bool:
    return resource in NOT_OVERCOMMITTED or bool(task_resource.flat.get("mirror_limits_request"))


def enforce(
    resource: str,
    request: ResolvedValue | None,
    limit: ResolvedValue | None,
    task_resource: Effective,
) -> tuple[ResolvedValue | None, ResolvedValue | None]:
    """Return both so that request ≤ limit ≤ effective limit ≤ ceiling. Raises `Refusal`."""
    clamp = task_resource.flat.get("over_limit") == "clamp"
    bound = next(iter(bounds(resource, task_resource)), None)
    # The field that the user wrote is checked before the one that was derived from it, so that a
    # refusal names the field that has to be changed.
    if request is not None and request.source != "limit":
        request = _lower(request, bound, clamp)
    limit = _lower(limit, bound, clamp)
    request = _lower(request, bound, clamp)
    if limit is not None:
        own = Bound(limit.path, str(limit.value), limit.scope, limit.revision)
        request = _lower(request, own, clamp)
    if resource in NOT_OVERCOMMITTED and request is not None and limit is not None:
        _check_equal(request, limit)
    return request, limit


def _check_equal(request: ResolvedValue, limit: ResolvedValue) -> None:
    """Raise `Refusal` where a request is lower than the limit."""
    amount, own = str(request.value), str(limit.value)
    if quantities.parse(amount) != quantities.parse(own):
        message = (
            f"{request.path}: {amount} ({request.source}) is not the limit, which is {own} "
            f"({limit.source}); Kubernetes requires them to be equal"
        )
        raise Refusal(request.path, amount, message, limit=own, bound=f"{own}, and at least that")


def bounds(resource: str, task_resource: Effective) -> list[Bound]:
    """Return the effective limit and the ceiling of a resource, the lower one first."""
    found = [
        Bound(f"task_resource.{name}", str(leaf.value), str(leaf.scope), leaf.revision)
        for name in (f"limits.{resource}", f"ceiling.{resource}")
        if (leaf := task_resource.leaves.get(name)) is not None and leaf.value is not None
    ]
    return sorted(found, key=lambda bound: quantities.parse(bound.amount))


def _lower(value: ResolvedValue | None, bound: Bound | None, clamp: bool) -> ResolvedValue | None:
    """Return the value, or the bound where the value exceeds it and ``clamp`` allows to lower it.

    Raises `Refusal`.
    """
    if value is None or bound is None:
        return value
    amount = str(value.value)
    if quantities.parse(amount) <= quantities.parse(bound.amount):
        return value
    if clamp:
        return ResolvedValue(
            path=value.path,
            value=bound.amount,
            source=bound.name,
            scope=bound.scope,
            revision=bound.revision,
            note=f"lowered from {amount} ({value.source})",
        )
    raise Refusal(
        value.path,
        amount,
        f"{value.path}: {amount} ({value.source}) is over {bound}",
        limit=bound.amount,
        scope=bound.scope,
        bound=str(bound),
    )
