"""What the settings say of an execution, beside resources and the placing of its nodes. Pure."""

from collections.abc import Iterator

from trimtab.executions import Request, Resolved
from trimtab.fold import Effective
from trimtab.state import Settings

_CONFIG = "workflow_execution_config"
_ENVS = "envs."
_OF_NODES = frozenset({"interruptible"})
"""Fields that a task may say something else of."""
_KINDS = ("cluster_assignment", "execution_queue", "plugin_override", "quality_of_service")
"""Beside the configuration; their fields are named after them."""


def of_execution(request: Request, settings: Settings) -> Iterator[Resolved]:
    """What holds for the execution as a whole. Raises `Unreadable`."""
    for value in _values(settings.effective(_CONFIG, request.target)):
        if value.path not in _OF_NODES and not value.path.startswith(_ENVS):
            yield value
    for kind in _KINDS:
        for value in _values(settings.effective(kind, request.target)):
            yield value.model_copy(update={"path": f"{kind}.{value.path}"})


def of_nodes(request: Request, settings: Settings) -> Iterator[Resolved]:
    """What holds for every node that says nothing else. Raises `Unreadable`."""
    for value in _values(settings.effective(_CONFIG, request.target)):
        if value.path in _OF_NODES:
            yield value
        elif value.path.startswith(_ENVS):
            name = value.path.removeprefix(_ENVS)
            yield value.model_copy(update={"path": f"environment.{name}"})


def _values(effective: Effective) -> Iterator[Resolved]:
    for path, leaf in effective.leaves.items():
        if leaf.value is not None:
            yield Resolved(
                path=path,
                value=leaf.value,
                source=f"{effective.kind.name}.{path}",
                scope=str(leaf.scope),
                revision=leaf.revision,
            )
