"""The resolution of an execution: its values, and their form in messages. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from operator import not_
from typing import Any

from pydantic import Field, JsonValue, model_validator
from pydantic_core import to_json

from trimtab.models import Model

MOST_PLAIN_BYTES = 900 * 1024
"""The most that the values of all nodes may take in the form of earlier releases."""
QUEUEING_BUDGET = "queueing_budget_seconds"
"""The path of the value of an execution that limits how long its first attempt may wait."""
_MOST_PLAIN_VALUES = 12_000
"""More values than fit into so many bytes."""


class ResolvedValue(Model, extra="ignore"):
    """One value that a node runs with, and its source."""

    path: str
    """``resources.requests.cpu``, ``environment.LOG``, ``retries``, ``labels.team``, …"""
    value: JsonValue
    source: str
    """``execution override``, ``launch plan override``, ``hook default``, ``execution``,
    ``launch plan``, ``with_overrides``, ``task``, ``task_resource.defaults.cpu`` (a record's
    field), ``project`` (its labels), ``request`` or ``limit`` (mirrored from it), ``engine``,
    ``propeller`` (its configuration).
    """
    scope: str = ""
    """The scope of the record that is the source: ``project-domain flyteexamples/development``."""
    revision: int | None = None
    """The revision that wrote that record; ``None`` where the source is not a record."""
    note: str = ""
    """A remark, such as a clamp, or that the executor ignores the field."""


class Resolution(Model, extra="ignore"):
    """Every value that an execution runs with, stored once at admission."""

    revision: int
    """The revision of the settings that the values were resolved from."""
    executor: str
    isolation: str = Field(default="", exclude_if=not_)
    """The restriction of tasks that the executor enforces, such as ``Landlock ABI 7: files, TCP``.
    Empty where it declares nothing, and in resolutions of earlier releases."""
    execution: tuple[ResolvedValue, ...] = ()
    """The values of the execution as a whole, ordered by path: ``max_parallelism``, …"""
    plans: dict[str, tuple[ResolvedValue, ...]] = Field(default={}, exclude_if=not_)
    """The same values of each call of another launch plan, by its key in `Workflow.plans`."""
    nodes: dict[str, tuple[ResolvedValue, ...]]
    """The values of each node by its id, ordered by path."""
    pods: dict[str, JsonValue] = Field(default={}, exclude_if=not_)
    """Propeller's configuration of pods at that time, as far as it is not the default."""

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, content: Any) -> Any:
        is_shared = isinstance(content, Mapping) and "values" in content
        return {**content, "nodes": _expanded(content)} if is_shared else content

    def value(self, node: str, path: str) -> JsonValue:
        """Return the value at a path of a node; ``None`` where it has none."""
        found = self._values_of(node).get(path)
        return None if found is None else found.value

    @property
    def max_parallelism(self) -> int | None:
        """The number of nodes that may run at once; ``None`` is no limit."""
        found = (r.value for r in self.execution if r.path == "max_parallelism")
        value = next(found, None)
        return value if isinstance(value, int) else None

    @property
    def queueing_budget(self) -> ResolvedValue | None:
        """The seconds within which the first attempt has to start; ``None`` is no limit."""
        return next((r for r in self.execution if r.path == QUEUEING_BUDGET), None)

    def environment(self, node: str) -> dict[str, str]:
        prefix = "environment."
        return {
            path.removeprefix(prefix): str(r.value)
            for path, r in self._values_of(node).items()
            if path.startswith(prefix)
        }

    def content(self) -> dict[str, Any]:
        """Return the resolution as a message carries it.

        One that is too long has each value once, in the form that `_shared` describes. Earlier
        releases read the other form only, so a resolution that they could write is written so.
        """
        plain: dict[str, Any] = {"revision": self.revision, "executor": self.executor}
        if self.isolation:
            plain["isolation"] = self.isolation
        if self.pods:
            plain["pods"] = self.pods
        plain["execution"] = [value.model_dump() for value in self.execution]
        if self.plans:
            plain["plans"] = {p: [v.model_dump() for v in own] for p, own in self.plans.items()}
        if sum(map(len, self.nodes.values())) <= _MOST_PLAIN_VALUES:
            nodes = {node: [v.model_dump() for v in own] for node, own in self.nodes.items()}
            if len(to_json(nodes)) <= MOST_PLAIN_BYTES:
                return {**plain, "nodes": nodes}
        return plain | _shared(self.nodes)

    def _values_of(self, node: str) -> Mapping[str, ResolvedValue]:
        """Return the values of a node by path, which are ordered at the first call."""
        by_path = self._by_path.get(node)
        if by_path is None:
            by_path = self._by_path[node] = {value.path: value for value in self.nodes[node]}
        return by_path

    @cached_property
    def _by_path(self) -> dict[str, Mapping[str, ResolvedValue]]:
        return {}


def _shared(nodes: Mapping[str, Iterable[ResolvedValue]]) -> dict[str, Any]:
    """Return the values of the nodes with each distinct one once.

    ``values`` are the distinct ones. ``common`` are the numbers of those that every node has,
    ``profiles`` are lists of numbers that several nodes have in addition, and ``nodes`` has the
    number of its profile for each node, and then the numbers of values of its own.
    """
    table = _Table()
    numbers = {node: table.numbers(values) for node, values in nodes.items()}
    uses = Counter(number for own in numbers.values() for number in own)
    common = {number for number, count in uses.items() if count == len(nodes)}
    profiles: dict[tuple[int, ...], int] = {}
    assigned: dict[str, Any] = {}
    for node, own in numbers.items():
        several = tuple(n for n in own if uses[n] > 1 and n not in common)
        profile = profiles.setdefault(several, len(profiles))
        assigned[node] = [profile, *(n for n in own if uses[n] == 1 and n not in common)]
    return {
        "values": table.values,
        "common": sorted(common),
        "profiles": [list(profile) for profile in profiles],
        "nodes": assigned,
    }


class _Table:
    """The distinct values, each with its number."""

    def __init__(self) -> None:
        self.values: list[JsonValue] = []
        self._by_content: dict[bytes, int] = {}
        # Nodes that have equal sources have the same objects. Each is kept with its number, so that
        # no other object gets its id.
        self._by_id: dict[int, tuple[ResolvedValue, int]] = {}

    def numbers(self, values: Iterable[ResolvedValue]) -> list[int]:
        return [self._number(value) for value in values]

    def _number(self, value: ResolvedValue) -> int:
        known = self._by_id.get(id(value))
        if known is not None:
            return known[1]
        content = value.model_dump(exclude_defaults=True)
        number = self._by_content.setdefault(to_json(content), len(self.values))
        if number == len(self.values):
            self.values.append(content)
        self._by_id[id(value)] = value, number
        return number


def _expanded(content: Mapping[str, Any]) -> dict[str, tuple[ResolvedValue, ...]]:
    """Return the values of each node, ordered by path. Raises ``ValueError``."""
    try:
        values = [ResolvedValue.model_validate(value) for value in content["values"]]
        profiles = [[*content["common"], *profile] for profile in content["profiles"]]
        return {
            node: _ordered(values, [*profiles[profile], *own])
            for node, (profile, *own) in content["nodes"].items()
        }
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"the table of values is not complete: {error!r}") from error


def _ordered(values: Sequence[ResolvedValue], numbers: Iterable[int]) -> tuple[ResolvedValue, ...]:
    return tuple(sorted((values[number] for number in numbers), key=_path))


def _path(value: ResolvedValue) -> str:
    return value.path
