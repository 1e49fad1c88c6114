"""An execution: its request, its log of events, the state that the log gives, its resolution. Pure.

The log is the execution's state. Each event carries its number in the log and the owner that
appended it. Propeller appends with a compare-and-set on the subject; admin stores a projection.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import not_
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    AwareDatetime,
    Field,
    JsonValue,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json, to_json

from trimtab.errors import Invalid
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import Event
from trimtab.messages.resolutions import Resolution, ResolutionBlob
from trimtab.models import Model
from trimtab.workflows.graphs.graph import Workflow
from trimtab.workflows.graphs.launch_plans import ExecutionConfig, LaunchPlan, target
from trimtab.workflows.graphs.node_overrides import NodeOverrides

Phase = Literal["requested", "running", "succeeded", "failed", "refused"]
NodePhase = Literal["waiting", "starting", "running", "succeeded", "failed"]
ENDED: frozenset[Phase] = frozenset({"succeeded", "failed", "refused"})


def _is_absent(value: object) -> bool:
    return value is None


class Request(ExecutionConfig, extra="ignore"):
    """The complete request of an execution: propeller needs nothing else to run it."""

    execution: str
    """The id of the execution, unique in the installation."""
    project: str
    domain: str
    workflow: Workflow
    launch_plan: LaunchPlan
    inputs: dict[str, JsonValue] = {}
    """The inputs, with the defaults of workflow and launch plan filled in."""
    overrides: dict[str, NodeOverrides] = {}
    """Run-time overrides by the name of the hook."""
    revision: int = 0
    """The execution sees at least this revision of the settings."""
    by_platform_admin: bool = Field(default=False, exclude_if=not_)
    """Whether an admin of the platform requested the execution. Where tasks cannot be isolated, no
    other one runs. Absent in requests of earlier releases."""

    created_at: AwareDatetime | None = Field(default=None, exclude_if=_is_absent)
    """When the execution was created; the queueing budget begins then. Absent in requests of
    earlier releases, whose budget begins with the first claim."""

    @property
    def target(self) -> Scope:
        return target(self.project, self.domain, self.workflow.name, self.launch_plan.name)


class ExecutionRequested(Event):
    """An execution was requested, and one propeller must claim it."""

    request: Request


class LogEvent(Model, extra="ignore"):
    """The fields that each event of a log has. Readers ignore fields that they do not know."""

    execution: str
    """The id of the execution."""
    index: int = Field(ge=0, lt=2**31)
    """The number of the event in its log, from 0."""
    owner: str
    """The propeller that appended the event."""
    epoch: int = Field(ge=0, lt=2**31)
    """The number of the claim that the owner acted under."""
    at: AwareDatetime
    """When the owner appended the event."""
    ends: bool = False
    """Whether the execution ends with the event, for a release that does not know its type."""

    @property
    def event_type(self) -> str:
        """The CloudEvents type, such as ``trimtab.execution.node_starting.v1``."""
        name = type(self).model_fields["type"].default
        return f"trimtab.execution.{name}.v1"

    def body(self) -> bytes:
        return self.model_dump_json().encode()


class Owned(LogEvent):
    """A propeller claimed the execution, or took it over."""

    type: Literal["owned"] = "owned"
    request: Request | None = None
    """The request, with the first claim only, so that the log alone is enough to continue."""
    location: str = ""
    """The location whose attempts the owner can see. Empty in logs of older releases."""


class Admitted(LogEvent):
    """The execution may run. Its resolution is final: later changes of settings do not apply."""

    type: Literal["admitted"] = "admitted"
    resolution: Resolution | None = None
    """``None`` where a blob has it."""
    blob: ResolutionBlob | None = Field(default=None, exclude_if=not_)
    """Releases that do not know the field cannot read the event."""

    @model_validator(mode="after")
    def _check_resolution(self) -> Self:
        if (self.resolution is None) == (self.blob is None):
            raise ValueError("either a resolution, or the blob that has it")
        return self

    def body(self) -> bytes:
        content = self.model_dump(exclude={"resolution"})
        if self.resolution is not None:
            content["resolution"] = self.resolution.content()
        return to_json(content)


class Refused(LogEvent):
    """The execution ended before it ran: a value is over a limit, or a setting is unreadable."""

    type: Literal["refused"] = "refused"
    ends: bool = True
    node: str = ""
    path: str
    value: JsonValue = None
    limit: JsonValue = None
    scope: str = ""
    """The scope of the record that sets the limit."""
    message: str


class NodeWaiting(LogEvent):
    """The node could start, but waits for a token, or for its code."""

    type: Literal["node_waiting"] = "node_waiting"
    node: str
    attempt: int
    pool: str
    """Empty where the node does not wait for a token."""
    reason: str
    position: int | None = None
    """The position in the queue of the pool, 1 is next; ``None`` where there is no queue."""


class NodeStarting(LogEvent):
    """An attempt is about to start. Appended before it has any side effect."""

    type: Literal["node_starting"] = "node_starting"
    node: str
    attempt: int
    fence: int | None = None
    """The fence of the token that the attempt holds; a propeller that takes over keeps it."""
    lease_seconds: float | None = None
    """How long the lease of that token lasts after a renewal; ``None`` where it does not end, where
    the attempt holds no token, and in logs of older releases."""
    location: str = ""
    """The location that the attempt is started at. No propeller of another one can see whether it
    runs, so none takes the execution over before the attempt has ended. Empty in logs of older
    releases."""


class NodeRunning(LogEvent):
    """The executor runs the attempt."""

    type: Literal["node_running"] = "node_running"
    node: str
    attempt: int
    location: str = Field(validation_alias=AliasChoices("location", "place"))
    """For people: the directory of the attempt's process. Logs of older releases name the field
    ``place``."""


class NodeSucceeded(LogEvent):
    """The attempt returned."""

    type: Literal["node_succeeded"] = "node_succeeded"
    node: str
    attempt: int
    output: JsonValue = None


class NodeFailed(LogEvent):
    """The attempt failed, or was interrupted."""

    type: Literal["node_failed"] = "node_failed"
    node: str
    attempt: int
    error: str
    final: bool
    """Whether the node is not tried again."""
    interrupted: bool = Field(False, validation_alias=AliasChoices("interrupted", "lost"))
    """Whether the attempt ended without its task's doing, so that it does not count as a retry.
    Logs of older releases name the field ``lost``."""
    stopped: bool = False
    """Whether propeller stopped the attempt itself, so that it counts neither as a retry nor as
    interrupted. Older releases do not know the field, so ``interrupted`` is set too."""


class Succeeded(LogEvent):
    """The execution ended, and its workflow returned a value."""

    type: Literal["succeeded"] = "succeeded"
    ends: bool = True
    output: JsonValue = None


class Failed(LogEvent):
    """The execution ended without a result."""

    type: Literal["failed"] = "failed"
    ends: bool = True
    node: str
    """The node that failed; empty where the execution failed as a whole."""
    error: str


class UnknownEvent(LogEvent):
    """An event of a type that only a later release knows. It counts in the log and changes no node.

    Never published: readers build it, so that services of two releases can run together.
    """

    type: str
    content: dict[str, JsonValue]
    """The event as it is in the log."""

    @property
    def event_type(self) -> str:
        return f"trimtab.execution.{self.type}.v1"

    def body(self) -> bytes:
        return to_json(self.content)


class UnreadableEvent(LogEvent):
    """An event of a known type that this release cannot parse. It ends the execution as failed.

    Never published: readers build it, so that a log of another release does not stop them.
    """

    type: str = ""
    content: dict[str, JsonValue]
    """The event as it is in the log."""
    problem: str
    """The field that cannot be parsed, and why."""

    @property
    def event_type(self) -> str:
        return f"trimtab.execution.{self.type}.v1"

    def body(self) -> bytes:
        return to_json(self.content)


KnownEvent = Annotated[
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

_KNOWN: TypeAdapter[KnownEvent] = TypeAdapter(KnownEvent)


def _read(content: Any) -> "KnownEvent | UnknownEvent | UnreadableEvent":
    try:
        return _KNOWN.validate_python(content, extra="ignore")
    except ValidationError as error:
        if not isinstance(content, dict) or not isinstance(content.get("type"), str):
            raise
        first = error.errors(include_url=False)[0]
        if first["type"] == "union_tag_invalid":
            return UnknownEvent.model_validate({**content, "content": content})
        problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
        try:
            return UnreadableEvent.model_validate(
                {**content, "content": content, "problem": problem}
            )
        except ValidationError:
            raise error from None


AnyEvent = Annotated[KnownEvent | UnknownEvent | UnreadableEvent, PlainValidator(_read)]
"""An event of a log. One that has a type and the fields of `LogEvent` is at least an
`UnknownEvent` or an `UnreadableEvent`."""


def parse_event(body: bytes | str) -> AnyEvent:
    """Parse an event of a log. Raises ``ValidationError`` where the body is no event at all."""
    try:
        return _KNOWN.validate_json(body, extra="ignore")
    except ValidationError as error:
        if any(each["type"] == "json_invalid" for each in error.errors(include_url=False)):
            raise
        return _read(from_json(body))


def node_of(event: AnyEvent) -> str | None:
    """Return the node whose state the event changes; ``None`` for an event of the execution."""
    match event:
        case NodeWaiting() | NodeStarting() | NodeRunning() | NodeSucceeded() | NodeFailed():
            return event.node
        case _:
            return None


def logged_event(subject: str, body: bytes) -> AnyEvent | None:
    """Return the event in a message of a log; ``None`` where the message is foreign."""
    try:
        event = parse_event(body)
        return event if subjects.events(event.execution) == subject else None
    except (ValidationError, Invalid):
        return None


@dataclass
class NodeState:
    """The state of one node, by the events of the log."""

    phase: NodePhase = "waiting"
    attempt: int = 0
    output: JsonValue = None
    reason: str = ""
    """Why the node waits or failed; empty otherwise."""
    interrupted: int = 0
    """The number of its attempts that were interrupted from outside."""
    stopped: int = 0
    """The number of its attempts that propeller stopped itself."""
    position: int | None = None
    """The position in the queue of its pool, while the node waits there."""
    fence: int | None = None
    """The fence of the token that the current attempt holds."""
    lease_seconds: float | None = None
    """The length of that token's lease, if it is known and ends."""
    location: str = ""
    """Where the current attempt was started, if it was started and that is known."""

    @property
    def is_started(self) -> bool:
        """Whether the current attempt was started and has not ended."""
        return self.phase in ("starting", "running")


@dataclass
class State:
    """The state of an execution, by the events of its log."""

    execution: str = ""
    phase: Phase = "requested"
    owner: str = ""
    epoch: int = 0
    location: str = ""
    """The location of the owner, if it is known."""
    length: int = 0
    """The index of the next event."""
    claimed_at: datetime | None = None
    """When the execution was claimed for the first time."""
    has_started: bool = False
    """Whether an attempt was ever started."""
    request: Request | None = None
    resolution: Resolution | None = None
    resolution_blob: ResolutionBlob | None = None
    """The blob that has the resolution, where the log has not."""
    nodes: dict[str, NodeState] = field(default_factory=dict)
    output: JsonValue = None
    error: str = ""

    def apply(self, event: AnyEvent) -> None:
        """Apply the next event."""
        self.execution, self.length = event.execution, event.index + 1
        self.claimed_at = self.claimed_at or event.at
        match event:
            case Owned():
                self.owner, self.epoch = event.owner, event.epoch
                self.location = event.location
                self.request = event.request or self.request
                self.phase = "running" if self.phase == "requested" else self.phase
            case Admitted():
                self.resolution, self.resolution_blob = event.resolution, event.blob
            case Refused():
                self.phase, self.error = "refused", event.message
            case NodeWaiting():
                self._node(event.node, "waiting", event.attempt, reason=event.reason)
                self.nodes[event.node].position = event.position
            case NodeStarting():
                self.has_started = True
                self._node(event.node, "starting", event.attempt)
                node = self.nodes[event.node]
                node.fence, node.lease_seconds = event.fence, event.lease_seconds
                node.location = event.location
            case NodeRunning():
                started = self.nodes.get(event.node, NodeState())
                self.nodes[event.node] = replace(started, phase="running", attempt=event.attempt)
            case NodeSucceeded():
                self._node(event.node, "succeeded", event.attempt, output=event.output)
            case NodeFailed():
                phase: NodePhase = "failed" if event.final else "waiting"
                attempt = event.attempt + (not event.final)
                self._node(event.node, phase, attempt, reason=event.error)
                self.nodes[event.node].stopped += event.stopped
                self.nodes[event.node].interrupted += event.interrupted and not event.stopped
            case Succeeded():
                self.phase, self.output = "succeeded", event.output
            case Failed():
                self.phase, self.error = "failed", event.error
            case UnknownEvent():
                # Of another owner, it is the claim by which that one took over.
                self.owner, self.epoch = event.owner, event.epoch
                self.phase = "running" if self.phase == "requested" else self.phase
            case UnreadableEvent():
                self.phase = "failed"
                self.error = (
                    f"event {event.index} of the log of {event.execution} cannot be read by this "
                    f"release: {event.problem}"
                )
        if event.ends and not self.ended:
            self.phase, self.error = "failed", _unknown_end(event)

    @property
    def is_admitted(self) -> bool:
        return self.resolution is not None or self.resolution_blob is not None

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
        before = self.nodes.get(node, NodeState())
        self.nodes[node] = NodeState(
            phase, attempt, output, reason, before.interrupted, before.stopped
        )


def _unknown_end(event: AnyEvent) -> str:
    """Return the error of an execution that ended in a way that only a later release knows."""
    content = event.content if isinstance(event, UnknownEvent) else {}
    found = (content.get(name) for name in ("error", "message"))
    reason = next((text for text in found if isinstance(text, str) and text), "")
    end = f"the execution ended with {event.type!r}, which only a later release knows"
    return f"{end}: {reason}" if reason else end


def replay(events: Iterable[AnyEvent]) -> State:
    """Return the state after the events of one log, which may be given in any order.

    Of several events with one index, the first one given counts, because no owner could append
    another one. Events after a gap do not count.
    """
    state = State()
    by_index: dict[int, AnyEvent] = {}
    for event in events:
        by_index.setdefault(event.index, event)
    while (following := by_index.get(state.length)) is not None:
        state.apply(following)
    return state
