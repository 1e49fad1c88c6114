"""The resolution of an execution: its values, and their form in messages. Pure."""

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from operator import not_
from typing import Any

from pydantic import Field, JsonValue, ValidationError, model_validator
from pydantic_core import to_json

from trimtab.models import Model, read

MAX_BYTES = 16 * 1024 * 1024
"""The most that a resolution may take in the form of messages."""
MAX_EVENT_BYTES = 256 * 1024
"""The most that it may take in its event. A longer one is stored as a blob."""
QUEUEING_BUDGET = "queueing_budget_seconds"
"""The path of the value of an execution that limits how long its first attempt may wait."""
_OWN_OF_PLANS = frozenset(
    {
        "annotations",
        "execution_env_assignments",
        "labels",
        "max_parallelism",
        "overwrite_cache",
        "plugin_override",
        "raw_output_data_config",
    }
)
"""The values of an execution as a whole, by the beginning of their paths, in whose place a called
launch plan has its own."""


def is_own_of_plans(path: str) -> bool:
    """Return whether a called launch plan has a value of its own at a path of the execution's."""
    return path.partition(".")[0] in _OWN_OF_PLANS


class ResolvedValue(Model, extra="ignore"):
    """One value that a node runs with, and its source."""

    path: str
    """``resources.requests.cpu``, ``environment.LOG``, ``retries``, ``labels.team``, …"""
    value: JsonValue
    source: str
    """``execution override``, ``launch plan override``, ``hook default``, ``execution``,
    ``launch plan``, ``called launch plan``, ``with_overrides``, ``task``,
    ``task_resource.defaults.cpu`` (a record's field), ``project`` (its labels), ``request`` or
    ``limit`` (mirrored from it), ``pool`` and ``queue`` (their declarations), ``engine``,
    ``propeller`` (its configuration).
    """
    scope: str = ""
    """The scope of the record that is the source: ``project-domain flyteexamples/development``. For
    a called launch plan, which one it is: ``launch-plan shop/production/train/large``."""
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
    """The values that each call of a launch plan has in place of those of the execution, by its key
    in `Workflow.plans`. Identity, cluster and queue are not among them: what its
    settings have of that is listed with a note that it does not apply."""
    nodes: dict[str, tuple[ResolvedValue, ...]]
    """The values of each node by its id, ordered by path."""
    pods: dict[str, JsonValue] = Field(default={}, exclude_if=not_)
    """Propeller's configuration of pods at that time, as far as it is not the default."""

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, content: Any) -> Any:
        is_shared = isinstance(content, Mapping) and "values" in content
        return {**content, **_expanded(content)} if is_shared else content

    def value(self, node: str, path: str) -> JsonValue:
        """Return the value at a path of a node; ``None`` where it has none."""
        found = self._values_of(node).get(path)
        return None if found is None else found.value

    def of_part(self, plan: str) -> tuple[ResolvedValue, ...]:
        """Return the values of the execution as a whole, as they are in a called launch plan.

        ``plan`` is the call's key in `Workflow.plans`, or empty.
        """
        own = self.plans.get(plan)
        if own is None:
            return self.execution
        of_execution = (value for value in self.execution if not is_own_of_plans(value.path))
        return (*of_execution, *(value for value in own if is_own_of_plans(value.path)))

    @property
    def max_parallelism(self) -> int | None:
        """The number of nodes that may run at once; ``None`` is no limit."""
        return self.parallelism_of("")

    def parallelism_of(self, plan: str) -> int | None:
        """Return how many nodes of a called launch plan may run at once; ``None`` is no limit.

        ``plan`` is the call's key in `Workflow.plans`; empty for the execution itself.
        """
        values = self.plans.get(plan, ()) if plan else self.execution
        found = (value.value for value in values if value.path == "max_parallelism")
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
        """Return the resolution as a message carries it, in the form that `_shared` describes.

        The form of earlier releases, with all values of each node, is still read.
        """
        content = self.model_dump(exclude={"nodes", "plans"})
        return content | _shared(self.nodes, self.plans)

    def _values_of(self, node: str) -> Mapping[str, ResolvedValue]:
        """Return the values of a node by path, which are ordered at the first call."""
        by_path = self._by_path.get(node)
        if by_path is None:
            by_path = self._by_path[node] = {value.path: value for value in self.nodes[node]}
        return by_path

    @cached_property
    def _by_path(self) -> dict[str, Mapping[str, ResolvedValue]]:
        return {}


Values = Mapping[str, tuple[ResolvedValue, ...]]
"""Values by the ids of nodes, or by the keys of calls."""


class ResolutionBlob(Model, extra="ignore"):
    """The blob that has a resolution which is too long for its event."""

    digest: str = Field(pattern="^[0-9a-f]{64}$")
    """The SHA-256 of the blob."""
    size: int = Field(ge=0)
    """The bytes of the resolution, of which the blob has the compressed form."""


def pack(content: bytes) -> bytes:
    """Return the blob of a resolution in the form of messages."""
    return zlib.compress(content)


def unpack(blob: bytes) -> Resolution:
    """Return the resolution in a blob. Raises ``ValueError``."""
    reading = zlib.decompressobj()
    try:
        content = reading.decompress(blob, MAX_BYTES + 1)
        if not reading.eof or len(content) > MAX_BYTES:
            raise ValueError(f"its blob is incomplete, or has more than {MAX_BYTES} bytes")
        return read(Resolution, content)
    except zlib.error as error:
        raise ValueError(f"its blob is not compressed: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _shared(nodes: Values, plans: Values) -> dict[str, Any]:
    """Return the values of nodes and of called launch plans with each distinct one once.

    ``values`` are the distinct ones. ``common`` are the numbers of those that every node has,
    ``profiles`` are lists of numbers that several nodes have in addition, and ``nodes`` has the
    number of its profile for each node, and then the numbers of values of its own. ``parts`` are
    the distinct lists of numbers of called launch plans, and ``plans`` has the number of its list
    for each call.
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
    parts: dict[tuple[int, ...], int] = {}
    calls = {
        name: parts.setdefault(tuple(table.numbers(own)), len(parts)) for name, own in plans.items()
    }
    found = {
        "values": table.values,
        "common": sorted(common),
        "profiles": [list(profile) for profile in profiles],
        "nodes": assigned,
    }
    return {**found, "parts": [list(part) for part in parts], "plans": calls} if plans else found


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


def _expanded(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of each node and each call, ordered by path. Raises ``ValueError``."""
    try:
        values = [ResolvedValue.model_validate(value) for value in content["values"]]
        profiles = [[*content["common"], *profile] for profile in content["profiles"]]
        parts = [_ordered(values, part) for part in content.get("parts", ())]
        nodes = {
            node: _ordered(values, [*profiles[profile], *own])
            for node, (profile, *own) in content["nodes"].items()
        }
        calls = content.get("plans", {}).items()
        return {"nodes": nodes, "plans": {name: parts[part] for name, part in calls}}
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"the table of values is not complete: {error!r}") from error


def _ordered(values: Sequence[ResolvedValue], numbers: Iterable[int]) -> tuple[ResolvedValue, ...]:
    return tuple(sorted((values[number] for number in numbers), key=_path))


def _path(value: ResolvedValue) -> str:
    return value.path
