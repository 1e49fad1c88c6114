"""An attempt of a node, with everything that an executor needs to run it. Pure."""

from collections.abc import Mapping
from functools import reduce
from typing import Literal, Self

from pydantic import Field, JsonValue

from trimtab.amounts import ResourceSpec
from trimtab.kinds.workflow_execution_config import OAuth2Client, OAuth2Token, Secret
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import Resolution
from trimtab.models import M, Model
from trimtab.resolution.sources import node_sources
from trimtab.workflows.graphs.graph import Node, Task, Workflow
from trimtab.workflows.graphs.node_overrides import NO_OVERRIDES, PodTemplate, merge_overrides
from trimtab.workflows.graphs.targets import IN_IMAGE, Container, Function, TaskTarget

ProgramKind = Literal["text", "bundle", "image", "container", "pod"]
"""A function, whose code is one text, a bundle, or in its image; a container; a pod."""
CONTAINERS = "containers."
"""The paths of values of containers other than the primary one."""


class Resources(Model):
    """Resolved requests and limits, as Kubernetes quantities."""

    requests: ResourceSpec = ResourceSpec()
    limits: ResourceSpec = ResourceSpec()


class Program(Model):
    """The function, container or pod that the attempts of a task run, with its code."""

    target: TaskTarget = Function()
    module: str = ""
    """Source of the one Python module that defines the function."""
    bundle: str = ""
    """The SHA-256 of the bundle of modules that define the function."""

    @classmethod
    def of(cls, task: Task, workflow: Workflow) -> Self:
        """Return the program of a task of an expanded workflow."""
        target = task.target
        if not isinstance(target, Function):
            return cls(target=target)
        target = target.model_copy(update={"name": target.name or task.name})
        if target.code == IN_IMAGE:
            return cls(target=target)
        if not target.code:
            return cls(target=target, module=workflow.module, bundle=workflow.bundle)
        if (text := workflow.sources.get(target.code)) is not None:
            return cls(target=target, module=text)
        return cls(target=target, bundle=target.code)

    @property
    def module_name(self) -> str:
        """The dotted name of the function's module in a bundle; empty without one."""
        return self.target.module if isinstance(self.target, Function) else ""

    @property
    def kind(self) -> ProgramKind:
        if not isinstance(self.target, Function):
            return "container" if isinstance(self.target, Container) else "pod"
        return "text" if self.module else "bundle" if self.bundle else "image"


class Attempt(Program):
    """One attempt of one node, with every value that it runs with.

    It is complete: an executor reads neither the request nor the resolution.
    """

    execution: str
    node: str
    """Up to 200 letters, digits and ``_ . -`` behind a letter or digit: ``n0.n2`` is node ``n2`` of
    the sub-workflow that ``n0`` calls. An executor shortens it where its own names are shorter."""
    number: int
    """Counted from 0."""
    project: str
    domain: str
    workflow: str
    task: str
    """The name of the task in the workflow."""
    task_type: str = "python"
    plugin: str = ""
    """The plugin that ``plugin_override`` selected; empty is the default of the executor."""
    inputs: dict[str, JsonValue]
    environment: dict[str, str]
    """The resolved variables, and facts of the attempt as ``TRIMTAB_…``."""
    image: str | None = None
    """The container image; ``None`` lets the executor choose."""
    resources: Resources = Resources()
    lowered_resources: dict[str, Resources] = {}
    """Amounts that admission has lowered in other containers of `pod_template`, by their names."""
    timeout_seconds: float = Field(default=0, ge=0)
    """How long the attempt may run before it is ended, and has failed; 0 is without end."""
    pod_template: PodTemplate | None = None
    accelerator: str = ""
    """The device that the task needs; empty is none."""
    shared_memory: bool | str = False
    """The size of ``/dev/shm`` as a quantity; true leaves it to the memory's limit."""
    task_config: dict[str, JsonValue] | None = None
    """Configuration for the type of the task."""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    cluster: str | None = None
    """The name of a cluster of the settings; ``None`` where the settings have no cluster."""
    service_account: str | None = None
    """The name of a Kubernetes ServiceAccount; ``None`` is the default of the namespace."""
    interruptible: bool = False
    """Whether the attempt may run on a machine that can be taken away."""
    priority: int | None = None
    """From ``workflow_priority``."""
    queue: str = ""
    """The name of the queue that the tags of ``execution_queue`` selected; empty is none."""
    queue_system: str = ""
    """``kueue`` or ``child_queue``: where the name of the queue goes; empty without a queue."""
    secrets: tuple[Secret, ...] = ()
    """From ``security_context.secrets``: the names of secrets, and never their values."""
    tokens: tuple[OAuth2Token, ...] = ()
    """From ``security_context.tokens``: the tokens that the task needs, and never their values."""
    oauth2_client: OAuth2Client | None = None
    """From ``security_context.run_as``, as the next two."""
    iam_role: str | None = None
    execution_identity: str | None = None
    output_prefix: str = ""
    """From ``raw_output_data_config``: the directory below which paths of outputs are."""
    by_platform_admin: bool = False
    """Whether an admin of the platform requested the execution."""

    @classmethod
    def from_resolution(
        cls,
        request: Request,
        resolution: Resolution,
        node: Node,
        number: int,
        inputs: Mapping[str, JsonValue],
    ) -> Self:
        """Build the attempt from the values that were stored when its execution was admitted."""
        of_part = resolution.of_part(node.plan)
        values = {each.path: each.value for each in (*of_part, *resolution.nodes[node.id])}
        task = request.workflow.tasks[node.task]
        resources = _resources("", values)
        facts = {**_facts(request, node, number), **_resource_variables(resources)}
        return cls.model_validate(
            {
                **_resolved(values),
                "execution": request.execution,
                "node": node.id,
                "number": number,
                "project": request.project,
                "domain": request.domain,
                "workflow": request.workflow.name,
                **dict(Program.of(task, request.workflow)),
                "task": node.task,
                "task_type": task.type,
                "inputs": dict(inputs),
                "environment": {**resolution.environment(node.id), **facts},
                "resources": resources,
                "task_config": _task_config(request, node),
                "by_platform_admin": request.by_platform_admin,
            }
        )

    @classmethod
    def unknown(cls, execution: str, node: str, number: int) -> Self:
        """Return an attempt of which only the name is known: it can be found and stopped."""
        return cls(
            execution=execution,
            node=node,
            number=number,
            project="",
            domain="",
            workflow="",
            task="",
            inputs={},
            environment={},
        )

    @property
    def function(self) -> str:
        """The name of the task in its module."""
        own = self.target.name if isinstance(self.target, Function) else ""
        return own or self.task

    @property
    def id(self) -> str:
        """A name that is unique in the installation; the id of the attempt's token too."""
        return f"{self.execution}/{self.node}/{self.number}"

    def with_fence(self, fence: int | None) -> "Attempt":
        """Return the attempt with the fence of its token as ``TRIMTAB_FENCE``, if it has one."""
        if fence is None:
            return self
        environment = {**self.environment, "TRIMTAB_FENCE": str(fence)}
        return self.model_copy(update={"environment": environment})


def _facts(request: Request, node: Node, number: int) -> dict[str, str]:
    """Return the facts of an attempt, as variables of its task."""
    return {
        "TRIMTAB_EXECUTION": request.execution,
        "TRIMTAB_PROJECT": request.project,
        "TRIMTAB_DOMAIN": request.domain,
        "TRIMTAB_WORKFLOW": request.workflow.name,
        "TRIMTAB_NODE": node.id,
        "TRIMTAB_ATTEMPT": str(number),
    }


def _resolved(values: Mapping[str, JsonValue]) -> dict[str, object]:
    """Return the fields of an attempt that are resolved values."""
    run_as = "security_context.run_as"
    return {
        "plugin": values.get("plugin", ""),
        "image": values.get("container_image"),
        "lowered_resources": _lowered_resources(values),
        "timeout_seconds": values.get("timeout_seconds", 0),
        "pod_template": values.get("pod_template"),
        "accelerator": values.get("accelerator", ""),
        "shared_memory": values.get("shared_memory", False),
        "labels": _below("labels", values),
        "annotations": _below("annotations", values),
        "cluster": values.get("cluster"),
        "service_account": values.get(f"{run_as}.k8s_service_account"),
        "interruptible": values.get("interruptible", False),
        "priority": values.get("priority"),
        "queue": values.get("queue", ""),
        "queue_system": values.get("queue_system", ""),
        "secrets": _listed("security_context.secrets", Secret, values),
        "tokens": _listed("security_context.tokens", OAuth2Token, values),
        "oauth2_client": _client(values),
        "iam_role": values.get(f"{run_as}.iam_role"),
        "execution_identity": values.get(f"{run_as}.execution_identity"),
        "output_prefix": values.get("raw_output_data_config.output_location_prefix", ""),
    }


def _resources(prefix: str, values: Mapping[str, JsonValue]) -> Resources:
    groups = ("requests", "limits")
    return Resources.model_validate(
        {group: _below(f"{prefix}resources.{group}", values) for group in groups},
        extra="ignore",  # A later release, which has admitted it, may know more resources.
    )


def _lowered_resources(values: Mapping[str, JsonValue]) -> dict[str, Resources]:
    """Return the amounts that are stored as ``containers.<name>.resources.requests.cpu``."""
    names = {path.split(".")[1] for path in values if path.startswith(CONTAINERS)}
    return {name: _resources(f"{CONTAINERS}{name}.", values) for name in sorted(names)}


def _task_config(request: Request, node: Node) -> dict[str, JsonValue] | None:
    """Return the configuration whose values the resolution lists.

    Its paths do not show which dots are part of a key.
    """
    sources = node_sources(node, request.workflow, request.launch_plan, request.overrides, request)
    configs = [overrides for _, overrides in sources if overrides.task_config is not None]
    return reduce(merge_overrides, reversed(configs), NO_OVERRIDES).task_config


def _listed(path: str, model: type[M], values: Mapping[str, JsonValue]) -> tuple[M, ...]:
    listed = values.get(path) or ()
    assert isinstance(listed, list | tuple)
    # A later release, which has admitted them, may know more fields.
    return tuple(model.model_validate(each, extra="ignore") for each in listed)


def _client(values: Mapping[str, JsonValue]) -> OAuth2Client | None:
    given = values.get("security_context.run_as.oauth2_client")
    return None if given is None else OAuth2Client.model_validate(given, extra="ignore")


def _below(prefix: str, values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the values whose path begins with the prefix, by the rest of their path."""
    prefix += "."
    return {p.removeprefix(prefix): value for p, value in values.items() if p.startswith(prefix)}


def _resource_variables(resources: Resources) -> dict[str, str]:
    """Return variables such as ``TRIMTAB_REQUESTS_CPU`` and ``TRIMTAB_LIMITS_MEMORY``."""
    return {
        f"TRIMTAB_{group}_{resource}".upper(): amount
        for group, spec in (("requests", resources.requests), ("limits", resources.limits))
        for resource, amount in spec.model_dump(exclude_none=True).items()
    }
