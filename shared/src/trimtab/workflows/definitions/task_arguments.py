"""Arguments of tasks, and what they become in the graph. Pure."""

from collections.abc import Mapping
from typing import Any, TypedDict, cast

from trimtab.errors import Invalid
from trimtab.models import parse_model
from trimtab.workflows.definitions.containers import Container, K8sPod
from trimtab.workflows.definitions.overrides import (
    OverrideArguments,
    Pool,
    ValueArguments,
    check_arguments,
    node_overrides,
)
from trimtab.workflows.graphs.node_overrides import NodeOverrides, merge_overrides
from trimtab.workflows.graphs.targets import Function, Pod, TaskTarget


class DefinitionArguments(TypedDict, total=False):
    """Arguments of all tasks that no override can replace."""

    task_type: str | None
    """By default ``python``, ``container`` or ``pod``."""
    pool: Pool | str | None
    weight: int
    """Units of the pool that each attempt takes."""


class TaskArguments(OverrideArguments, DefinitionArguments, total=False):
    """Arguments of ``@task``."""

    name: str | None
    """By default, that of the function."""
    container: Container | None
    """The program that runs instead of the function."""
    pod: K8sPod | None
    """The pod that runs instead of the function. With ``pod_template``, the function runs in it."""


class ContainerTaskArguments(ValueArguments, DefinitionArguments, total=False):
    """Further arguments of `ContainerTask`."""


class TaskDefinition:
    """The arguments of one task, checked. Raises `Invalid`."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        """``arguments`` are `TaskArguments`."""
        check_arguments(arguments, TaskArguments.__annotations__)
        self._arguments = {name: value for name, value in arguments.items() if value is not None}
        self.pool = _pool(arguments.get("pool"))
        self._config = self._checked_config()

    def name(self, function: str) -> str:
        """Return the name of the task, which is by default that of the function."""
        return cast(str, self._arguments.get("name", function))

    def content(self, function: str) -> dict[str, object]:
        """Return the fields of the `Task`."""
        target = self._target(function)
        default_type = "python" if isinstance(target, Function) else target.type
        return {
            "name": self.name(function),
            "type": self._arguments.get("task_type", default_type),
            "target": target,
            "config": self._config,
            "pool": None if self.pool is None else self.pool.name,
            "weight": self._arguments.get("weight", 1),
        }

    def _target(self, function: str) -> TaskTarget:
        if "container" in self._arguments:
            return cast(Container, self._arguments["container"]).target()
        if "pod" in self._arguments:
            return Pod()
        return Function() if self.name(function) == function else Function(name=function)

    def _checked_config(self) -> NodeOverrides:
        given = self._arguments
        arguments = {k: v for k, v in given.items() if k in OverrideArguments.__annotations__}
        config = node_overrides(**cast(OverrideArguments, arguments))
        for name, class_ in (("container", Container), ("pod", K8sPod)):
            if not isinstance(given.get(name), class_ | None):
                raise Invalid(name, given[name], f"{class_.__name__}(…)")
        if (pod := given.get("pod")) is not None:
            self._check_once("pod_template", config, "pod")
            config = merge_overrides(config, NodeOverrides(pod_template=pod.template()))
        if (container := given.get("container")) is not None:
            for name in ("pod_template", "resources", "container_image", "environment"):
                self._check_once(name, config, "container")
            config = merge_overrides(config, _values_of(container))
        if config.cache and not config.cache_version:
            raise Invalid("cache_version", config.cache_version, "a text, because cache is true")
        return config

    def _check_once(self, name: str, config: NodeOverrides, source: str) -> None:
        if getattr(config, name) is not None:
            given = self._arguments.get(name, source)
            raise Invalid(name, given, f"no value, because {source} decides it")


def _pool(given: Pool | str | None) -> Pool | None:
    if isinstance(given, str):
        return Pool(given)
    if not isinstance(given, Pool | None):
        raise Invalid("pool", given, 'Pool(…), or the name of a pool such as "warehouse"')
    return given


def _values_of(container: Container) -> NodeOverrides:
    """Return the values of a container that can be overridden."""
    content: dict[str, object] = {"container_image": container.image}
    if container.env:
        content["environment"] = container.env
    if not container.resources.is_empty:
        content["resources"] = container.resources.overrides()
    return parse_model(NodeOverrides, content)
