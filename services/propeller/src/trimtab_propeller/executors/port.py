"""The port between propeller and whatever runs attempts: `Executor`, its values and errors. Pure.

A new implementation has to pass ``tests/integration/propeller/executor_contract.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Literal, NewType, Protocol, Self

from pydantic import Field, JsonValue

from trimtab.amounts import ResourceSpec
from trimtab.errors import Invalid, Rejected, Retryable, TrimtabError
from trimtab.kinds.workflow_execution_config import Secret
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import Resolution, ResolvedValue
from trimtab.models import Model
from trimtab.resolution.sources import node_sources
from trimtab.workflows.graphs.graph import Node, Task, Workflow
from trimtab.workflows.graphs.node_overrides import NO_OVERRIDES, PodTemplate, merge_overrides
from trimtab.workflows.graphs.targets import IN_IMAGE, Container, Function, TaskTarget

_SHOWN_CHARACTERS = 40
"""The characters of a variable's value that an error repeats."""

ProgramKind = Literal["text", "bundle", "image", "container", "pod"]
"""A function, whose code is one text, a bundle, or in its image; a container; a pod."""


class ExecutorError(TrimtabError):
    """Base of the errors that executors raise."""


class ExecutorUnavailable(ExecutorError, Retryable):
    """The executor cannot do what was requested now; the same call may succeed later."""


class HostUnavailable(ExecutorUnavailable):
    """The executor lacks what every attempt needs, such as processes or room on its disk."""


class AttemptRejected(ExecutorError, Rejected):
    """The executor can never run the attempt as it stands."""


@dataclass(frozen=True)
class EnvironmentLimits:
    """How large the environment of a task may be, in bytes of UTF-8."""

    variable_bytes: int
    """For each variable: its name, its value and the ``=`` between them."""
    total_bytes: int
    """For all variables, with one more byte for each."""


@dataclass(frozen=True)
class Isolation:
    """The restriction of tasks: what an executor enforces here, and what it cannot enforce."""

    mechanism: str = ""
    """The mechanism that enforces it, with its version: ``Landlock ABI 7``. Empty where an executor
    declares nothing."""
    enforced: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """The rest, which it cannot enforce here. Then only admins of the platform may execute."""
    needed: str = ""
    """The mechanism that would enforce the rest: ``Landlock ABI 6``."""

    def __str__(self) -> str:
        enforced = f"{self.mechanism}: {', '.join(self.enforced) or 'nothing'}"
        return f"{enforced}; only admins execute" if self.missing else enforced


@dataclass(frozen=True)
class Capabilities:
    """The name of an executor, the values that it does not apply, its limits and isolation."""

    name: str
    ignores: tuple[str, ...] = ()
    """Paths of resolved values. A path includes everything below it."""
    environment_limits: EnvironmentLimits | None = None
    """``None`` where the executor has none."""
    isolation: Isolation = Isolation()
    runs: frozenset[ProgramKind] = frozenset({"text", "bundle", "image", "container", "pod"})

    def why_not(self, program: "Program", task: str, image: str) -> str:
        """Return why no attempt of a task can run, and the remedy; empty where one can.

        ``image`` is empty where the task has none.
        """
        if program.kind in self.runs:
            is_named = program.kind != "bundle" or program.module_name
            return "" if is_named else f'task "{task}" names no module of its bundle'
        where, remedy = _PROGRAMS[program.kind]
        runs = " ".join(filter(None, (where, image if program.kind != "pod" else "")))
        return f'task "{task}" {runs}, which the {self.name} executor cannot run; {remedy}'

    def why_admins_only(self) -> str:
        """Return why only admins of the platform may execute; empty where others may too."""
        if not self.isolation.missing:
            return ""
        return (
            "only an admin of the platform may execute here, because the "
            f"{self.name} executor cannot isolate tasks: {self.isolation.mechanism} does not "
            f"restrict {', '.join(self.isolation.missing)}; {self.isolation.needed} is needed"
        )

    def check_environment(self, environment: Mapping[str, str]) -> None:
        """Raise `Invalid` where the executor could not start a task with these variables."""
        total = 0
        for name, value in environment.items():
            path, text = f"environment.{name}", f"{name}={value}"
            if not name or "=" in name or "\0" in text or not _is_utf8(text):
                raise Invalid(path, _shortened(value), "a name without = and text without NUL")
            size = len(text.encode())
            total += size + 1
            limits = self.environment_limits
            if limits is not None and size > limits.variable_bytes:
                allowed = f"at most {limits.variable_bytes} bytes, the name included, not {size}"
                raise Invalid(path, _shortened(value), allowed)
        if self.environment_limits is not None and total > self.environment_limits.total_bytes:
            allowed = f"at most {self.environment_limits.total_bytes} bytes in all variables"
            raise Invalid("environment", f"{total} bytes", allowed)

    def annotate(self, value: ResolvedValue) -> ResolvedValue:
        """Return the value, with a note where the executor does not apply it."""
        if not any(value.path == p or value.path.startswith(p + ".") for p in self.ignores):
            return value
        ignored = f"ignored by the {self.name} executor"
        return value.model_copy(update={"note": "; ".join(filter(None, [value.note, ignored]))})


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shortened(value: str) -> str:
    return value if len(value) <= _SHOWN_CHARACTERS else f"{value[:_SHOWN_CHARACTERS]}…"


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


_REMEDY = "a Python function, which @task without container and pod defines, can run here"
_PROGRAMS: Mapping[ProgramKind, tuple[str, str]] = {
    "container": ("runs container image", _REMEDY),
    "pod": ("runs a pod", _REMEDY),
    "image": ("has its code in a container image", "register its files, without --image"),
    "text": ("runs the text of a module", "register its directory"),
    "bundle": ("runs a bundle of modules", "register a single file"),
}
"""The words of an error for each kind of program, and the remedy."""


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
    inputs: dict[str, JsonValue]
    environment: dict[str, str]
    """The resolved variables, and facts of the attempt as ``TRIMTAB_…``."""
    image: str | None = None
    """The container image; ``None`` lets the executor choose."""
    resources: Resources = Resources()
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
    queue_tags: tuple[str, ...] = ()
    """From ``execution_queue``."""
    secrets: tuple[Secret, ...] = ()
    """From ``security_context.secrets``: the names of secrets, and never their values."""
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
        values = {r.path: r.value for r in (*resolution.execution, *resolution.nodes[node.id])}
        task = request.workflow.tasks[node.task]
        resources = Resources.model_validate(
            {group: _below(f"resources.{group}", values) for group in ("requests", "limits")},
            extra="ignore",  # A later release, which has admitted it, may know more resources.
        )
        facts = {
            "TRIMTAB_EXECUTION": request.execution,
            "TRIMTAB_PROJECT": request.project,
            "TRIMTAB_DOMAIN": request.domain,
            "TRIMTAB_WORKFLOW": request.workflow.name,
            "TRIMTAB_NODE": node.id,
            "TRIMTAB_ATTEMPT": str(number),
            **_resource_variables(resources),
        }
        return cls.model_validate(
            {
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
                "image": values.get("container_image"),
                "resources": resources,
                "timeout_seconds": values.get("timeout_seconds", 0),
                "pod_template": values.get("pod_template"),
                "accelerator": values.get("accelerator", ""),
                "shared_memory": values.get("shared_memory", False),
                "task_config": _task_config(request, node),
                "labels": _below("labels", values),
                "annotations": _below("annotations", values),
                "cluster": values.get("cluster"),
                "service_account": values.get("security_context.run_as.k8s_service_account"),
                "interruptible": values.get("interruptible", False),
                "priority": values.get("priority"),
                "queue_tags": values.get("execution_queue.tags", ()),
                "secrets": _secrets(values),
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


def _task_config(request: Request, node: Node) -> dict[str, JsonValue] | None:
    """Return the configuration whose values the resolution lists.

    Its paths do not show which dots are part of a key.
    """
    sources = node_sources(node, request.workflow, request.launch_plan, request.overrides, request)
    configs = [overrides for _, overrides in sources if overrides.task_config is not None]
    return reduce(merge_overrides, reversed(configs), NO_OVERRIDES).task_config


def _secrets(values: Mapping[str, JsonValue]) -> tuple[Secret, ...]:
    named = values.get("security_context.secrets") or ()
    assert isinstance(named, list | tuple)
    # A later release, which has admitted them, may know more fields.
    return tuple(Secret.model_validate(each, extra="ignore") for each in named)


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


Location = NewType("Location", str)
"""Where an attempt runs, for people: a directory of a host. The execution log records it."""


@dataclass(frozen=True)
class Absent:
    """The attempt was never started."""


@dataclass(frozen=True)
class Running:
    """The attempt was started and has not ended."""

    location: Location


@dataclass(frozen=True)
class Returned:
    """The task's function returned."""

    output: JsonValue


@dataclass(frozen=True)
class Failed:
    """The task failed. Another attempt counts as a retry."""

    error: str


@dataclass(frozen=True)
class Interrupted:
    """The attempt ended without its task's doing. Another attempt does not count as a retry."""

    error: str


@dataclass(frozen=True)
class Stopped:
    """Propeller ended the attempt, by `Executor.stop` or `Executor.request_stop_of_all`, or could
    start none at that time.

    Another attempt counts neither as a retry nor as an interruption.
    """

    error: str


Outcome = Returned | Failed | Interrupted | Stopped
"""How an attempt ended. It never changes."""
AttemptState = Absent | Running | Outcome


class Executor(Protocol):
    """Runs attempts and keeps their outcomes.

    Attempts outlive the process that started them: any instance over the same data, or the same
    cluster, finds, waits for and stops what another one started. Every method raises
    `ExecutorUnavailable` where the executor itself does not work.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def location(self) -> str:
        """The identity of where its attempts run.

        It is equal for instances that find, and can stop, the same attempts, and only for them.
        """

    async def check(self) -> None:
        """Check that attempts can be started, without any.

        Raises `ExecutorUnavailable` where none can, whatever it is.
        """

    async def find(self, attempt: Attempt) -> AttemptState:
        """Return the current state of an attempt, whichever instance started it."""

    async def fetch(self, attempt: Attempt) -> None:
        """Fetch the code that an attempt needs, so that its start does not have to wait for it.

        It may be deleted again before the start. Raises `AttemptRejected` where it never can be
        fetched.
        """

    async def start(self, attempt: Attempt) -> Location:
        """Start an attempt unless it was started before, even if it has ended since.

        Raises `AttemptRejected` where the attempt can never be started.
        """

    async def wait(self, attempt: Attempt) -> Outcome:
        """Wait for the end of an attempt that was started."""

    async def stop(self, attempt: Attempt) -> Outcome:
        """End an attempt that was started: on request, and by force after a grace.

        Return the outcome that an attempt had before, if it has ended.
        """

    def close(self) -> None:
        """End what this instance has started for itself. The attempts go on."""

    async def request_stop_of_all(self) -> None:
        """Request the end of every running attempt that this instance started or adopted.

        Return when they have ended, or their grace is over.
        """
