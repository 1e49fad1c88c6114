"""What an execution runs with, beside the resources and the placing of its nodes. Pure.

What the request says comes first, then what the launch plan says, then the settings.
"""

from collections.abc import Iterator

from trimtab.labels import fill_placeholders, label_value
from trimtab.messages import subjects
from trimtab.messages.executions import Request, Resolved
from trimtab.settings.fold import Effective
from trimtab.settings.state import Settings
from trimtab.workflows.graph import ExecutionConfig, NodeOverrides
from trimtab_propeller.limits import Refusal

_CONFIG = "workflow_execution_config"
_ENVS = "envs."
_OF_NODES = frozenset({"interruptible"})
"""Fields that a task may say something else of."""
_FILLED = ("labels.", "annotations.", _ENVS, "raw_output_data_config.")
"""Fields of text in which names of the execution may stand."""
_KINDS = ("cluster_assignment", "execution_queue", "plugin_override", "quality_of_service")
"""Beside the configuration; their fields are named after them."""


def of_execution(request: Request, settings: Settings) -> Iterator[Resolved]:
    """What holds for the execution as a whole; of two with one path the later one counts.

    Raises `Unreadable`.
    """
    yield from _of_project(request, settings)
    yield from _of_settings(request, settings)
    yield from _said("launch plan", request.launch_plan)
    yield from _said("execution", request)


def of_every_node(config: ExecutionConfig) -> NodeOverrides:
    """What a launch plan or a request says of each of its nodes."""
    return NodeOverrides(environment=config.environment, interruptible=config.interruptible)


def _said(source: str, config: ExecutionConfig) -> Iterator[Resolved]:
    for path in ("max_parallelism", "overwrite_cache"):
        if (value := getattr(config, path)) is not None:
            yield Resolved(path=path, value=value, source=source)
    for field in ("labels", "annotations"):
        for key, value in getattr(config, field).items():
            yield Resolved(path=f"{field}.{key}", value=value, source=source)


def _of_project(request: Request, settings: Settings) -> Iterator[Resolved]:
    project = settings.projects.get(request.project)
    for key, value in (project.labels if project else {}).items():
        yield Resolved(
            path=f"labels.{key}",
            value=value,
            source="project",
            scope=f"project {request.project}",
            revision=settings.digest.revision_of(subjects.project(request.project)),
        )


def _of_settings(request: Request, settings: Settings) -> Iterator[Resolved]:
    for value in _config(request, settings):
        if value.path not in _OF_NODES and not value.path.startswith(_ENVS):
            yield value
    for kind in _KINDS:
        for value in _values(settings.effective(kind, request.target)):
            yield value.model_copy(update={"path": f"{kind}.{value.path}"})


def of_nodes(request: Request, settings: Settings) -> Iterator[Resolved]:
    """What holds for every node that says nothing else. Raises `Unreadable`."""
    for value in _config(request, settings):
        if value.path in _OF_NODES:
            yield value
        elif value.path.startswith(_ENVS):
            name = value.path.removeprefix(_ENVS)
            yield value.model_copy(update={"path": f"environment.{name}"})


def _config(request: Request, settings: Settings) -> Iterator[Resolved]:
    for value in _values(settings.effective(_CONFIG, request.target)):
        if isinstance(value.value, str) and value.path.startswith(_FILLED):
            yield _filled(value, value.value, request)
        else:
            yield value


def _filled(value: Resolved, template: str, request: Request) -> Resolved:
    """Raises `Refusal` where a name is too long for the label that it stands in."""
    names = {
        "project": request.project,
        "domain": request.domain,
        "workflow": request.workflow.name,
        "launch_plan": request.launch_plan.name,
        "execution": request.execution,
    }
    text = fill_placeholders(template, names)
    if text == template:
        return value
    if value.path.startswith("labels."):
        try:
            label_value(text)
        except ValueError as error:
            message = (
                f"{value.path} is {text!r} by {template!r} of {value.scope}, but must be {error}"
            )
            raise Refusal(value.path, text, message, scope=value.scope) from error
    return value.model_copy(update={"value": text, "note": f"from {template!r}"})


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
