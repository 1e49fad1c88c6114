"""Called launch plans: their nodes run with the settings and values of the called launch plan."""

from typing import Any

import pytest

from tests.unit.propeller.building import node, overrides, record, request, settings
from trimtab.errors import Unreadable
from trimtab.levels import Scope
from trimtab.messages.events import ProjectChanged, QueueChanged
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import Resolution, ResolvedValue
from trimtab.resolution.limits import Refusal
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.graph import Hook, Node
from trimtab.workflows.graphs.launch_plans import MAX_DEPTH, MAX_PARTS, ExecutionConfig, PlanCall
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import parts, resolve

CONFIG = "workflow_execution_config"
LAB = Scope("production", "lab")
WEEKLY = Scope("production", "lab", "train", "weekly")


def call(parent: str = "", **config: Any) -> PlanCall:
    """Build a call of the launch plan ``weekly`` of another project and domain."""
    return PlanCall(
        project="lab",
        domain="production",
        workflow="train",
        launch_plan="weekly",
        config=ExecutionConfig.model_validate(config),
        parent=parent,
    )


def calling(plans: dict[str, PlanCall] | None = None, **fields: Any) -> Request:
    """Build a request of one node of its own, and of one in each call of a launch plan."""
    plans = {"n0": call()} if plans is None else plans
    nodes = [
        Node(
            id=f"{plan.replace('/', '.')}.n0",
            task="train",
            inputs={},
            hook=Hook(name="trainer", path=plan),
            plan=plan,
        )
        for plan in plans
    ]
    wanted = request(*nodes, node("own"), **fields)
    workflow = wanted.workflow.model_copy(update={"plans": plans})
    workflow.check_plans()
    return wanted.model_copy(update={"workflow": workflow})


def resolved(wanted: Request, *events: Any) -> Resolution:
    return resolve(wanted, settings(*events), Capabilities("any"))


def of_plan(resolution: Resolution, plan: str = "n0") -> dict[str, ResolvedValue]:
    return {value.path: value for value in resolution.plans[plan]}


def of_node(resolution: Resolution, name: str) -> dict[str, ResolvedValue]:
    return {value.path: value for value in resolution.nodes[name]}


def test_nodes_are_limited_by_the_settings_of_the_launch_plan_that_is_called() -> None:
    events = (
        record("task_resource", {"defaults": {"cpu": "1"}, "limits": {"cpu": "1"}}),
        record("task_resource", {"defaults": {"cpu": "4"}, "limits": {"cpu": "4"}}, LAB),
    )
    found = resolved(calling(), *events)
    assert found.value("own", "resources.requests.cpu") == "1"
    assert found.value("n0.n0", "resources.requests.cpu") == "4"
    hook = {"trainer": overrides(resources={"requests": {"cpu": "5"}, "limits": {"cpu": "5"}})}
    with pytest.raises(Refusal, match="project-domain lab/production") as refused:
        resolved(calling(overrides=hook), *events)
    assert refused.value.node == "n0.n0"


def test_its_records_and_values_apply_in_it_and_those_of_the_outer_one_do_not() -> None:
    events = (
        record(CONFIG, {"envs": {"LOG": "shop", "SHOP": "1"}, "labels": {"team": "shop"}}),
        record(CONFIG, {"envs": {"LOG": "lab"}, "labels": {"cost": "lab"}}, WEEKLY),
    )
    plan = {"environment": {"OUTER": "1"}, "labels": {"outer": "1"}, "interruptible": True}
    called = {"n0": call(environment={"TIER": "gold"}, annotations={"note": "weekly"})}
    found = resolved(calling(called, plan=plan), *events)
    assert found.environment("own") == {"LOG": "shop", "SHOP": "1", "OUTER": "1"}
    assert found.environment("n0.n0") == {"LOG": "lab", "TIER": "gold"}
    assert [found.value(name, "interruptible") for name in ("own", "n0.n0")] == [True, False]
    assert {p: v.value for p, v in of_plan(found).items()} == {
        "labels.cost": "lab",
        "annotations.note": "weekly",
    }


def test_its_values_name_it_as_their_source() -> None:
    found = resolved(calling({"n0": call(environment={"A": "1"}, labels={"team": "a"})}))
    for value in (of_node(found, "n0.n0")["environment.A"], of_plan(found)["labels.team"]):
        assert (value.source, value.scope) == ("called launch plan", str(WEEKLY))


def test_what_the_request_sets_applies_in_it_before_its_own_values() -> None:
    own = {
        "environment": {"A": "plan"}, "labels": {"team": "plan"}, "annotations": {"note": "plan"},
        "interruptible": True, "overwrite_cache": True,
    }  # fmt: skip
    given = {
        "environment": {"A": "request"}, "labels": {"team": "request"},
        "annotations": {"note": "request"}, "interruptible": False, "overwrite_cache": False,
    }  # fmt: skip
    found = resolved(calling({"n0": call(**own)}, **given))
    values = of_plan(found) | of_node(found, "n0.n0")
    assert (values["environment.A"].value, values["interruptible"].value) == ("request", False)
    assert values["labels.team"].value == values["annotations.note"].value == "request"
    assert values["overwrite_cache"].value is False
    changed = ("environment.A", "interruptible", "labels.team", "overwrite_cache")
    assert {values[path].source for path in changed} == {"execution"}


def test_labels_of_projects_are_those_of_its_own_project() -> None:
    shop = ProjectChanged(name="shop", labels={"owner": "shop"})
    lab = ProjectChanged(name="lab", labels={"owner": "lab"})
    found = resolved(calling(), shop, lab)
    owner = of_plan(found)["labels.owner"]
    assert (owner.value, owner.scope) == ("lab", "project lab")
    assert [value.value for value in found.execution] == ["shop"]


def test_placeholders_name_the_launch_plan_that_is_called() -> None:
    text = "{{ project }}/{{ domain }}/{{ workflow }}/{{ launch_plan }}/{{ execution }}"
    found = resolved(calling(), record(CONFIG, {"envs": {"WHERE": text}}, LAB))
    assert found.environment("n0.n0") == {"WHERE": "lab/production/train/weekly/e1"}


IDENTITY: dict[str, dict[str, Any]] = {
    CONFIG: {
        "security_context": {"run_as": {"k8s_service_account": "lab"}, "secrets": [{"group": "g"}]},
        "raw_output_data_config": {"output_location_prefix": "s3://lab"},
    },
    "cluster_assignment": {"cluster_pool_name": "lab"},
    "execution_queue": {"tags": ["lab"]},
    "quality_of_service": {"tier": "HIGH"},
    "plugin_override": {"overrides": {"spark": {"plugin_id": ["a"]}}},
}


def test_identity_cluster_and_queue_are_those_of_the_execution_and_not_its_own() -> None:
    events = [record(kind, document, LAB) for kind, document in IDENTITY.items()]
    shop = {"security_context": {"run_as": {"k8s_service_account": "shop"}}}
    found = resolved(calling(), *events, record(CONFIG, shop))
    applied = [path for path, value in of_plan(found).items() if "not applied" not in value.note]
    assert sorted(applied) == [
        "plugin_override.overrides.spark",
        "raw_output_data_config.output_location_prefix",
    ]


def test_an_attempt_has_the_labels_of_its_part_and_the_identity_of_the_execution() -> None:
    config = {
        "labels": {"team": "shop"},
        "security_context": {"run_as": {"k8s_service_account": "shop"}},
    }
    events = (
        record(CONFIG, config),
        record(CONFIG, {"labels": {"cost": "lab"}, "annotations": {"note": "lab"}}, LAB),
        record("execution_queue", {"tags": ["fast"]}),
        record("execution_queue", {"tags": ["lab"]}, LAB),
        *(QueueChanged(name=name, attributes=(name,)) for name in ("fast", "lab")),
    )
    wanted = calling()
    found = resolved(wanted, *events)
    [called, own] = [
        Attempt.from_resolution(wanted, found, each, 0, {}) for each in wanted.workflow.nodes
    ]
    assert (called.labels, called.annotations) == ({"cost": "lab"}, {"note": "lab"})
    assert (own.labels, own.annotations) == ({"team": "shop"}, {})
    for attempt in (called, own):
        assert (attempt.service_account, attempt.queue) == ("shop", "fast")
        assert (attempt.project, attempt.domain, attempt.workflow) == (
            "shop",
            "development",
            "nightly",
        )


@pytest.mark.parametrize(
    ("around", "own", "expected", "note"),
    [
        (3, 1, 1, ""),
        (3, 3, 3, ""),
        (2, 5, 2, "lowered from 5 (called launch plan) to the value around the called launch plan"),
        (2, None, 2, "as around the called launch plan"),
        (None, 5, 5, ""),
        (None, None, None, None),
    ],
)
def test_max_parallelism_is_at_most_that_around_it(
    around: int | None, own: int | None, expected: int | None, note: str | None
) -> None:
    config = {} if own is None else {"max_parallelism": own}
    given = {} if around is None else {"max_parallelism": around}
    found = resolved(calling({"n0": call(**config)}, plan=given))
    assert (found.max_parallelism, found.parallelism_of("n0")) == (around, expected)
    value = of_plan(found).get("max_parallelism")
    assert (None if value is None else value.note) == note


def test_the_request_and_every_part_around_it_bound_max_parallelism() -> None:
    plans = {"a": call(max_parallelism=4), "a/b": call("a", max_parallelism=9), "c": call()}
    lab = record(CONFIG, {"max_parallelism": 7}, LAB)
    found = resolved(calling(plans, max_parallelism=6), lab)
    assert {plan: found.parallelism_of(plan) for plan in ("", *plans)} == {
        "": 6,
        "a": 4,
        "a/b": 4,
        "c": 6,
    }
    nested, settled = (of_plan(found, plan)["max_parallelism"] for plan in ("a/b", "c"))
    assert (nested.source, nested.scope) == ("called launch plan", str(WEEKLY))
    assert (settled.source, settled.note.partition(")")[0]) == (
        "execution",
        f"lowered from 7 ({CONFIG}.max_parallelism",
    )


@pytest.mark.parametrize(
    ("around", "own", "expected"),
    [(5, 3, 3), (3, 5, 3), (None, 5, 0), (None, -1, -1), (-2, None, -2), (4, None, None)],
)
def test_the_priority_is_at_most_that_around_it_and_none_counts_as_0(
    around: int | None, own: int | None, expected: int | None
) -> None:
    events = [
        record("workflow_priority", {"priority": priority}, scope)
        for priority, scope in ((around, Scope("development", "shop")), (own, LAB))
        if priority is not None
    ]
    found = resolved(calling(), *events)
    assert found.value("own", "priority") == around
    priority = of_node(found, "n0.n0").get("priority")
    assert (None if priority is None else priority.value) == expected
    lowered = own is not None and own != expected
    assert (priority is not None and f"lowered from {own}" in priority.note) == lowered


def test_calls_that_have_the_same_values_are_one_part() -> None:
    plans = {"a": call(), "b": call(), "c": call(max_parallelism=1), "a/x": call("a")}
    wanted = calling(plans | {"b/x": call("b"), "c/x": call("c")})
    found = parts.of(wanted)
    assert found["a"] is found["b"]
    assert found["a/x"] is found["b/x"]
    assert len({id(part) for part in found.values()}) == 5


def chain_of(depth: int) -> dict[str, PlanCall]:
    return {f"n{number}": call(f"n{number - 1}" if number else "") for number in range(depth)}


def different(number: int) -> dict[str, PlanCall]:
    return {f"n{each}": call(labels={"number": str(each)}) for each in range(number)}


@pytest.mark.parametrize(
    ("plans", "message"),
    [
        ({"": call()}, "a name that is not empty"),
        ({"n0": call("n1"), "n1": call()}, "a call that comes before it"),
        (chain_of(MAX_DEPTH + 1), "at most 32 calls of launch plans inside each other"),
        (different(MAX_PARTS + 1), "at most 500; calls with the same values"),
    ],
)
def test_calls_that_admin_cannot_have_expanded_are_refused(
    plans: dict[str, PlanCall], message: str
) -> None:
    wanted = request(node("own"))
    workflow = wanted.workflow.model_copy(update={"plans": plans})
    with pytest.raises(Refusal, match=message):
        resolved(wanted.model_copy(update={"workflow": workflow}))


@pytest.mark.parametrize("plans", [chain_of(MAX_DEPTH), different(MAX_PARTS)])
def test_as_many_calls_as_are_allowed_are_resolved(plans: dict[str, PlanCall]) -> None:
    assert resolved(calling(plans)).plans.keys() == plans.keys()


def test_an_unreadable_record_of_its_target_refuses_the_execution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    effective = Settings.effective

    def unreadable(self: Settings, kind: str, target: Scope) -> Any:
        if target == WEEKLY and kind == "task_resource":
            raise Unreadable("task_resource of lab cannot be read")
        return effective(self, kind, target)

    monkeypatch.setattr(Settings, "effective", unreadable)
    with pytest.raises(Refusal, match="of lab cannot be read"):
        resolved(calling())


def test_a_resolution_of_many_calls_has_each_value_once_and_survives_json() -> None:
    plans = {f"c{n}": call(labels={"team": str(n % 3)}, max_parallelism=9) for n in range(30)}
    found = resolved(calling(plans, max_parallelism=4), record(CONFIG, {"labels": {"a": "b"}}, LAB))
    plain = found.model_dump()
    shared = found.content()
    assert (len(plain["plans"]), len(shared["parts"])) == (30, 3)
    assert Resolution.model_validate(plain) == Resolution.model_validate(shared) == found


def test_a_resolution_of_an_earlier_release_has_the_values_of_the_execution_in_each_part() -> None:
    wanted = calling()
    found = resolved(wanted, record(CONFIG, {"labels": {"team": "a"}}))
    earlier = found.model_copy(update={"plans": {}})
    attempt = Attempt.from_resolution(wanted, earlier, wanted.workflow.nodes[0], 0, {})
    assert attempt.labels == {"team": "a"}
    assert earlier.parallelism_of("n0") is None
