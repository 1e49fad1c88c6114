"""Resolve an execution: fold its request and the settings into every value it runs with. Pure.

It happens once, at admission. Later changes of the settings apply to later executions.

`node_sources` is the order of the sources of a node's values, and `_execution_values` that of the
values of the execution as a whole. Requests and limits are then completed by `limits`.
"""

import random
from collections.abc import Iterator, Mapping

from trimtab.errors import Invalid, NotFound, Unreadable
from trimtab.labels import fill_placeholders, label_value
from trimtab.messages import subjects
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import Resolution, ResolvedValue
from trimtab.resolution.limits import Refusal, complete_resources
from trimtab.resolution.sources import ENGINE_DEFAULTS, node_sources
from trimtab.settings.fold import Effective, Leaf
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.graph import ID, ID_RULE, ExecutionConfig, Node
from trimtab.workflows.graphs.node_overrides import NodeOverrides, flat_overrides
from trimtab_propeller.executors.port import Capabilities, Program

_CONFIG = "workflow_execution_config"
_ENVS = "envs."
_NODE_FIELDS = frozenset({"interruptible"})
"""Fields of the kind above that are values of each node, where its task may set another one."""
_PLACEHOLDER_FIELDS = ("labels.", "annotations.", _ENVS, "raw_output_data_config.")
"""Text fields of the kind above that may contain placeholders such as ``{{ execution }}``."""
_OTHER_KINDS = ("cluster_assignment", "execution_queue", "plugin_override", "quality_of_service")
"""Kinds whose fields are resolved under the name of the kind."""


def resolve(request: Request, settings: Settings, executor: Capabilities) -> Resolution:
    """Return every value that the execution and its nodes run with, each with its source.

    Raises `Refusal`.
    """
    _check_requester(request, executor)
    try:
        _check(request)
        execution_values = {value.path: value for value in _execution_values(request, settings)}
        resolver = _NodeResolver(request, settings, executor)
        nodes = {node.id: resolver.values(node) for node in request.workflow.nodes}
    except Invalid as error:
        raise Refusal(error.path, error.value, str(error)) from error
    except Unreadable as error:
        raise Refusal("settings", None, str(error)) from error
    return Resolution(
        revision=settings.revision,
        executor=executor.name,
        isolation=str(executor.isolation) if executor.isolation.mechanism else "",
        execution=tuple(executor.annotate(execution_values[p]) for p in sorted(execution_values)),
        nodes=nodes,
    )


def _check_requester(request: Request, executor: Capabilities) -> None:
    """Raise `Refusal` where tasks of the requester would have to be isolated, and cannot be."""
    reason = executor.why_admins_only()
    if reason and not request.by_platform_admin:
        raise Refusal("executor", executor.name, reason)


def _check(request: Request) -> None:
    """Repeat admin's checks, because the request came over the network. Raises `Invalid`."""
    workflow = request.workflow
    if unexpanded := (*workflow.workflows, *workflow.references):
        allowed = "an expanded workflow, in which each node calls a task"
        raise Invalid("workflow", unexpanded[0], allowed)
    workflow.check()
    workflow.check_hooks("overrides", request.overrides)
    workflow.check_hooks("launch_plan.runtime_override", request.launch_plan.runtime_override)
    if not ID.fullmatch(request.execution):
        raise Invalid("execution", request.execution[:80], ID_RULE)


def _execution_values(request: Request, settings: Settings) -> Iterator[ResolvedValue]:
    """Yield values in the order of their sources: of two with one path, the later one applies.

    Raises `Unreadable` and `Refusal`.
    """
    yield from _project_labels(request, settings)
    for value in _config_values(request, settings):
        if value.path not in _NODE_FIELDS and not value.path.startswith(_ENVS):
            yield value
    for kind in _OTHER_KINDS:
        for value in _record_values(settings.effective(kind, request.target)):
            yield value.model_copy(update={"path": f"{kind}.{value.path}"})
    yield from _request_values("launch plan", request.launch_plan)
    yield from _request_values("execution", request)


def _project_labels(request: Request, settings: Settings) -> Iterator[ResolvedValue]:
    project = settings.projects.get(request.project)
    for key, value in (project.labels if project else {}).items():
        yield ResolvedValue(
            path=f"labels.{key}",
            value=value,
            source="project",
            scope=f"project {request.project}",
            revision=settings.digest.revision_of(subjects.project(request.project)),
        )


def _request_values(source: str, config: ExecutionConfig) -> Iterator[ResolvedValue]:
    for path in ("max_parallelism", "overwrite_cache"):
        if (value := getattr(config, path)) is not None:
            yield ResolvedValue(path=path, value=value, source=source)
    for field in ("labels", "annotations"):
        for key, value in getattr(config, field).items():
            yield ResolvedValue(path=f"{field}.{key}", value=value, source=source)


def _config_values(request: Request, settings: Settings) -> Iterator[ResolvedValue]:
    """Yield the effective ``workflow_execution_config``, with its placeholders filled."""
    for value in _record_values(settings.effective(_CONFIG, request.target)):
        if isinstance(value.value, str) and value.path.startswith(_PLACEHOLDER_FIELDS):
            yield _fill(value, value.value, request)
        else:
            yield value


def _fill(value: ResolvedValue, template: str, request: Request) -> ResolvedValue:
    """Fill the placeholders. Raises `Refusal` where the text is no valid label any more."""
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
                f"{value.path} is {text!r}, from {template!r} of {value.scope}; allowed: {error}"
            )
            raise Refusal(value.path, text, message, scope=value.scope) from error
    return value.model_copy(update={"value": text, "note": f"from {template!r}"})


def _record_values(effective: Effective) -> Iterator[ResolvedValue]:
    for path, leaf in effective.leaves.items():
        if leaf.value is not None:
            yield _from_record(path, f"{effective.kind.name}.{path}", leaf)


def _from_record(path: str, source: str, leaf: Leaf) -> ResolvedValue:
    return ResolvedValue(
        path=path, value=leaf.value, source=source, scope=str(leaf.scope), revision=leaf.revision
    )


class _NodeResolver:
    """Resolves the values of each node; those that nodes share are resolved once."""

    def __init__(self, request: Request, settings: Settings, executor: Capabilities) -> None:
        """Raises `Refusal` and `Unreadable`."""
        self._request = request
        self._settings = settings
        self._executor = executor
        self._task_resource = settings.effective("task_resource", request.target)
        self._shared = [
            *(
                ResolvedValue(path=path, value=value, source="engine")
                for path, value in ENGINE_DEFAULTS.items()
            ),
            *_node_settings(request, settings),
            *_cluster_values(request, settings),
            *_priority(request, settings),
        ]
        self._by_sources: dict[object, tuple[ResolvedValue, ...]] = {}
        self._resources: dict[object, Mapping[str, ResolvedValue]] = {}
        self._annotated: dict[int, tuple[ResolvedValue, ResolvedValue]] = {}

    def values(self, node: Node) -> tuple[ResolvedValue, ...]:
        """Return the values of a node, ordered by path. Raises `Refusal`."""
        sources = (node.task, node.overrides.model_dump_json(), *self._hook_sources(node))
        if sources not in self._by_sources:
            values = self._resolve(node)
            self._by_sources[sources] = tuple(self._annotate(values[p]) for p in sorted(values))
        return self._by_sources[sources]

    def _hook_sources(self, node: Node) -> tuple[str, ...]:
        """Return what the hook adds to the sources: paths differ, but most name no override."""
        if node.hook is None:
            return ()
        given = (self._request.overrides, self._request.launch_plan.runtime_override)
        own = node.hook.full_name if any(node.hook.full_name in each for each in given) else ""
        return node.hook.name, own, node.hook.default.model_dump_json()

    def _resolve(self, node: Node) -> dict[str, ResolvedValue]:
        values = {value.path: value for value in self._shared}
        for source, overrides in reversed(list(self._sources(node))):
            for path, value in flat_overrides(overrides).items():
                values[path] = ResolvedValue(path=path, value=value, source=source)
        values |= {value.path: value for value in _pool(node, self._request, self._settings)}
        try:
            self._check_program(node, values)
            _check_environment(values, self._executor)
            return {**values, **self._complete_resources(values)}
        except Refusal as refusal:
            refusal.node = node.id
            raise

    def _check_program(self, node: Node, values: Mapping[str, ResolvedValue]) -> None:
        """Raise `Refusal` for what the executor cannot run."""
        workflow = self._request.workflow
        program = Program.of(workflow.tasks[node.task], workflow)
        image = values.get("container_image")
        named = "" if image is None else str(image.value)
        if reason := self._executor.why_not(program, node.task, named):
            raise Refusal("target", program.target.type, reason)

    def _sources(self, node: Node) -> Iterator[tuple[str, NodeOverrides]]:
        request = self._request
        task = request.workflow.tasks[node.task]
        return node_sources(node, task, request.launch_plan, request.overrides, request)

    def _complete_resources(
        self, values: Mapping[str, ResolvedValue]
    ) -> Mapping[str, ResolvedValue]:
        """Return the requests and limits that the values lead to. Raises `Refusal`."""
        given = {p: value for p, value in values.items() if p.startswith("resources.")}
        key = tuple(value.model_dump_json() for value in given.values())
        if key not in self._resources:
            self._resources[key] = complete_resources(given, self._task_resource)
        return self._resources[key]

    def _annotate(self, value: ResolvedValue) -> ResolvedValue:
        # Each value is kept with its annotated one, so that no other object gets its id.
        known = self._annotated.get(id(value))
        if known is None:
            known = self._annotated[id(value)] = value, self._executor.annotate(value)
        return known[1]


def _node_settings(request: Request, settings: Settings) -> Iterator[ResolvedValue]:
    """Yield the values of the settings for each node whose sources set no other.

    Raises `Unreadable`.
    """
    for value in _config_values(request, settings):
        if value.path in _NODE_FIELDS:
            yield value
        elif value.path.startswith(_ENVS):
            name = value.path.removeprefix(_ENVS)
            yield value.model_copy(update={"path": f"environment.{name}"})


def _check_environment(values: Mapping[str, ResolvedValue], executor: Capabilities) -> None:
    """Raise `Refusal` for variables with which the executor would not start a task."""
    prefix = "environment."
    environment = {
        path.removeprefix(prefix): str(value.value)
        for path, value in values.items()
        if path.startswith(prefix)
    }
    try:
        executor.check_environment(environment)
    except Invalid as error:
        cause = values.get(error.path)
        source = "" if cause is None else f"{error.path} is from {cause.source}: "
        scope = "" if cause is None else cause.scope
        raise Refusal(error.path, error.value, f"{source}{error}", scope=scope) from error


def _pool(node: Node, request: Request, settings: Settings) -> Iterator[ResolvedValue]:
    task = request.workflow.tasks[node.task]
    if task.pool is None:
        return
    try:
        pool = settings.pool(task.pool)
    except NotFound as error:
        raise Refusal("pool", task.pool, str(error), node=node.id) from error
    yield ResolvedValue(path="pool", value=task.pool, source="task")
    yield ResolvedValue(path="weight", value=task.weight, source="task")
    yield ResolvedValue(path="cohort", value=pool.cohort, source="pool")


def _priority(request: Request, settings: Settings) -> Iterator[ResolvedValue]:
    leaf = _leaf(settings, "workflow_priority", "priority", request)
    if leaf is not None:
        yield _from_record("priority", "workflow_priority.priority", leaf)


def _cluster_values(request: Request, settings: Settings) -> Iterator[ResolvedValue]:
    """Yield the cluster, the same one for all nodes, and the label that selected it."""
    source = "execution_cluster_label.value"
    leaf = _leaf(settings, "execution_cluster_label", "value", request)
    cluster = _select_cluster(request.execution, settings, leaf)
    if leaf is not None:
        yield _from_record("execution_cluster_label", source, leaf)
        yield _from_record("cluster", source, leaf).model_copy(update={"value": cluster})
    elif cluster is not None:
        yield ResolvedValue(path="cluster", value=cluster, source="engine")


def _select_cluster(execution: str, settings: Settings, label: Leaf | None) -> str | None:
    """Select an enabled cluster by weight, always the same one for one execution.

    Return ``None`` where the settings have no cluster of a positive weight and no label is
    required. Raises `Refusal` where no such cluster has the required label.
    """
    enabled = [cluster for _, cluster in sorted(settings.clusters.items()) if cluster.enabled]
    fitting = [c for c in enabled if label is None or label.value in c.labels]
    weighted = [cluster for cluster in fitting if cluster.weight > 0]
    if weighted:
        weights = [cluster.weight for cluster in weighted]
        return random.Random(execution).choices(weighted, weights)[0].name
    if label is None:
        return None
    known = ", ".join(sorted({label for cluster in enabled for label in cluster.labels})) or "none"
    raise Refusal(
        "execution_cluster_label.value",
        label.value,
        f"no enabled cluster has the label {label.value!r}, which execution_cluster_label of "
        f"{label.scope} requires; labels of enabled clusters: {known}",
        scope=str(label.scope),
    )


def _leaf(settings: Settings, kind: str, path: str, request: Request) -> Leaf | None:
    """Return the leaf of an effective value, ``None`` if it is unset. Raises `Unreadable`."""
    leaf = settings.effective(kind, request.target).leaves.get(path)
    return None if leaf is None or leaf.value is None else leaf
