"""The oracle for whole resolutions: the same rules, on plain data, without the product's code.

A world is what is recorded and written, a plan is one part of an execution. Amounts of cpu are
whole numbers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Fields = Mapping[str, Any]
Chain = Sequence[tuple[str, Mapping[str, Fields]]]
"""Names of scopes with their documents by kind, the broadest first."""


@dataclass(frozen=True)
class Part:
    """The execution itself, or a called launch plan: its settings, and what its plan sets."""

    chain: Chain
    plan: Fields
    project_labels: Mapping[str, str]


@dataclass(frozen=True)
class World:
    own: Part
    called: Part
    request: Fields = field(default_factory=dict)
    task: Fields = field(default_factory=dict)
    with_overrides: Fields = field(default_factory=dict)


@dataclass(frozen=True)
class Refused:
    """No node runs, because of this one."""

    called: bool


Values = dict[str, Any]


def effective(chain: Chain, kind: str) -> Values:
    """Return the values by dotted path, read from the narrowest scope to the broadest."""
    found: Values = {}
    closed: set[str] = set()
    for _, documents in reversed(chain):
        document = documents.get(kind, {})
        for path, value in _leaves(document):
            if path not in found and not _is_below(path, closed):
                found[path] = value
        closed |= set(document.get("unset", ()))
    return found


def _leaves(document: Fields, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if prefix == "" and name == "unset":
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _is_below(path: str, closed: set[str]) -> bool:
    return any(path == each or path.startswith(each + ".") for each in closed)


def of_whole(world: World, part: Part) -> Values:
    """Return the values of a part as a whole."""
    config = effective(part.chain, "workflow_execution_config")
    found: Values = {}
    for source in (world.request, part.plan):
        for name in ("max_parallelism", "overwrite_cache"):
            if name in source:
                found.setdefault(name, source[name])
        for path, value in _leaves({n: source.get(n, {}) for n in ("labels", "annotations")}):
            found.setdefault(path, value)
    for path, value in config.items():
        if path.split(".")[0] in ("labels", "annotations", "max_parallelism", "overwrite_cache"):
            found.setdefault(path, value)
    for key, value in part.project_labels.items():
        found.setdefault(f"labels.{key}", value)
    return found


def parallelism(world: World) -> int | None:
    """Return the cap of the called plan, which the request's number does not replace."""
    around = of_whole(world, world.own).get("max_parallelism")
    own = of_whole(replace(world, request={}), world.called).get("max_parallelism")
    return min((cap for cap in (own, around) if cap is not None), default=None)


def of_node(world: World, part: Part) -> Values | Refused:
    """Return the environment, interruptible, retries, cpu and priority of a node of a part."""
    config = effective(part.chain, "workflow_execution_config")
    found: Values = {}
    for source in (world.request, part.plan, world.with_overrides, world.task):
        for name in ("interruptible", "retries"):
            if name in source:
                found.setdefault(name, source[name])
        for name, value in source.get("environment", {}).items():
            found.setdefault(f"environment.{name}", value)
    for path, value in config.items():
        if path == "interruptible":
            found.setdefault(path, value)
        if path.startswith("envs."):
            found.setdefault("environment." + path.removeprefix("envs."), value)
    found = {"interruptible": False, "retries": 0, **found}
    own, around = (
        effective(each.chain, "workflow_priority").get("priority") for each in (part, world.own)
    )
    # Without one, the priority is 0.
    lowest = min(own or 0, around or 0)
    if part is world.own or lowest == (own or 0):
        lowest = own
    if lowest is not None:
        found["priority"] = lowest
    amounts = _cpu(world, part)
    return amounts if isinstance(amounts, Refused) else {**found, **amounts}


def _cpu(world: World, part: Part) -> Values | Refused:
    rule = effective(part.chain, "task_resource")
    given: Values = {}
    for source in (world.with_overrides, world.task):
        for group in ("requests", "limits"):
            if (amount := source.get("resources", {}).get(group)) is not None:
                given.setdefault(group, amount)
    request, limit = given.get("requests"), given.get("limits")
    if request is None and limit is None:
        request = limit = rule.get("defaults.cpu")
    elif request is None:
        request = limit
    elif limit is None and rule.get("mirror_limits_request"):
        limit = request
    least = int(rule.get("minimum.cpu", 0))
    if least > int(request or 0):
        if request is None and rule.get("mirror_limits_request"):
            limit = least
        request = least
    if limit is not None:
        limit = max(int(limit), least)
    bounds = [b for p in ("limits.cpu", "ceiling.cpu") if (b := rule.get(p)) is not None]
    bound = min(map(int, bounds), default=10**6)
    request, limit = (None if a is None else int(a) for a in (request, limit))
    most = min(bound, 10**6 if limit is None else limit)
    if rule.get("over_limit") == "clamp":
        request = None if request is None else min(request, most)
        limit = None if limit is None else min(limit, bound)
    elif (limit or 0) > bound or (request or 0) > most:
        return Refused(part is world.called)
    pair = {"requests": request, "limits": limit}
    return {f"resources.{g}.cpu": str(a) for g, a in pair.items() if a is not None}
