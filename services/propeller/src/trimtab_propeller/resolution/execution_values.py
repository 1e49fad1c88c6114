"""The values of a part of an execution as a whole: labels, parallelism, identity. Pure."""

from collections.abc import Iterator, Mapping

from trimtab import placeholders
from trimtab.labels import label_value
from trimtab.messages import subjects
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import ResolvedValue, is_own_of_plans
from trimtab.resolution import metadata
from trimtab.resolution.limits import Refusal
from trimtab.resolution.sources import CALLED_PLAN
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.launch_plans import ExecutionConfig
from trimtab_propeller.resolution import caps, queueing_budget, queues, records
from trimtab_propeller.resolution.parts import Part
from trimtab_propeller.resolution.site import Site

_CONFIG = "workflow_execution_config"
_ENVS = "envs."
_PARALLELISM = "max_parallelism"
_NODE_FIELDS = frozenset({"interruptible"})
"""Fields of the kind above that are values of each node, where its task may set another one."""
_PLACEHOLDER_FIELDS = ("labels.", "annotations.", _ENVS, "raw_output_data_config.")
"""Text fields of the kind above that may contain placeholders such as ``{{ execution }}``."""
_OTHER_KINDS = ("cluster_assignment", "plugin_override")
"""Kinds whose fields are resolved under the name of the kind."""


def resolve_part(
    request: Request,
    part: Part,
    settings: Settings,
    site: Site,
    around: Mapping[str, ResolvedValue],
) -> Mapping[str, ResolvedValue]:
    """Return the values by path; ``around`` are those of the part that it is called in.

    Raises `Unreadable` and `Refusal`.
    """
    values = {value.path: value for value in _values(request, part, settings, site)}
    if part.parent is not None:
        path = _PARALLELISM
        # The request's number is a part of that around it.
        lowest = caps.capped(values.get(path), around.get(path), absent=None)
        if lowest is not None:
            values[path] = lowest
    return values


def node_settings(request: Request, part: Part, settings: Settings) -> Iterator[ResolvedValue]:
    """Yield the values of the settings for each node whose sources set no other.

    Raises `Unreadable`.
    """
    for value in _config_values(request, part, settings):
        if value.path in _NODE_FIELDS:
            yield value
        elif value.path.startswith(_ENVS):
            name = value.path.removeprefix(_ENVS)
            yield value.model_copy(update={"path": f"environment.{name}"})


def _values(
    request: Request, part: Part, settings: Settings, site: Site
) -> Iterator[ResolvedValue]:
    """Yield values in the order of their sources: of two with one path, the later one applies."""
    yield from _project_labels(part, settings)
    for value in _config_values(request, part, settings):
        if not _is_of_nodes(value.path):
            yield value
    for kind in _OTHER_KINDS:
        if _is_of(part, kind):
            for value in records.values(settings.effective(kind, part.target)):
                yield value.model_copy(update={"path": f"{kind}.{value.path}"})
    queue_values = queues.values if part.parent is None else queues.values_of_call
    yield from queue_values(settings, part.target)
    yield from queueing_budget.values(part, settings, site)
    yield from _own_values(part)
    for value in _request_values("execution", request):
        if part.parent is None or value.path != _PARALLELISM:
            yield value


def _is_of_nodes(path: str) -> bool:
    return path in _NODE_FIELDS or path.startswith(_ENVS)


def _is_of(part: Part, path: str) -> bool:
    """Return whether a part has a value of its own at a path."""
    return part.parent is None or is_own_of_plans(path)


def _own_values(part: Part) -> Iterator[ResolvedValue]:
    """Yield the values that the part's launch plan sets."""
    if part.parent is None:
        yield from _request_values("launch plan", part.config)
    else:
        for value in _request_values(CALLED_PLAN, part.config):
            yield value.model_copy(update={"scope": str(part.target)})


def _project_labels(part: Part, settings: Settings) -> Iterator[ResolvedValue]:
    project = settings.projects.get(part.project)
    for key, value in (project.labels if project else {}).items():
        yield ResolvedValue(
            path=f"labels.{key}",
            value=value,
            source="project",
            scope=f"project {part.project}",
            revision=settings.digest.revision_of(subjects.project(part.project)),
        )


def _request_values(source: str, config: ExecutionConfig) -> Iterator[ResolvedValue]:
    for path in (_PARALLELISM, "overwrite_cache"):
        if (value := getattr(config, path)) is not None:
            yield ResolvedValue(path=path, value=value, source=source)
    yield from metadata.of_config(source, config)


def _config_values(request: Request, part: Part, settings: Settings) -> Iterator[ResolvedValue]:
    """Yield the effective ``workflow_execution_config``, with its placeholders filled."""
    for value in records.values(settings.effective(_CONFIG, part.target)):
        if not (_is_of_nodes(value.path) or _is_of(part, value.path)):
            continue
        if isinstance(value.value, str) and value.path.startswith(_PLACEHOLDER_FIELDS):
            yield _fill(value, value.value, request, part)
        else:
            yield value


def _fill(value: ResolvedValue, template: str, request: Request, part: Part) -> ResolvedValue:
    """Fill the placeholders. Raises `Refusal` where the text is no valid label any more."""
    names = {
        "project": part.project,
        "domain": part.domain,
        "workflow": part.workflow,
        "launch_plan": part.launch_plan,
        "execution": request.execution,
    }
    text = placeholders.fill(template, names)
    # Earlier releases stored them.
    notes = [f"{mistake} is no placeholder" for mistake in placeholders.mistakes(template)]
    if text == template:
        return value.model_copy(update={"note": "; ".join(notes)}) if notes else value
    if value.path.startswith("labels."):
        try:
            label_value(text)
        except ValueError as error:
            message = (
                f"{value.path} is {text!r}, from {template!r} of {value.scope}; allowed: {error}"
            )
            raise Refusal(value.path, text, message, scope=value.scope) from error
    note = "; ".join([f"from {template!r}", *notes])
    return value.model_copy(update={"value": text, "note": note})
