"""An execution: its request, its log of events, what the log adds up to, its resolution. Pure.

The log is the execution's state. Every event carries its place in the log and the owner that
appended it; propeller appends with a compare-and-set on the subject, admin keeps a copy.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import AliasChoices, AwareDatetime, Field, JsonValue, TypeAdapter

from trimtab.levels import Scope
from trimtab.messages.events import Event
from trimtab.models import Model
from trimtab.workflows.graph import ExecutionConfig, LaunchPlan, NodeOverrides, Workflow

Phase = Literal["requested", "running", "succeeded", "failed", "refused"]
NodePhase = Literal["waiting", "starting", "running", "succeeded", "failed"]
ENDED: frozenset[Phase] = frozenset({"succeeded", "failed", "refused"})


class Request(ExecutionConfig, extra="ignore"):
    """What an execution was asked to be, complete: propeller needs nothing else to run it."""

    execution: str
    """Unique in the installation."""
    project: str
    domain: str
    workflow: Workflow
    launch_plan: LaunchPlan
    inputs: dict[str, JsonValue] = {}
    """Defaults of workflow and launch plan filled in."""
    overrides: dict[str, NodeOverrides] = {}
    """By hook."""
    revision: int = 0
    """The settings it must see at least."""

    @property
    def target(self) -> Scope:
        plan = self.launch_plan.name
        return Scope(
            self.domain,
            self.project,
            self.workflow.name,
            # The default launch plan is the workflow itself, not a narrower level.
            "" if plan == self.workflow.name else plan,
        )


class ExecutionRequested(Event):
    """An execution that some propeller must take."""

    request: Request


class Resolved(Model, extra="ignore"):
    """One value that a node runs with, and where it is from."""

    path: str
    """``resources.requests.cpu``, ``environment.LOG``, ``retries``, ``labels.team``, …"""
    value: JsonValue
    source: str
    """``execution override``, ``launch plan override``, ``hook default``, ``execution``,
    ``launch plan``, ``with_overrides``, ``task``, ``task_resource.defaults.cpu`` (a record's
    field), ``project`` (its labels), ``request`` or ``limit`` (mirrored from it), ``engine``.
    """
    scope: str = ""
    """Of the record, where it is from one: ``project-domain flyteexamples/development``."""
    revision: int | None = None
    note: str = ""
    """Such as a clamp, or that the executor ignores the field."""


class Resolution(Model, extra="ignore"):
    """Everything an execution runs with, stored once at admission."""

    revision: int
    """Of the view of the settings."""
    executor: str
    execution: tuple[Resolved, ...] = ()
    """What holds for the execution as a whole, ordered by path: ``max_parallelism``, …"""
    nodes: dict[str, tuple[Resolved, ...]]
    """By node id, ordered by path."""

    def value(self, node: str, path: str) -> JsonValue:
        """``None`` where the path has no value."""
        return next((r.value for r in self.nodes[node] if r.path == path), None)

    @property
    def max_parallelism(self) -> int | None:
        """How many nodes may be at work at once; ``None`` where as many as can."""
        found = (r.value for r in self.execution if r.path == "max_parallelism")
        value = next(found, None)
        return value if isinstance(value, int) else None

    def environment(self, node: str) -> dict[str, str]:
        prefix = "environment."
        return {
            r.path.removeprefix(prefix): str(r.value)
            for r in self.nodes[node]
            if r.path.startswith(prefix)
        }


class LogEvent(Model, extra="ignore"):
    """Base of the events of a log. As with `Event`, readers ignore fields they do not know."""

    execution: str
    index: int
    """Place in the log, from 0."""
    owner: str
    epoch: int
    """Which claim in the execution's history the owner acts under."""
    at: AwareDatetime

    @property
    def event_type(self) -> str:
        """Of the CloudEvent: ``trimtab.execution.node_starting.v1``."""
        name = type(self).model_fields["type"].default
        return f"trimtab.execution.{name}.v1"

    def body(self) -> bytes:
        return self.model_dump_json().encode()


class Owned(LogEvent):
    """A propeller claimed the execution, or took it over."""

    type: Literal["owned"] = "owned"
    request: Request | None = None
    """With the first claim, so that the log alone is enough to go on."""


class Admitted(LogEvent):
    """The graph was resolved; nothing is looked up again."""

    type: Literal["admitted"] = "admitted"
    resolution: Resolution


class Refused(LogEvent):
    """A value is over a limit, or a setting cannot be read."""

    type: Literal["refused"] = "refused"
    node: str = ""
    path: str
    value: JsonValue = None
    limit: JsonValue = None
    scope: str = ""
    """Of the limit."""
    message: str


class NodeWaiting(LogEvent):
    """The node is ready to start but has no token."""

    type: Literal["node_waiting"] = "node_waiting"
    node: str
    attempt: int
    pool: str
    reason: str
    position: int | None = None
    """In the line of the pool, 1 is the first; ``None`` where there is none."""


class NodeStarting(LogEvent):
    """Appended before any side effect of the attempt."""

    type: Literal["node_starting"] = "node_starting"
    node: str
    attempt: int
    fence: int | None = None
    """Of the token that it holds, so that whoever takes the execution over can keep it."""


class NodeRunning(LogEvent):
    """The executor has the attempt."""

    type: Literal["node_running"] = "node_running"
    node: str
    attempt: int
    location: str = Field(validation_alias=AliasChoices("location", "place"))
    """The executor's name of where the attempt runs: a directory. Old logs call it ``place``."""


class NodeSucceeded(LogEvent):
    """The attempt returned."""

    type: Literal["node_succeeded"] = "node_succeeded"
    node: str
    attempt: int
    output: JsonValue = None


class NodeFailed(LogEvent):
    """The attempt failed."""

    type: Literal["node_failed"] = "node_failed"
    node: str
    attempt: int
    error: str
    final: bool
    """Whether no attempt is left."""
    interrupted: bool = Field(False, validation_alias=AliasChoices("interrupted", "lost"))
    """Whether the attempt ended without its task's doing, so that it does not count as a retry. Old
    logs call it ``lost``."""


class Succeeded(LogEvent):
    """The end, with what the workflow returned."""

    type: Literal["succeeded"] = "succeeded"
    output: JsonValue = None


class Failed(LogEvent):
    """The end, because a node failed for good."""

    type: Literal["failed"] = "failed"
    node: str
    error: str


AnyEvent = Annotated[
    Owned
    | Admitted
    | Refused
    | NodeWaiting
    | NodeStarting
    | NodeRunning
    | NodeSucceeded
    | NodeFailed
    | Succeeded
    | Failed,
    Field(discriminator="type"),
]

_EVENT: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


def parse_event(body: bytes | str) -> AnyEvent:
    """Raises pydantic's ``ValidationError``."""
    return _EVENT.validate_json(body)


@dataclass
class NodeState:
    """What the log says of one node."""

    phase: NodePhase = "waiting"
    attempt: int = 0
    output: JsonValue = None
    reason: str = ""
    """Why it waits or failed."""
    interrupted: int = 0
    """The number of its attempts that were interrupted."""
    position: int | None = None
    """In the line of its pool, while it waits."""
    fence: int | None = None
    """Of the token of the attempt that is at work."""


@dataclass
class State:
    """What a log adds up to."""

    execution: str = ""
    phase: Phase = "requested"
    owner: str = ""
    epoch: int = 0
    length: int = 0
    """The index of the next event."""
    request: Request | None = None
    resolution: Resolution | None = None
    nodes: dict[str, NodeState] = field(default_factory=dict)
    output: JsonValue = None
    error: str = ""

    def apply(self, event: AnyEvent) -> None:
        """Take the next event in."""
        self.execution, self.length = event.execution, event.index + 1
        match event:
            case Owned():
                self.owner, self.epoch = event.owner, event.epoch
                self.request = event.request or self.request
                self.phase = "running" if self.phase == "requested" else self.phase
            case Admitted():
                self.resolution = event.resolution
            case Refused():
                self.phase, self.error = "refused", event.message
            case NodeWaiting():
                self._node(event.node, "waiting", event.attempt, reason=event.reason)
                self.nodes[event.node].position = event.position
            case NodeStarting():
                self._node(event.node, "starting", event.attempt)
                self.nodes[event.node].fence = event.fence
            case NodeRunning():
                fence = self.nodes[event.node].fence if event.node in self.nodes else None
                self._node(event.node, "running", event.attempt)
                self.nodes[event.node].fence = fence
            case NodeSucceeded():
                self._node(event.node, "succeeded", event.attempt, output=event.output)
            case NodeFailed():
                phase: NodePhase = "failed" if event.final else "waiting"
                attempt = event.attempt + (not event.final)
                self._node(event.node, phase, attempt, reason=event.error)
                self.nodes[event.node].interrupted += event.interrupted
            case Succeeded():
                self.phase, self.output = "succeeded", event.output
            case Failed():
                self.phase, self.error = "failed", event.error

    @property
    def ended(self) -> bool:
        return self.phase in ENDED

    def _node(
        self,
        node: str,
        phase: NodePhase,
        attempt: int,
        output: JsonValue = None,
        reason: str = "",
    ) -> None:
        interrupted = self.nodes[node].interrupted if node in self.nodes else 0
        self.nodes[node] = NodeState(phase, attempt, output, reason, interrupted)


def replay(events: Iterable[AnyEvent]) -> State:
    """The state after events of one log, in the order of their index whatever order they come in.

    An event that is there twice counts once; behind a gap nothing counts.
    """
    state = State()
    by_index: Mapping[int, AnyEvent] = {event.index: event for event in events}
    while (event := by_index.get(state.length)) is not None:
        state.apply(event)
    return state
