"""Overrides of hooks above the limits of the settings: refused, or lowered with a warning."""

from typing import Any

import pytest

from trimtab.errors import Invalid
from trimtab.levels import Scope
from trimtab.messages.events import RecordChanged
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.graph import Constant, Hook, Node, Task, Workflow
from trimtab.workflows.graphs.launch_plans import LaunchPlan, PlanCall
from trimtab.workflows.graphs.node_overrides import NO_OVERRIDES, NodeOverrides
from trimtab_admin.executions import override_limits
from trimtab_admin.executions.override_limits import Limits

SCOPE = Scope("development", "shop")
PLAN = LaunchPlan(name="nightly", workflow="nightly", version="1")


def limits(**more: Any) -> Limits:
    settings = Settings()
    document = {"limits": {"cpu": "2"}, **more}
    settings.apply(RecordChanged.at(SCOPE, "task_resource", document), 1)
    return Limits(settings.effective("task_resource", SCOPE))


def resources(cpu: str | None = None, limit: str | None = None) -> NodeOverrides:
    given = {"requests": {"cpu": cpu}, "limits": {"cpu": limit}}
    return NodeOverrides.model_validate({"resources": given})


def workflow(config: NodeOverrides = NO_OVERRIDES, paths: tuple[str, ...] = ("",)) -> Workflow:
    return Workflow(
        name="nightly",
        version="1",
        tasks={"train": Task(name="train", config=config)},
        nodes=tuple(
            Node(
                id=f"n{number}",
                task="train",
                inputs={"x": Constant(value=1)},
                hook=Hook(name="trainer", path=path),
            )
            for number, path in enumerate(paths)
        ),
    )


def check(**overrides: NodeOverrides) -> tuple[str, ...]:
    return override_limits.check(workflow(), PLAN, overrides, limits())


def test_a_value_up_to_the_limit_is_accepted() -> None:
    assert check(trainer=resources("2", "2")) == ()


@pytest.mark.parametrize(
    ("override", "path"),
    [
        (resources("3"), "overrides.trainer.resources.requests.cpu"),
        (resources(limit="3"), "overrides.trainer.resources.limits.cpu"),
        (resources("3", "3"), "overrides.trainer.resources.requests.cpu"),
    ],
)
def test_a_value_over_the_limit_is_refused_with_the_limit_and_its_scope(
    override: NodeOverrides, path: str
) -> None:
    with pytest.raises(Invalid) as refused:
        check(trainer=override)
    assert (refused.value.path, refused.value.value) == (path, "3")
    limit = "at most 2, the task_resource.limits.cpu of project-domain shop/development"
    assert refused.value.allowed == limit


def test_a_value_of_a_launch_plan_is_named_as_such() -> None:
    plan = PLAN.model_copy(update={"runtime_override": {"trainer": resources("3")}})
    with pytest.raises(Invalid, match=r"launch_plan\.runtime_override\.trainer\.resources"):
        override_limits.check(workflow(), plan, {}, limits())
    # The execution replaces it.
    overrides = {"trainer": resources("1")}
    assert override_limits.check(workflow(), plan, overrides, limits()) == ()


def test_an_override_is_named_by_the_name_that_it_was_given_under() -> None:
    two = workflow(paths=("n0", "n1"))
    overrides = {"trainer": resources("1"), "n1/trainer": resources("4")}
    with pytest.raises(Invalid) as refused:
        override_limits.check(two, PLAN, overrides, limits())
    assert refused.value.path == "overrides.n1/trainer.resources.requests.cpu"


def test_nodes_that_share_only_one_of_their_overrides_are_each_checked() -> None:
    two = workflow(paths=("n0", "n1"))
    plan = PLAN.model_copy(update={"runtime_override": {"n1/trainer": resources(limit="1")}})
    with pytest.raises(Invalid) as refused:
        override_limits.check(two, plan, {"trainer": resources("2")}, limits())
    assert refused.value.path == "overrides.trainer.resources.requests.cpu"


def test_a_limit_below_the_request_of_the_task_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        override_limits.check(
            workflow(resources("2")), PLAN, {"trainer": resources(limit="1")}, limits()
        )
    assert refused.value.path == "overrides.trainer.resources.limits.cpu"
    assert "resources.requests.cpu: 2 (task) is over 1" in refused.value.allowed


@pytest.mark.parametrize(("own", "other"), [("requests", "limits"), ("limits", "requests")])
def test_an_override_of_one_amount_of_gpus_has_to_set_the_other_one_too(
    own: str, other: str
) -> None:
    one, two = ({group: {"gpu": n} for group in ("requests", "limits")} for n in ("1", "2"))
    task = NodeOverrides.model_validate({"resources": one})
    only = NodeOverrides.model_validate({"resources": {own: {"gpu": "2"}}})
    with pytest.raises(Invalid) as refused:
        override_limits.check(workflow(task), PLAN, {"trainer": only}, limits())
    assert refused.value.path == f"overrides.trainer.resources.{own}.gpu"
    assert f"resources.{other}.gpu has to be set to the same amount" in refused.value.allowed
    both = NodeOverrides.model_validate({"resources": two})
    assert override_limits.check(workflow(task), PLAN, {"trainer": both}, limits()) == ()


def test_a_value_of_the_task_is_left_to_the_admission() -> None:
    overrides = {"trainer": NodeOverrides.model_validate({"resources": {}, "retries": 1})}
    assert override_limits.check(workflow(resources("9")), PLAN, overrides, limits()) == ()


def test_a_value_that_will_be_lowered_is_a_warning_once() -> None:
    two = workflow(paths=("n0", "n1"))
    clamp = limits(over_limit="clamp")
    assert override_limits.check(two, PLAN, {"trainer": resources("3")}, clamp) == (
        "overrides.trainer.resources.requests.cpu: 3 is over 2, the task_resource.limits.cpu of "
        "project-domain shop/development, and will be lowered to it",
    )


def test_a_value_that_will_be_raised_is_a_warning() -> None:
    least = limits(minimum={"cpu": "1500m"})
    assert override_limits.check(workflow(), PLAN, {"trainer": resources("1")}, least) == (
        "overrides.trainer.resources.requests.cpu: 1 is below 1500m, the task_resource.minimum.cpu "
        "of project-domain shop/development, and will be raised to it",
    )


def test_many_warnings_are_counted() -> None:
    many = workflow(paths=tuple(f"n{number}" for number in range(30)))
    overrides = {f"n{number}/trainer": resources("3") for number in range(30)}
    warnings = override_limits.check(many, PLAN, overrides, limits(over_limit="clamp"))
    assert len(warnings) == override_limits.MAX_WARNINGS + 1
    assert warnings[-1] == "10 more values are changed"


def test_a_node_of_a_called_launch_plan_is_checked_against_the_limits_there() -> None:
    own, settings = limits(), Settings()
    call = PlanCall(project="lab", domain="production", workflow="train", launch_plan="weekly")
    record = RecordChanged.at(call.target, "task_resource", {"limits": {"cpu": "5"}})
    settings.apply(record, 1)
    found = Limits(own.own, {call.target: settings.effective("task_resource", call.target)})
    two = workflow(paths=("", "n1"))
    nodes = (two.nodes[0], two.nodes[1].model_copy(update={"plan": "n1"}))
    calling = two.model_copy(update={"nodes": nodes, "plans": {"n1": call}})
    overrides = {"n1/trainer": resources("5"), "trainer": resources("2")}
    assert override_limits.check(calling, PLAN, overrides, found) == ()
    with pytest.raises(Invalid, match="launch-plan lab/production/train/weekly"):
        override_limits.check(calling, PLAN, {"n1/trainer": resources("6")}, found)
    with pytest.raises(Invalid, match="project-domain shop/development"):
        override_limits.check(calling, PLAN, {"trainer": resources("3")}, found)
    # The limits of the first of two nodes with equal values do not stand for those of the other.
    calling = calling.model_copy(update={"nodes": nodes[::-1]})
    with pytest.raises(Invalid, match="project-domain shop/development"):
        override_limits.check(calling, PLAN, {"trainer": resources("3")}, found)
