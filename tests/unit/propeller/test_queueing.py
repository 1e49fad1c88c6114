"""The queueing budget of an execution, and its end where no attempt starts within it."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.propeller.building import PROJECT_DOMAIN, node, record, request, settings
from trimtab.levels import PLATFORM, Scope
from trimtab.messages.executions import Admitted, NodeStarting, Owned, Request, State
from trimtab.messages.resolutions import Resolution, ResolvedValue
from trimtab.workflows.graphs.launch_plans import PlanCall
from trimtab_propeller.config import PropellerConfig
from trimtab_propeller.control import RunControl
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.queueing_deadline import QueueingDeadline, remaining_seconds
from trimtab_propeller.resolution import Site, resolve

SITE = Site(queueing_budgets={"HIGH": 60.0, "LOW": 0.0})
KIND = "quality_of_service"


def resolved(*documents: dict[str, Any], site: Site = SITE) -> Resolution:
    """Resolve with these records, of the project-domain and then of the platform."""
    scopes = (PROJECT_DOMAIN, PLATFORM)
    records = [record(KIND, d, s) for d, s in zip(documents, scopes, strict=False) if d]
    return resolve(request(), settings(*records), Capabilities("any"), site)


def budget_of(resolution: Resolution) -> ResolvedValue:
    budget = resolution.queueing_budget
    assert budget is not None
    return budget


def test_the_budget_is_that_of_the_record_in_seconds() -> None:
    budget = budget_of(resolved({"queueing_budget": "600s"}))
    assert (budget.value, budget.source) == (600, "quality_of_service.queueing_budget")
    assert (budget.scope, budget.revision) == (str(PROJECT_DOMAIN), 1)
    assert budget_of(resolved({"queueing_budget": "0.250s"})).value == 0.25


def test_a_tier_has_the_length_that_propeller_is_configured_with() -> None:
    budget = budget_of(resolved({"tier": "HIGH"}, {"queueing_budget": "1s"}))
    assert (budget.value, budget.note) == (60, "tier HIGH")
    assert (budget.source, budget.scope) == ("quality_of_service.tier", str(PROJECT_DOMAIN))


@pytest.mark.parametrize(
    ("document", "note"),
    [
        (
            {"tier": "MEDIUM"},
            "no limit: the configuration of propeller has no length of tier MEDIUM",
        ),
        ({"tier": "LOW"}, "no limit"),
        ({"queueing_budget": "0s"}, "no limit"),
    ],
)
def test_what_leads_to_no_budget_has_a_note(document: dict[str, str], note: str) -> None:
    resolution = resolved(document)
    [field] = resolution.execution
    assert (field.note, resolution.queueing_budget) == (note, None)


def test_the_default_tier_applies_where_the_settings_have_no_quality_of_service() -> None:
    site = Site(queueing_budgets=SITE.queueing_budgets, default_tier="HIGH")
    budget = budget_of(resolved(site=site))
    assert (budget.value, budget.source, budget.note) == (60, "propeller", "default tier HIGH")
    assert budget_of(resolved({"queueing_budget": "5s"}, site=site)).value == 5
    assert resolved({"queueing_budget": "0s"}, site=site).queueing_budget is None
    assert resolved().queueing_budget is None


def test_the_budget_of_a_called_launch_plan_does_not_apply() -> None:
    called = Scope("production", "billing")
    call = PlanCall(project="billing", domain="production", workflow="w", launch_plan="w")
    wanted = request(node("c.n0").model_copy(update={"plan": "c"}))
    workflow = wanted.workflow.model_copy(update={"plans": {"c": call}})
    wanted = wanted.model_copy(update={"workflow": workflow})
    own = settings(record(KIND, {"queueing_budget": "5s"}, called))
    resolution = resolve(wanted, own, Capabilities("any"), SITE)
    [field] = resolution.plans["c"]
    assert field.note == "not applied: the queueing budget is that of the whole execution"
    assert resolution.queueing_budget is None


def test_tiers_are_configured_as_durations_and_the_default_one_is_one_of_them() -> None:
    config = PropellerConfig(quality_tiers={"HIGH": "60s"}, quality_default_tier="HIGH")
    assert config.queueing_budgets == {"HIGH": 60.0}
    with pytest.raises(ValidationError, match="one of the quality_tiers, which are HIGH"):
        PropellerConfig(quality_tiers={"HIGH": "60s"}, quality_default_tier="LOW")
    with pytest.raises(ValidationError, match="a number of seconds followed by s"):
        PropellerConfig(quality_tiers={"HIGH": "1m"})


NOW = datetime(2026, 3, 1, tzinfo=UTC)


def state(wanted: Request, budget: str, claimed_at: datetime = NOW) -> State:
    """Return the state of an execution that was claimed and admitted."""
    found = settings(record(KIND, {"queueing_budget": budget}))
    resolution = resolve(wanted, found, Capabilities("any"))
    after, fields = State(), {"execution": "e1", "owner": "a", "epoch": 1, "at": claimed_at}
    after.apply(Owned.model_validate({**fields, "index": 0, "request": wanted}))
    after.apply(Admitted.model_validate({**fields, "index": 1, "resolution": resolution}))
    taken_over = {**fields, "index": 2, "epoch": 2, "at": claimed_at + timedelta(hours=1)}
    after.apply(Owned.model_validate(taken_over))
    return after


def remaining(of: State, now: datetime) -> float:
    assert of.resolution is not None
    return remaining_seconds(of, budget_of(of.resolution), now)


def test_the_budget_begins_when_the_execution_was_created() -> None:
    wanted = request(created_at=NOW - timedelta(seconds=40))
    assert remaining(state(wanted, "60s"), NOW + timedelta(seconds=15)) == 5


def test_a_clock_of_admin_that_is_ahead_does_not_make_the_budget_longer() -> None:
    wanted = request(created_at=NOW + timedelta(hours=1))
    assert remaining(state(wanted, "60s"), NOW + timedelta(seconds=15)) == 45


def test_a_takeover_of_a_request_without_a_time_continues_that_of_the_first_claim() -> None:
    assert remaining(state(request(), "60s"), NOW + timedelta(hours=2)) == 60 - 7200


def test_a_budget_may_be_longer_than_dates_are() -> None:
    assert remaining(state(request(created_at=NOW), "315576000000s"), NOW) == 315_576_000_000


async def test_an_execution_is_stopped_whose_budget_is_over() -> None:
    control = RunControl()
    QueueingDeadline(state(request(), "0.5s"), control).begin()
    assert control.stopped.is_set()
    assert control.reason == (
        "no attempt started within the queueing budget of 0.5s of "
        f"quality_of_service.queueing_budget of {PROJECT_DOMAIN}"
    )


async def test_an_attempt_that_was_started_ends_the_wait() -> None:
    control, begun = RunControl(), state(request(), "0.5s")
    fields = {"execution": "e1", "owner": "a", "epoch": 1, "at": NOW, "index": 3}
    begun.apply(NodeStarting.model_validate({**fields, "node": "n0", "attempt": 0}))
    QueueingDeadline(begun, control).begin()
    assert not control.closed.is_set()


async def test_an_execution_waits_until_its_deadline() -> None:
    control, now = RunControl(), datetime.now(UTC)
    deadline = QueueingDeadline(state(request(created_at=now), "600s", now), control)
    deadline.begin()
    assert not control.closed.is_set()
    deadline.cancel()


async def test_a_deadline_that_passes_after_the_first_start_stops_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    timers: list[Callable[[], None]] = []

    def call_later(_seconds: float, callback: Callable[..., None], *arguments: object) -> None:
        timers.append(partial(callback, *arguments))

    control, now = RunControl(), datetime.now(UTC)
    begun = state(request(created_at=now), "600s", now)
    with monkeypatch.context() as patched:
        patched.setattr(loop, "call_later", call_later)
        QueueingDeadline(begun, control).begin()
    fields = {"execution": "e1", "owner": "a", "epoch": 1, "at": now, "index": 3}
    begun.apply(NodeStarting.model_validate({**fields, "node": "n0", "attempt": 0}))
    [pass_deadline] = timers
    pass_deadline()
    assert not control.closed.is_set()
