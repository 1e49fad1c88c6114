"""An execution's log: the state that it gives, in whatever order and how often it is delivered."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from trimtab import models
from trimtab.errors import Invalid
from trimtab.levels import Scope
from trimtab.messages import executions, subjects
from trimtab.messages.executions import (
    Admitted,
    AnyEvent,
    Failed,
    NodeFailed,
    NodeRunning,
    NodeStarting,
    NodeSucceeded,
    NodeWaiting,
    Owned,
    Refused,
    Request,
    State,
    Succeeded,
    replay,
)
from trimtab.messages.resolutions import Resolution, ResolvedValue
from trimtab.testing import entry, request, workflow
from trimtab.workflows.graphs.graph import Workflow
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab.workflows.graphs.node_overrides import NodeOverrides, ResourceOverrides

RESOLUTION = Resolution(
    revision=3,
    executor="process",
    nodes={
        "n0": (
            ResolvedValue(path="environment.LOG", value="debug", source="execution"),
            ResolvedValue(path="retries", value=0, source="engine"),
        )
    },
)

FORMER = {
    "execution": "e1",
    "owner": "propeller-0000beef",
    "epoch": 1,
    "at": "2026-01-02T03:04:05Z",
    "node": "n0",
    "attempt": 0,
}
"""Fields of an event as an older release wrote them."""

LOG: list[AnyEvent] = [
    entry(Owned, 0, request=request()),
    entry(Admitted, 1, resolution=RESOLUTION),
    entry(NodeWaiting, 2, node="n0", attempt=0, pool="gpus", reason="10 of 10 are held"),
    entry(NodeStarting, 3, node="n0", attempt=0),
    entry(NodeRunning, 4, node="n0", attempt=0, location="e1/n0/0"),
    entry(NodeFailed, 5, node="n0", attempt=0, error="exit code 1", final=False),
    entry(Owned, 6, owner="propeller-00000002", epoch=2),
    entry(NodeStarting, 7, node="n0", attempt=1),
    entry(NodeSucceeded, 8, node="n0", attempt=1, output=2),
    entry(Succeeded, 9, output=4),
]


def test_a_log_gives_the_state_of_the_execution() -> None:
    state = replay(LOG)
    assert (state.phase, state.output, state.ended) == ("succeeded", 4, True)
    assert (state.owner, state.epoch, state.length) == ("propeller-00000002", 2, 10)
    assert (state.request, state.resolution) == (request(), RESOLUTION)
    assert (state.nodes["n0"].phase, state.nodes["n0"].output) == ("succeeded", 2)


@pytest.mark.parametrize(
    ("length", "phase", "attempt", "reason"),
    [
        (3, "waiting", 0, "10 of 10 are held"),
        (4, "starting", 0, ""),
        (5, "running", 0, ""),
        (6, "waiting", 1, "exit code 1"),
        (8, "starting", 1, ""),
        (9, "succeeded", 1, ""),
    ],
)
def test_the_last_event_of_a_node_gives_its_state(
    length: int, phase: str, attempt: int, reason: str
) -> None:
    node = replay(LOG[:length]).nodes["n0"]
    assert (node.phase, node.attempt, node.reason) == (phase, attempt, reason)


ENDS: list[AnyEvent] = [
    entry(Failed, 1, node="n0", error="exit code 1"),
    entry(Refused, 1, path="cpu", message="over the limit"),
]


@pytest.mark.parametrize(
    ("end", "phase", "error"),
    [(ENDS[0], "failed", "exit code 1"), (ENDS[1], "refused", "over the limit")],
)
def test_an_execution_that_did_not_succeed_has_an_error(
    end: AnyEvent, phase: str, error: str
) -> None:
    state = replay([LOG[0], end])
    assert (state.phase, state.error, state.ended) == (phase, error, True)


def test_a_node_that_failed_finally_keeps_its_attempt() -> None:
    final = entry(NodeFailed, 0, node="n0", attempt=2, error="exit code 1", final=True)
    node = replay([final]).nodes["n0"]
    assert (node.phase, node.attempt) == ("failed", 2)


def test_a_claim_after_the_end_does_not_start_the_execution_again() -> None:
    assert replay([*LOG, entry(Owned, 10, epoch=3)]).phase == "succeeded"


@given(st.permutations(LOG * 3))
def test_events_delivered_three_times_in_any_order_give_the_same_state(
    events: list[AnyEvent],
) -> None:
    assert replay(events) == replay(LOG)


@given(st.permutations(range(len(LOG))), st.integers(1, len(LOG) - 1))
def test_events_after_a_gap_do_not_count(order: list[int], missing: int) -> None:
    events = [LOG[index] for index in order if index != missing]
    assert replay(events) == replay(LOG[:missing])


def test_a_log_without_its_first_event_gives_no_state() -> None:
    assert replay(LOG[1:]) == replay([]) == State()


NO_EVENTS = [
    json.dumps({"type": "paused", "execution": "e1"}),
    json.dumps({**FORMER, "index": 4}),
    json.dumps({**FORMER, "index": 4, "type": ["owned"]}),
    json.dumps({**FORMER, "index": -1, "type": "owned"}),
    json.dumps({**FORMER, "index": 2**31, "type": "paused"}),
    "[" * 5000,
    "9" * 5000,
    "[]",
    "x",
    "",
]


@pytest.mark.parametrize("body", NO_EVENTS)
def test_a_body_that_is_no_event_is_rejected(body: str) -> None:
    with pytest.raises(ValidationError):
        executions.parse_event(body)
    assert executions.logged_event(subjects.events("e1"), body.encode()) is None


@pytest.mark.parametrize("body", [b"\xff", LOG[0].body()[:-1] + b"\xff}"])
def test_a_body_that_is_no_text_is_foreign(body: bytes) -> None:
    assert executions.logged_event(subjects.events("e1"), body) is None


def test_an_event_of_another_execution_is_foreign() -> None:
    body = LOG[1].body()
    assert executions.logged_event(subjects.events("e1"), body) == LOG[1]
    assert executions.logged_event(subjects.events("e2"), body) is None
    assert executions.logged_event(f"{subjects.events('e1')}.x", body) is None


def test_an_event_whose_execution_fits_into_no_subject_is_foreign() -> None:
    body = LOG[1].model_copy(update={"execution": "x" * 5000}).body()
    assert executions.logged_event(subjects.events("e1"), body) is None


def test_an_event_of_a_later_release_counts_and_changes_only_the_claim() -> None:
    event = executions.parse_event(json.dumps({**PAUSED, "owner": "propeller-2", "epoch": 2}))
    before, state = replay(LOG[:4]), replay([*LOG[:4], event])
    assert (state.owner, state.epoch, state.length) == ("propeller-2", 2, 5)
    before.owner, before.epoch, before.length = state.owner, state.epoch, state.length
    assert state == before
    assert replay([*LOG[:4], event, *LOG[5:]]).phase == "succeeded"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({}, ""), ({"error": "by ann"}, ": by ann"), ({"error": 5, "message": "late"}, ": late")],
)
def test_an_execution_that_a_later_release_ended_has_ended(
    fields: dict[str, object], reason: str
) -> None:
    event = executions.parse_event(json.dumps({**PAUSED, "ends": True, **fields}))
    state = replay([*LOG[:4], event])
    assert (state.phase, state.ended) == ("failed", True)
    assert state.error == (
        f"the execution ended with 'paused', which only a later release knows{reason}"
    )
    assert replay([*LOG, event]).phase == "succeeded"


def test_exactly_the_events_that_end_an_execution_have_it_in_a_field() -> None:
    ending = {event.type for event in [*LOG, *ENDS] if event.ends}
    assert ending == {"succeeded", "failed", "refused"} == executions.ENDED


def test_an_event_of_a_later_release_is_stored_and_published_unchanged() -> None:
    event = executions.parse_event(json.dumps(PAUSED))
    assert json.loads(event.body()) == PAUSED
    assert event.event_type == "trimtab.execution.paused.v1"
    assert executions.parse_event(event.body()) == event
    assert TypeAdapter(AnyEvent).validate_python(PAUSED) == event


def test_events_of_older_releases_are_read_by_their_former_names() -> None:
    running = {**FORMER, "index": 4, "type": "node_running", "place": "e1/n0/0"}
    failed = {
        **FORMER,
        "index": 5,
        "type": "node_failed",
        "final": False,
        "error": "",
        "lost": True,
    }
    assert [executions.parse_event(json.dumps(body)) for body in (running, failed)] == [
        entry(NodeRunning, 4, node="n0", attempt=0, location="e1/n0/0"),
        entry(NodeFailed, 5, node="n0", attempt=0, error="", final=False, interrupted=True),
    ]


def test_events_without_the_fields_of_this_release_are_read() -> None:
    starting = {**FORMER, "index": 3, "type": "node_starting", "fence": 7}
    failed = {**FORMER, "index": 4, "type": "node_failed", "final": False, "error": ""}
    node = replay([*LOG[:3], executions.parse_event(json.dumps(starting))]).nodes["n0"]
    assert (node.fence, node.lease_seconds, node.location) == (7, None, "")
    assert executions.parse_event(json.dumps(failed)) == entry(
        NodeFailed, 4, node="n0", attempt=0, error="", final=False, stopped=False
    )


def test_a_running_node_keeps_its_location_and_its_token() -> None:
    token = {"fence": 7, "lease_seconds": 10.0}
    starting = entry(NodeStarting, 3, node="n0", attempt=0, location="process:a", **token)
    node = replay([*LOG[:3], starting, LOG[4]]).nodes["n0"]
    assert (node.phase, node.location) == ("running", "process:a")
    assert (node.fence, node.lease_seconds) == (7, 10.0)
    after = replay([*LOG[:3], starting, *LOG[4:6]]).nodes["n0"]
    assert (after.phase, after.location, after.fence) == ("waiting", "", None)


def test_an_attempt_that_propeller_stopped_is_not_counted_as_interrupted() -> None:
    end = {"node": "n0", "error": "", "final": False, "interrupted": True}
    stopped = entry(NodeFailed, 5, attempt=0, stopped=True, **end)
    interrupted = entry(NodeFailed, 6, attempt=1, **end)
    node = replay([*LOG[:5], stopped, interrupted]).nodes["n0"]
    assert (node.stopped, node.interrupted) == (1, 1)


UNREADABLE = [
    {"type": "node_running", "position": "e1/n0/0"},
    {"type": "node_failed", "error": 5, "final": False},
]

PAUSED = {**FORMER, "index": 4, "type": "paused", "until": ["tomorrow"]}
"""An event as a later release may write it."""


@pytest.mark.parametrize("fields", UNREADABLE)
def test_an_unreadable_event_ends_its_execution_with_a_reason(fields: dict[str, object]) -> None:
    event = executions.parse_event(json.dumps({**FORMER, "index": 4, **fields}))
    state = replay([*LOG[:4], event])
    assert (state.phase, state.length) == ("failed", 5)
    assert state.error.startswith("event 4 of the log of e1 cannot be read by this release: ")
    assert replay([*LOG[:4], event, *LOG[5:]]).phase == "succeeded"


@pytest.mark.parametrize("fields", UNREADABLE)
def test_an_unreadable_event_is_stored_and_published_unchanged(fields: dict[str, object]) -> None:
    body = {**FORMER, "index": 4, **fields}
    event = executions.parse_event(json.dumps(body))
    assert json.loads(event.body()) == body
    assert executions.parse_event(event.body()) == event
    assert TypeAdapter(AnyEvent).validate_python(body) == event


NESTED = (
    "",
    "request",
    "request.workflow",
    "request.workflow.tasks.count",
    "request.workflow.tasks.count.config",
    "request.workflow.nodes.1",
    "request.workflow.nodes.1.hook",
    "request.workflow.nodes.1.hook.default",
    "request.workflow.nodes.1.hook.default.resources",
    "request.workflow.nodes.1.hook.default.resources.limits",
    "request.workflow.nodes.1.inputs.number",
    "request.launch_plan",
    "request.overrides.trainer",
)
"""The objects in a claim that a later release may have extended."""


@pytest.mark.parametrize("path", NESTED)
def test_a_request_is_read_without_the_fields_that_only_a_later_release_knows(path: str) -> None:
    hook = NodeOverrides(resources=ResourceOverrides())
    sent = request(workflow_=workflow(hook=hook), overrides={"trainer": NodeOverrides(retries=1)})
    claim = entry(Owned, 0, request=sent)
    content = extended = json.loads(claim.body())
    for step in filter(None, path.split(".")):
        extended = extended[int(step) if isinstance(extended, list) else step]
    extended["later"] = {"new": [1]}
    assert executions.parse_event(json.dumps(content)) == claim
    assert TypeAdapter(AnyEvent).validate_python(content) == claim
    assert models.read(Request, json.dumps(content["request"])) == sent


def test_an_unknown_field_of_a_user_is_refused_by_its_name() -> None:
    content = workflow().model_dump(mode="json")
    content["nodes"][1]["hook"]["default"]["retry"] = 1
    with pytest.raises(Invalid, match=r"nodes\.1\.hook\.default\.retry"):
        models.parse_model(Workflow, content)


def test_the_default_launch_plan_is_the_workflow_and_no_narrower_level() -> None:
    plain = request()
    plan = LaunchPlan(name="nightly", workflow="train", version="v1")
    assert plain.target == Scope("development", "flyteexamples", "train")
    named = plain.model_copy(update={"launch_plan": plan})
    assert named.target == Scope("development", "flyteexamples", "train", "nightly")


def test_a_resolution_returns_values_by_path() -> None:
    assert RESOLUTION.value("n0", "retries") == 0
    assert RESOLUTION.value("n0", "cluster") is None
    assert RESOLUTION.environment("n0") == {"LOG": "debug"}


def test_the_first_claim_holds_the_request() -> None:
    assert replay(LOG[:1]).request == request(workflow_=workflow())


def test_a_request_has_the_mark_of_an_admin_only_where_one_made_it() -> None:
    plain = request()
    assert "by_platform_admin" not in plain.model_dump_json()
    assert not type(plain).model_validate_json(plain.model_dump_json()).by_platform_admin
    of_admin = plain.model_copy(update={"by_platform_admin": True})
    assert type(plain).model_validate_json(of_admin.model_dump_json()) == of_admin


def test_a_request_of_an_earlier_release_has_no_time_of_creation() -> None:
    plain = request()
    assert "created_at" not in plain.model_dump_json()
    assert type(plain).model_validate_json(plain.model_dump_json()).created_at is None
    timed = plain.model_copy(update={"created_at": datetime(2026, 1, 2, tzinfo=UTC)})
    assert type(plain).model_validate_json(timed.model_dump_json()) == timed
