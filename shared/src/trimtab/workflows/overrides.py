"""Resources, pools and overrides of tasks, as users of the SDK declare them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from trimtab.errors import Invalid
from trimtab.models import parse_model
from trimtab.workflows.node_overrides import NodeOverrides, ResourceOverrides

Amount = str | int | float
"""A Kubernetes quantity: ``"500m"``, ``2``, ``0.5``, ``"1Gi"``."""


@dataclass(frozen=True)
class Resources:
    """Resources of a task. One value is the request; a pair is the request and the limit."""

    cpu: Amount | tuple[Amount, Amount] | None = None
    """Cores."""
    mem: Amount | tuple[Amount, Amount] | None = None
    """Bytes."""
    gpu: Amount | tuple[Amount, Amount] | None = None
    """Whole devices."""
    ephemeral_storage: Amount | tuple[Amount, Amount] | None = None
    """Bytes."""

    def __post_init__(self) -> None:
        self.overrides()  # A wrong quantity is reported where the user wrote it.

    def overrides(self) -> ResourceOverrides:
        """Return the model that is sent and stored. Raises `Invalid`."""
        given = {
            "cpu": self.cpu,
            "memory": self.mem,
            "gpu": self.gpu,
            "ephemeral_storage": self.ephemeral_storage,
        }
        requests, limits = {}, {}
        for name, value in given.items():
            if isinstance(value, tuple | list):
                if len(value) != 2:
                    raise Invalid(name, value, "one value, or a pair of request and limit")
                requests[name], limits[name] = map(_amount_text, value)
            elif value is not None:
                requests[name] = _amount_text(value)
        return parse_model(ResourceOverrides, {"requests": requests, "limits": limits})


@dataclass(frozen=True)
class Pool:
    """A quota of an outside resource; each attempt of the task holds a token while it runs."""

    name: str
    quota: int | None = None
    """Units, declared when the module is registered; ``None`` leaves the declaration to others."""

    def __post_init__(self) -> None:
        if self.quota is not None and self.quota < 1:
            raise Invalid(f"pool {self.name}: quota", self.quota, "at least 1")


def runtime_override_config(
    *,
    cpu: Amount | tuple[Amount, Amount] | None = None,
    mem: Amount | tuple[Amount, Amount] | None = None,
    gpu: Amount | tuple[Amount, Amount] | None = None,
    ephemeral_storage: Amount | tuple[Amount, Amount] | None = None,
    retries: int | None = None,
    interruptible: bool | None = None,
    container_image: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> NodeOverrides:
    """Return overrides for a hook. An argument that is not given changes nothing.

    Raises `Invalid`.
    """
    resources = Resources(cpu, mem, gpu, ephemeral_storage)
    return node_overrides(resources, retries, interruptible, container_image, environment)


def node_overrides(
    resources: Resources | None,
    retries: int | None,
    interruptible: bool | None,
    container_image: str | None,
    environment: Mapping[str, str] | None,
) -> NodeOverrides:
    """Return the model that is sent and stored, with the given fields only. Raises `Invalid`."""
    given = {
        "resources": None if resources in (None, Resources()) else resources.overrides(),
        "retries": retries,
        "interruptible": interruptible,
        "container_image": container_image,
        "environment": None if environment is None else dict(environment),
    }
    return parse_model(NodeOverrides, {name: v for name, v in given.items() if v is not None})


def _amount_text(amount: object) -> str:
    if isinstance(amount, bool) or not isinstance(amount, str | int | float):
        raise Invalid("resources", amount, 'a quantity such as "500m", 2 or "1Gi"')
    return str(amount)
