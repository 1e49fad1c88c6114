"""The containers of a pod template, as far as admission resolves and checks them. Pure.

The requests and limits that the primary container has there are values of the node, which every
other source replaces. Those of other containers are values only where they are lowered to a limit.
"""

from collections.abc import Iterator, Mapping, Sequence

from pydantic import JsonValue

from trimtab.errors import Invalid
from trimtab.kinds.task_resource import RESOURCES
from trimtab.messages.resolutions import ResolvedValue
from trimtab.resolution.limits import Refusal, enforce
from trimtab.settings.fold import Effective, Leaf
from trimtab.workflows.graphs import command_templates, pod_specs
from trimtab.workflows.graphs.command_templates import Variable
from trimtab.workflows.graphs.graph import Node, Task
from trimtab.workflows.graphs.node_overrides import PodTemplate
from trimtab.workflows.graphs.targets import Pod, TaskTarget
from trimtab_propeller.executors.attempt import CONTAINERS
from trimtab_propeller.pods.resources import kubernetes_names

_SOURCE = "pod_template"
Values = Mapping[str, ResolvedValue]
Container = Mapping[str, JsonValue]


def with_primary(values: Values, gpu_resource: str) -> dict[str, ResolvedValue]:
    """Return the values, with the requests and limits of the primary container below them."""
    template = _template(values)
    if template is None:
        return dict(values)
    for container in _containers(template):
        if container["name"] == template.primary_container_name:
            own = _amounts("", container, gpu_resource)
            return {**{value.path: value for value in own}, **values}
    return dict(values)


def lowered(
    values: Values, gpu_resource: str, task_resource: Effective
) -> Mapping[str, ResolvedValue]:
    """Return the amounts of the other containers that are lowered to a limit.

    Raises `Refusal` where an amount is over a limit, and the settings do not allow to lower it.
    """
    template = _template(values)
    if template is None:
        return {}
    return {
        value.path: value
        for container in _containers(template)
        if container["name"] != template.primary_container_name
        for value in _lowered(container, gpu_resource, task_resource)
    }


def _lowered(
    container: Container, gpu_resource: str, task_resource: Effective
) -> Iterator[ResolvedValue]:
    prefix = f"{CONTAINERS}{container['name']}."
    own = {value.path: value for value in _amounts(prefix, container, gpu_resource)}
    for resource in RESOURCES:
        request = own.get(f"{prefix}resources.requests.{resource}")
        limit = own.get(f"{prefix}resources.limits.{resource}")
        for value in enforce(resource, request, limit, task_resource):
            if value is not None and value != own[value.path]:
                yield value


def variables(target: TaskTarget, values: Values) -> Sequence[tuple[str, Variable]]:
    """Return the variables in the commands of a node's containers, with the paths of their texts.

    Raises `Refusal` on a variable that there is not.
    """
    found = [(f"target.{at}", each) for at, each in command_templates.of_target(target)]
    if (template := _template(values)) is not None:
        of_template = command_templates.of_template(target, template)
        found += [(f"pod_template.{at}", each) for at, each in of_template]
    return found


def check_variables(
    variables: Sequence[tuple[str, Variable]], node: Node, output_prefix: Leaf | None
) -> None:
    """Raise `Refusal` on a variable that has no value in the attempts of a node."""
    try:
        command_templates.check("", variables, node.inputs)
    except Invalid as error:
        raise Refusal(error.path, error.value, str(error), node=node.id) from error
    for path, variable in variables:
        if variable.name in command_templates.PATHS and output_prefix is None:
            needed = "workflow_execution_config.raw_output_data_config.output_location_prefix"
            message = f"{path}: {{{{.{variable.name}}}}} needs {needed}, which no record sets"
            raise Refusal(path, f"{{{{.{variable.name}}}}}", message, node=node.id)


def check_image(task: Task, values: Values) -> None:
    """Raise `Refusal` where the task is a pod whose primary container has no image."""
    if "container_image" in values or not isinstance(task.target, Pod):
        return
    template = _template(values) or PodTemplate()
    primary = template.primary_container_name
    if not any(c["name"] == primary and c.get("image") for c in _containers(template)):
        message = f'the container "{primary}", which runs task "{task.name}", has no image'
        raise Refusal("container_image", None, message)


def _template(values: Values) -> PodTemplate | None:
    found = values.get("pod_template")
    return None if found is None else PodTemplate.model_validate(found.value)


def _containers(template: PodTemplate) -> Iterator[Container]:
    return (container for _, container in pod_specs.containers("", template.pod_spec))


def _amounts(prefix: str, container: Container, gpu_resource: str) -> Iterator[ResolvedValue]:
    own = container.get("resources") or {}
    assert isinstance(own, dict)
    ours = {k8s: name for name, k8s in kubernetes_names(gpu_resource).items()}
    for group in ("requests", "limits"):
        amounts = own.get(group) or {}
        assert isinstance(amounts, dict)
        for name, amount in amounts.items():
            if resource := ours.get(gpu_resource if name == "gpu" else name):
                path = f"{prefix}resources.{group}.{resource}"
                yield ResolvedValue(path=path, value=str(amount), source=_SOURCE)
