"""The difference between a namespace on its cluster and its templates. Pure."""

from pydantic import JsonValue

from trimtab.models import Model


class ObjectDifferenceBody(Model, extra="ignore"):
    """An object that an apply would change. Values of Secrets are replaced by hashes."""

    object: str
    """Kind and name, such as ``ResourceQuota/project-quota``."""
    live: dict[str, JsonValue] | None = None
    """The object on the cluster; ``null`` where it does not exist."""
    desired: dict[str, JsonValue] | None = None
    """The object after an apply."""
    too_large: bool = False
    """Whether both are left out, because a response has no room for them."""


class NamespaceDifferenceBody(Model, extra="ignore"):
    """The objects of a namespace that differ from what its templates render."""

    cluster: str
    namespace: str
    revision: int
    """The revision of the settings that were rendered."""
    objects: tuple[ObjectDifferenceBody, ...] = ()
    """Empty where an apply would change nothing."""
    omitted: int = 0
    """The number of further objects, for which a response has no room."""
