"""The values of the nodes of one part of an execution. Pure.

`trimtab.resolution.sources` is the order of the sources of a value. Requests and limits are then
completed by `trimtab.resolution.limits`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import JsonValue

from trimtab.errors import Invalid, NotFound, Unreadable
from trimtab.messages.events import PoolChanged
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import ResolvedValue
from trimtab.resolution.limits import Refusal, complete_resources
from trimtab.resolution.sources import CALLED_PLAN, ENGINE_DEFAULTS, node_sources
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.command_templates import Variable
from trimtab.workflows.graphs.graph import Node, Workflow
from trimtab.workflows.graphs.node_overrides import NodeOverrides, flat_overrides
from trimtab_propeller.executors.attempt import Program
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import caps, container_values, plugins, pod_policies, records
from trimtab_propeller.resolution.execution_values import node_settings
from trimtab_propeller.resolution.parts import Part

_OUTPUT_PREFIX = "workflow_execution_config", "raw_output_data_config.output_location_prefix"


class NodeResolver:
    """Resolves the values of each node; those that nodes share are resolved once."""

    def __init__(
        self,
        request: Request,
        part: Part,
        settings: Settings,
        executor: Capabilities,
        shared: Iterable[ResolvedValue],
        gpu_resource: str,
    ) -> None:
        """``shared`` are values of every node of the execution. Raises `Unreadable`."""
        self._request = request
        self._part = part
        self._gpu_resource = gpu_resource
        self._executor = executor
        self._task_resource = settings.effective("task_resource", part.target)
        self.policies = pod_policies.of_part(settings, part)
        """The pod policies of the part, and of those around it."""
        self._plugin_override = settings.effective("plugin_override", part.target)
        self._output_prefix = records.leaf(settings, *_OUTPUT_PREFIX, part.target)
        self._shared = [
            *(
                ResolvedValue(path=path, value=value, source="engine")
                for path, value in ENGINE_DEFAULTS.items()
            ),
            *node_settings(request, part, settings),
            *shared,
            *filter(None, [_priority(part, settings)]),
        ]
        self._pools = _pools(request.workflow, settings)
        self._named = {*request.overrides, *request.launch_plan.runtime_override}
        self._programs: dict[str, Program] = {}
        self._by_sources: dict[object, tuple[ResolvedValue, ...]] = {}
        self._resources: dict[object, Mapping[str, ResolvedValue]] = {}
        self._variables: dict[object, Sequence[tuple[str, Variable]]] = {}
        # Each object is kept with what was made of it, so that no other object gets its id.
        self._given: dict[tuple[str, int], tuple[NodeOverrides, Mapping[str, ResolvedValue]]] = {}
        self._annotated: dict[int, tuple[ResolvedValue, ResolvedValue]] = {}

    def values(self, node: Node) -> tuple[ResolvedValue, ...]:
        """Return the values of a node, ordered by path. Raises `Refusal`."""
        sources = (node.task, node.overrides.model_dump_json(), *self._hook_sources(node))
        if sources not in self._by_sources:
            values = self._resolve(node)
            self._by_sources[sources] = tuple(self._annotate(values[p]) for p in sorted(values))
            target = self._request.workflow.tasks[node.task].target
            self._variables[sources] = container_values.variables(target, values)
        # Nodes with equal values may have different inputs.
        container_values.check_variables(self._variables[sources], node, self._output_prefix)
        return self._by_sources[sources]

    def _hook_sources(self, node: Node) -> tuple[str, ...]:
        """Return what the hook adds to the sources: names differ, but most name no override."""
        if node.hook is None:
            return ()
        names = [n for n in (node.hook.full_name, node.hook.name) if n in self._named]
        return node.hook.default.model_dump_json(), *names

    def _resolve(self, node: Node) -> dict[str, ResolvedValue]:
        values = {value.path: value for value in self._shared}
        for source, overrides in reversed(list(self._sources(node))):
            values.update(self._values_of(source, overrides))
        values |= {value.path: value for value in self._pool(node)}
        values = container_values.with_primary(values, self._gpu_resource)
        try:
            self._check_program(node, values)
            type_ = self._request.workflow.tasks[node.task].type
            plugin = plugins.value(type_, self._plugin_override, self._executor)
            values |= {} if plugin is None else {plugin.path: plugin}
            _check_environment(values, self._executor)
            pod_policies.check_node(values, self.policies)
            return {
                **values,
                **self._complete_resources(values),
                **container_values.lowered(values, self._gpu_resource, self._task_resource),
            }
        except Refusal as refusal:
            refusal.node = node.id
            raise

    def _value(self, path: str, value: JsonValue, source: str) -> ResolvedValue:
        scope = str(self._part.target) if source == CALLED_PLAN else ""
        return ResolvedValue(path=path, value=value, source=source, scope=scope)

    def _check_program(self, node: Node, values: Mapping[str, ResolvedValue]) -> None:
        """Raise `Refusal` for what the executor cannot run."""
        workflow = self._request.workflow
        program = self._programs.get(node.task)
        if program is None:
            program = Program.of(workflow.tasks[node.task], workflow)
            self._programs[node.task] = program
        image = values.get("container_image")
        named = "" if image is None else str(image.value)
        if reason := self._executor.why_not(program, node.task, named):
            raise Refusal("target", program.target.type, reason)
        container_values.check_image(workflow.tasks[node.task], values)

    def _sources(self, node: Node) -> Iterator[tuple[str, NodeOverrides]]:
        request = self._request
        return node_sources(node, request.workflow, request.launch_plan, request.overrides, request)

    def _values_of(self, source: str, overrides: NodeOverrides) -> Mapping[str, ResolvedValue]:
        """Return the values by path; those of a task, a plan or a default are made once."""
        known = self._given.get((source, id(overrides)))
        if known is None:
            flat = flat_overrides(overrides).items()
            made = {path: self._value(path, value, source) for path, value in flat}
            known = self._given[source, id(overrides)] = overrides, made
        return known[1]

    def _pool(self, node: Node) -> Iterator[ResolvedValue]:
        """Yield what the node takes from its pool. Raises `Refusal`, and `Unreadable`."""
        task = self._request.workflow.tasks[node.task]
        if task.pool is None:
            return
        pool = self._pools[task.pool]
        if isinstance(pool, NotFound):
            raise Refusal("pool", task.pool, str(pool), node=node.id) from pool
        if isinstance(pool, Unreadable):
            raise pool
        yield ResolvedValue(path="pool", value=task.pool, source="task")
        yield ResolvedValue(path="weight", value=task.weight, source="task")
        yield ResolvedValue(path="cohort", value=pool.cohort, source="pool")

    def _complete_resources(
        self, values: Mapping[str, ResolvedValue]
    ) -> Mapping[str, ResolvedValue]:
        """Return the requests and limits that the values lead to. Raises `Refusal`."""
        given = {p: value for p, value in values.items() if p.startswith("resources.")}
        key = tuple((v.path, str(v.value), v.source, v.scope, v.note) for v in given.values())
        if key not in self._resources:
            self._resources[key] = complete_resources(given, self._task_resource)
        return self._resources[key]

    def _annotate(self, value: ResolvedValue) -> ResolvedValue:
        known = self._annotated.get(id(value))
        if known is None:
            known = self._annotated[id(value)] = value, self._executor.annotate(value)
        return known[1]


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


def _pools(
    workflow: Workflow, settings: Settings
) -> Mapping[str, PoolChanged | NotFound | Unreadable]:
    """Return the pool of each task by name, or why there is none."""
    pools: dict[str, PoolChanged | NotFound | Unreadable] = {}
    for name in {task.pool for task in workflow.tasks.values() if task.pool is not None}:
        try:
            pools[name] = settings.pool(name)
        except (NotFound, Unreadable) as error:
            pools[name] = error
    return pools


def _priority(part: Part, settings: Settings) -> ResolvedValue | None:
    """Return the priority of a part's nodes; a missing one counts as 0 where tokens are granted."""
    leaf = records.leaf(settings, "workflow_priority", "priority", part.target)
    own = None if leaf is None else records.value("priority", "workflow_priority.priority", leaf)
    if part.parent is None:
        return own
    return caps.capped(own, _priority(part.parent, settings), absent=0)
