"""Whether an execution can be stored in its log, decided when it is created. Pure.

Propeller resolves an execution later, on settings that may have changed since: it is created only
if there is room for all that its request can contribute.
"""

import json
from collections.abc import Iterable, Iterator, Mapping

from pydantic import JsonValue

from trimtab import placeholders
from trimtab.errors import Invalid
from trimtab.kinds.task_resource import RESOURCES
from trimtab.levels import Scope
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import MAX_BYTES
from trimtab.workflows.graphs.launch_plans import ExecutionConfig, PlanCall, parts
from trimtab.workflows.graphs.node_overrides import NodeOverrides, flat_overrides, flat_values
from trimtab_admin.executions.target_settings import TargetSettings
from trimtab_admin.storage.changes import MAX_EVENT_BYTES

_VARIABLE_BYTES = 80
"""The bytes of a variable of the environment in addition to its name and value."""
_VALUE_BYTES = 400
"""The bytes of other values in addition: their source, the scope of a limit, notes."""
_REFERENCE_BYTES = 7
"""A number in the list of a node's values, with its comma."""


def check(request: Request, settings: TargetSettings) -> None:
    """Raise `Invalid` if the request fits into no message, or the resolution is too large."""
    size = len(request.model_dump_json().encode())
    if size > MAX_EVENT_BYTES:
        allowed = f"workflow and inputs of at most {MAX_EVENT_BYTES} bytes together"
        raise Invalid("inputs", f"{size} bytes", allowed)
    size = most_resolution_bytes(request, settings)
    if size > MAX_BYTES:
        raise Invalid(
            "workflow",
            f"{len(request.workflow.nodes)} nodes whose values take up to {size} bytes",
            f"at most {MAX_BYTES} bytes; values that nodes share count once",
        )


def most_resolution_bytes(request: Request, settings: TargetSettings) -> int:
    """Return at least the size of the resolution, in which values that nodes share are once."""
    values = set(_values_of_nodes(request))
    total = sum(map(_size, values)) + sum(map(_size, _values_of_settings(settings, request)))
    for config in (request, request.launch_plan):
        total += sum(map(_size, _values_of_config(config)))
    if request.workflow.plans:
        total += sum(_bytes_of_calls(request, settings))
    return total + sum(_references(request))


Value = tuple[str, str]
"""The path of a value, and the value as JSON."""


def _size(value: Value) -> int:
    path, text = value
    if path.startswith("environment."):
        return _VARIABLE_BYTES + len(path.encode()) + len(text.encode())
    # A note may repeat the value, and limits are derived from requests.
    return 2 * (_VALUE_BYTES + len(path.encode()) + 2 * len(text.encode()))


def _values_of_nodes(request: Request) -> Iterator[Value]:
    for node in request.workflow.nodes:
        yield from _values(node.overrides)
        if node.hook is not None:
            yield from _values(node.hook.default)
    for task in request.workflow.tasks.values():
        yield from _values(task.config)
        yield "pool", json.dumps(task.pool)
        yield "weight", json.dumps(task.weight)
    for overrides in (*request.overrides.values(), *request.launch_plan.runtime_override.values()):
        yield from _values(overrides)


def _values(overrides: NodeOverrides) -> Iterator[Value]:
    yield from _texts(flat_overrides(overrides))


def _values_of_config(config: ExecutionConfig) -> Iterator[Value]:
    fields = set(ExecutionConfig.model_fields)
    yield from _texts(flat_values(config.model_dump(include=fields, exclude_none=True)))


def _values_of_settings(
    settings: TargetSettings, request: Request, called: Scope | None = None
) -> Iterator[Value]:
    """Yield the values of the execution, or of the target of a called launch plan.

    The text of each is with the placeholders, which a note may have, and with them filled.
    """
    names = _names(request.target if called is None else called, request.execution)
    for kind, effective in settings.effective.items():
        for path, leaf in effective.leaves.items():
            text = json.dumps(leaf.value)
            if (filled := placeholders.fill(text, names)) != text:
                text += filled
            yield f"{kind}.{path}.{leaf.scope}{called or ''}", text
    yield from _texts(flat_values({"labels": dict(settings.project_labels)}))
    # Completed from the defaults.
    for resource in RESOURCES:
        yield f"resources.requests.{resource}", ""


def _names(target: Scope, execution: str) -> Mapping[str, str]:
    """Return the values of the placeholders."""
    return {
        "project": target.project,
        "domain": target.domain,
        "workflow": target.workflow,
        "launch_plan": target.launch_plan or target.workflow,
        "execution": execution,
    }


def _texts(values: Mapping[str, JsonValue]) -> Iterator[Value]:
    for path, value in values.items():
        yield path, json.dumps(value)


def _references(request: Request) -> Iterable[int]:
    """Yield the bytes that name each node, and number its values."""
    profiles = set()
    for node in request.workflow.nodes:
        own = sum(1 for _ in _values(node.overrides))
        own += 0 if node.hook is None else 1 + sum(1 for _ in _values(node.hook.default))
        yield len(node.id.encode()) + 6 + _REFERENCE_BYTES * (1 + 2 * own)
        # Variables of a node are its own values, all others may be part of a profile.
        others = node.overrides.model_dump_json(exclude={"environment"}) if own else ""
        if (node.task, others) not in profiles:
            profiles.add((node.task, others))
            yield _REFERENCE_BYTES * 4 * len(RESOURCES)


def _bytes_of_calls(request: Request, settings: TargetSettings) -> Iterator[int]:
    """Yield the bytes that calls of launch plans add: their values, and numbers of values."""
    calls = request.workflow.plans
    chains = parts(calls)
    for target in {call.target for call in calls.values()}:
        yield from map(_size, _values_of_settings(settings.called[target], request, target))
    numbers = {"": _most_values(request, settings, request.launch_plan)}
    longest = max(len(str(call.target).encode()) for call in calls.values())
    known: set[int] = set()
    for name, call in calls.items():
        numbers[name] = _most_values(request, settings.called[call.target], call.config)
        yield len(name.encode()) + 6 + _REFERENCE_BYTES
        if chains[name] not in known:
            known.add(chains[name])
            yield from map(_size, _values_of_call(call))
            # Two values may be lowered to those around it.
            yield 2 * (_VALUE_BYTES + longest) + _REFERENCE_BYTES * numbers[name]
    yield from _bytes_of_parts(request, chains, numbers)


def _bytes_of_parts(
    request: Request, chains: Mapping[str, int], numbers: Mapping[str, int]
) -> Iterator[int]:
    """Yield the bytes by which nodes differ only because they are in different parts."""
    known: set[object] = set()
    lowered: set[object] = set()
    given = (*request.overrides.values(), *request.launch_plan.runtime_override.values())
    for node in request.workflow.nodes:
        part = chains.get(node.plan)
        # What all nodes of a part share is a value of each of them, as other parts do not have it.
        others = node.overrides.model_dump_json(exclude={"environment"})
        if node.overrides.environment or (node.task, others, part) not in known:
            known.add((node.task, others, part))
            yield _REFERENCE_BYTES * numbers[node.plan]
        if part is not None:
            # The limits of each part may lower the resources to other amounts.
            default = () if node.hook is None else (node.hook.default, *given)
            sources = (request.workflow.tasks[node.task].config, node.overrides, *default)
            for path, text in (value for each in sources for value in _resources(each)):
                if (path, text, part) not in lowered:
                    lowered.add((path, text, part))
                    yield _size((path, text))


def _resources(overrides: NodeOverrides) -> Iterator[Value]:
    if overrides.resources is not None:
        yield from _values(NodeOverrides(resources=overrides.resources))


def _values_of_call(call: PlanCall) -> Iterator[Value]:
    """Yield the values of a called launch plan, each of which names it as its source."""
    for path, text in _values_of_config(call.config):
        yield f"{path}.{call.target}", text


def _most_values(request: Request, settings: TargetSettings, config: ExecutionConfig) -> int:
    """Return at least how many values a part has, or each of its nodes because of the part."""
    of_configs = sum(1 for each in (request, config) for _ in _values_of_config(each))
    of_settings = sum(len(effective.leaves) for effective in settings.effective.values())
    return of_configs + of_settings + len(settings.project_labels) + 2 * len(RESOURCES)
