"""Resources of tasks, as users of the SDK declare them, in two shapes. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from trimtab import quantities
from trimtab.amounts import ResourceSpec
from trimtab.errors import Invalid
from trimtab.models import parse_model
from trimtab.workflows.graphs.node_overrides import ResourceOverrides

Amount = str | int | float
"""A Kubernetes quantity: ``"500m"``, ``2``, ``0.5``, ``"1Gi"``."""
Amounts = Amount | tuple[Amount | None, Amount | None] | None
"""The request, or a pair of the request and the limit, of which one may be ``None``."""

_PAIR = "one amount, or a pair of request and limit of which at least one is an amount"
_SHAPES = "either requests and limits, or amounts by name of resource"


class ResourceName(StrEnum):
    """A resource of a task."""

    CPU = "cpu"
    """Cores."""
    MEMORY = "memory"
    """Bytes."""
    GPU = "gpu"
    """Whole devices."""
    EPHEMERAL_STORAGE = "ephemeral_storage"
    """Bytes."""


@dataclass(frozen=True)
class ResourceEntry:
    """An amount of one resource. Raises `Invalid`."""

    name: ResourceName
    value: str
    """A Kubernetes quantity such as ``500m`` or ``1Gi``."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, ResourceName):
            allowed = ", ".join(f"ResourceName.{name.name}" for name in ResourceName)
            raise Invalid("name", self.name, allowed)
        if not isinstance(self.value, str):
            raise Invalid(self.name, self.value, 'a text such as "500m" or "1Gi"')
        parse_model(ResourceSpec, {self.name: self.value})


@dataclass(frozen=True, init=False)
class Resources:
    """Requests and limits of a task, in one of two shapes::

        Resources(
            requests=[ResourceEntry(name=ResourceName.CPU, value="500m")],
            limits=[ResourceEntry(name=ResourceName.CPU, value="1")],
        )
        Resources(cpu=("500m", "1"))

    One amount is the request; a pair is the request and the limit, and decides one of them where
    the other one is ``None``. Raises `Invalid`.
    """

    requests: tuple[ResourceEntry, ...]
    limits: tuple[ResourceEntry, ...]

    def __init__(
        self,
        cpu: Amounts = None,
        mem: Amounts = None,
        gpu: Amounts = None,
        ephemeral_storage: Amounts = None,
        *,
        requests: Sequence[ResourceEntry] | None = None,
        limits: Sequence[ResourceEntry] | None = None,
    ) -> None:
        amounts = {"cpu": cpu, "mem": mem, "gpu": gpu, "ephemeral_storage": ephemeral_storage}
        given = {name: amount for name, amount in amounts.items() if amount is not None}
        if requests is None and limits is None:
            pairs = [(_NAMES[name], _pair(name, amount)) for name, amount in given.items()]
            requests = [ResourceEntry(name, r) for name, (r, _) in pairs if r is not None]
            limits = [ResourceEntry(name, at) for name, (_, at) in pairs if at is not None]
        elif given:
            raise Invalid(next(iter(given)), next(iter(given.values())), _SHAPES)
        object.__setattr__(self, "requests", _entries("requests", requests))
        object.__setattr__(self, "limits", _entries("limits", limits))
        self._check_limits()

    @property
    def is_empty(self) -> bool:
        """Whether it decides nothing."""
        return not self.requests and not self.limits

    def overrides(self) -> ResourceOverrides:
        """Return the model that is sent and stored."""
        groups = {"requests": self.requests, "limits": self.limits}
        content = {g: {entry.name: entry.value for entry in each} for g, each in groups.items()}
        return parse_model(ResourceOverrides, content)

    def _check_limits(self) -> None:
        limits = {entry.name: entry.value for entry in self.limits}
        for entry in self.requests:
            limit = limits.get(entry.name)
            if limit is not None and quantities.parse(entry.value) > quantities.parse(limit):
                allowed = f"at most the limit, which is {limit}"
                raise Invalid(f"requests.{entry.name}", entry.value, allowed)


_NAMES: Mapping[str, ResourceName] = {
    "cpu": ResourceName.CPU,
    "mem": ResourceName.MEMORY,
    "gpu": ResourceName.GPU,
    "ephemeral_storage": ResourceName.EPHEMERAL_STORAGE,
}


def _entries(group: str, given: Sequence[ResourceEntry] | None) -> tuple[ResourceEntry, ...]:
    """Return the entries, of which each is of another resource. Raises `Invalid`."""
    given = () if given is None else given
    seen: set[ResourceName] = set()
    for entry in _listed(group, given):
        if entry.name in seen:
            raise Invalid(f"{group}.{entry.name}", entry.value, "each resource once")
        seen.add(entry.name)
    return tuple(given)


def _listed(group: str, given: Sequence[ResourceEntry]) -> Iterator[ResourceEntry]:
    if not isinstance(given, list | tuple):
        raise Invalid(group, given, "a list of ResourceEntry")
    for index, entry in enumerate(given):
        if not isinstance(entry, ResourceEntry):
            raise Invalid(f"{group}.{index}", entry, "a ResourceEntry")
        yield entry


def _pair(name: str, given: object) -> tuple[str | None, str | None]:
    """Return the texts of request and limit. Raises `Invalid`."""
    request, limit = given if isinstance(given, tuple | list) and len(given) == 2 else (given, None)
    if request is None and limit is None:
        raise Invalid(name, given, _PAIR)
    return _text(name, request), _text(name, limit)


def _text(name: str, amount: object) -> str | None:
    if isinstance(amount, tuple | list):
        raise Invalid(name, amount, _PAIR)
    if isinstance(amount, bool) or not isinstance(amount, str | int | float | None):
        raise Invalid(name, amount, 'an amount such as "500m", 2 or "1Gi"')
    return None if amount is None else str(amount)
