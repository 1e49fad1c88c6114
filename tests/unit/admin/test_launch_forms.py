"""The launch form: inputs, and what each hook can override, with defaults, sources and limits."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.unit.propeller.building import overrides, record, resources, settings
from trimtab.api.launch_forms import FormField, FormHook, LaunchForm
from trimtab.levels import PLATFORM, Scope
from trimtab.settings.state import Settings
from trimtab.testing import request
from trimtab.workflows.graphs.expansion import expand
from trimtab.workflows.graphs.graph import Graph, Hook, Node, Task, Workflow
from trimtab.workflows.graphs.launch_plans import ExecutionConfig, LaunchPlan, PlanCall
from trimtab.workflows.graphs.node_overrides import NodeOverrides
from trimtab_admin.executions.launch_forms import Page, launch_form
from trimtab_admin.steps import at_once
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import resolve

SCOPE = Scope("development", "shop")
ALL = Page(0, 1000)
LIMITS = {"defaults": {"cpu": "1"}, "limits": {"cpu": "2"}}


def node(name: str = "n0", hook: NodeOverrides | None = None, **more: Any) -> Node:
    default = hook or NodeOverrides()
    return Node(
        id=name, task="train", inputs={}, hook=Hook(name="trainer", default=default), **more
    )


def workflow(*nodes: Node, task: NodeOverrides | None = None, **more: Any) -> Workflow:
    return Workflow(
        name="nightly",
        version="1",
        tasks={"train": Task(name="train", config=task or NodeOverrides())},
        nodes=nodes or (node(),),
        **more,
    )


def form(
    of: Workflow,
    settled: Settings | None = None,
    plan: Mapping[str, Any] | None = None,
    page: Page = ALL,
) -> LaunchForm:
    content = {"name": "nightly", "workflow": "nightly", "version": "1", **(plan or {})}
    found = LaunchPlan.model_validate(content)
    return at_once(launch_form(expand(of), found, SCOPE, settled or settings(), page))


def fields(hook: FormHook) -> dict[str, FormField]:
    return {field.path: field for field in hook.fields}


def test_an_input_has_its_type_its_default_and_where_the_default_is_from() -> None:
    of = workflow(
        inputs={"day": None, "rows": 10, "fast": True},
        required=("day",),
        schemas={"rows": {"type": "integer"}},
    )
    day, rows, fast = form(of, plan={"inputs": {"rows": 5}}).inputs
    assert (day.required, day.default, day.source) == (True, None, "")
    assert (rows.json_schema, rows.default, rows.source) == ({"type": "integer"}, 5, "launch plan")
    assert (fast.required, fast.default, fast.source) == (False, True, "workflow")


def test_an_input_that_the_launch_plan_gives_is_not_required() -> None:
    of = workflow(inputs={"day": None}, required=("day",))
    [day] = form(of, plan={"inputs": {"day": "monday"}}).inputs
    assert (day.required, day.default, day.source) == (False, "monday", "launch plan")


def test_a_hook_has_every_field_that_can_be_overridden() -> None:
    [hook] = form(workflow()).hooks
    paths = {path.partition(".")[0] for path in fields(hook)}
    assert paths == set(NodeOverrides.model_fields) - {"task_config_type"}
    assert fields(hook)["retries"].json_schema == {"type": "integer", "minimum": 0, "maximum": 100}
    assert fields(hook)["resources.limits.gpu"].json_schema["format"] == "quantity"


def test_a_default_has_its_source() -> None:
    of = workflow(
        node(hook=overrides(retries=3, environment={"A": "2"}), overrides=overrides(cache=False)),
        task=overrides(environment={"A": "1", "B": "1"}, container_image="train:1"),
    )
    plan = {"runtime_override": {"trainer": overrides(retries=0)}}
    [hook] = form(of, plan=plan).hooks
    found = {path: (f.default, f.source) for path, f in fields(hook).items() if f.source}
    assert found == {
        "cache": (False, "with_overrides"),
        "container_image": ("train:1", "task"),
        "environment.A": ("2", "hook default"),
        "environment.B": ("1", "task"),
        "interruptible": (False, "engine"),
        "retries": (0, "launch plan override"),
    }
    assert fields(hook)["environment"].default == {"A": "2", "B": "1"}


def test_a_configuration_is_shown_whole_and_by_key_and_a_pod_whole() -> None:
    pod = {"pod_spec": {"nodeSelector": {"disk": "ssd"}}}
    of = workflow(
        node(hook=overrides(task_config={"spark": {"executors": 4}})),
        task=overrides(
            task_config={"spark": {"executors": 1, "cores": 2}},
            task_config_type="shop.Spark",
            pod_template=pod,
        ),
    )
    [hook] = form(of).hooks
    found = fields(hook)
    assert found["task_config"].default == {"spark": {"executors": 4, "cores": 2}}
    executors, cores = found["task_config.spark.executors"], found["task_config.spark.cores"]
    assert (executors.default, executors.source) == (4, "hook default")
    assert (cores.default, cores.source) == (2, "task")
    assert found["pod_template"].default["pod_spec"] == pod["pod_spec"]
    assert hook.task_config_type == "shop.Spark"


def test_a_default_of_the_settings_has_scope_and_revision() -> None:
    config = {"envs": {"TIER": "gold"}, "interruptible": True}
    settled = settings(
        record("task_resource", LIMITS), record("workflow_execution_config", config, PLATFORM)
    )
    [hook] = form(workflow(), settled).hooks
    cpu, tier = fields(hook)["resources.requests.cpu"], fields(hook)["environment.TIER"]
    scope = "project-domain shop/development"
    assert (cpu.default, cpu.source, cpu.scope) == ("1", "task_resource.defaults.cpu", scope)
    assert (tier.default, tier.source) == ("gold", "workflow_execution_config.envs.TIER")
    assert (cpu.revision, tier.revision, tier.scope) == (1, 2, "platform")
    assert fields(hook)["interruptible"].default is True


def test_a_resource_has_the_limits_that_apply_the_lowest_first() -> None:
    settled = settings(
        record("task_resource", {"limits": {"cpu": "4"}, "over_limit": "clamp"}),
        record("task_resource", {"ceiling": {"cpu": "8"}}, PLATFORM),
    )
    [hook] = form(workflow(), settled).hooks
    for path in ("resources.requests.cpu", "resources.limits.cpu"):
        field = fields(hook)[path]
        assert [
            (limit.amount, limit.name, limit.scope, limit.revision) for limit in field.limits
        ] == [
            ("4", "task_resource.limits.cpu", "project-domain shop/development", 1),
            ("8", "task_resource.ceiling.cpu", "platform", 2),
        ]
        assert field.over_limit == "clamp"
    assert fields(hook)["resources.requests.memory"].over_limit is None


def test_the_settings_of_a_launch_plan_apply_to_its_form_only() -> None:
    scope = Scope("development", "shop", "nightly", "weekly")
    settled = settings(record("task_resource", LIMITS, scope))
    [own] = form(workflow(), settled, plan={"name": "weekly"}).hooks
    [default] = form(workflow(), settled).hooks
    assert fields(own)["resources.limits.cpu"].limits[0].scope.startswith("launch-plan")
    assert fields(default)["resources.limits.cpu"].limits == ()


def test_a_default_above_its_limit_is_shown_with_the_refusal() -> None:
    of = workflow(node(hook=resources({"cpu": "3"})))
    [hook] = form(of, settings(record("task_resource", LIMITS))).hooks
    cpu = fields(hook)["resources.requests.cpu"]
    assert (cpu.default, cpu.source) == ("3", "hook default")
    assert "3 (hook default) is over 2, the task_resource.limits.cpu" in cpu.problem


def test_the_values_of_the_execution_as_a_whole_have_defaults_and_sources() -> None:
    config = {"max_parallelism": 5, "interruptible": True, "labels": {"team": "a", "tier": "1"}}
    settled = settings(
        record("workflow_execution_config", config),
        record("execution_cluster_label", {"value": "gpu"}),
    )
    plan = {"interruptible": False, "labels": {"team": "b"}, "environment": {"LOG": "info"}}
    found = {f.path: (f.default, f.source) for f in form(workflow(), settled, plan).execution}
    source = "workflow_execution_config."
    assert found == {
        "max_parallelism": (5, f"{source}max_parallelism"),
        "interruptible": (False, "launch plan"),
        "overwrite_cache": (None, ""),
        "labels": ({"team": "b", "tier": "1"}, ""),
        "labels.team": ("b", "launch plan"),
        "labels.tier": ("1", f"{source}labels.tier"),
        "annotations": (None, ""),
        "environment": ({"LOG": "info"}, ""),
        "environment.LOG": ("info", "launch plan"),
        "execution_cluster_label": ("gpu", "execution_cluster_label.value"),
    }


def called_twice() -> Workflow:
    """Return a workflow whose sub-workflow, with a hook, is called with two defaults."""
    inner = Graph(nodes=(node("n0", hook=overrides(retries=1)),))
    return workflow(
        Node(id="a", workflow="inner", inputs={}),
        Node(id="b", workflow="inner", inputs={}, hooks={"trainer": overrides(retries=2)}),
        Node(id="c", workflow="inner", inputs={}),
        workflows={"inner": inner},
    )


def test_a_hook_that_steers_several_paths_is_listed_by_equal_defaults() -> None:
    same, other = form(called_twice()).hooks
    assert (same.name, other.name) == ("trainer", "trainer")
    assert (same.paths, other.paths) == (("a/trainer", "c/trainer"), ("b/trainer",))
    assert (fields(same)["retries"].default, fields(other)["retries"].default) == (1, 2)


def test_a_launch_plan_can_give_one_path_a_default() -> None:
    plan = {"runtime_override": {"c/trainer": overrides(retries=9)}}
    found = {
        hook.paths: fields(hook)["retries"].default
        for hook in form(called_twice(), plan=plan).hooks
    }
    assert found == {("a/trainer",): 1, ("b/trainer",): 2, ("c/trainer",): 9}


PLANS: list[dict[str, Any]] = [
    {},
    {"environment": {"TIER": "plan", "B": ""}, "interruptible": True},
    {"runtime_override": {"trainer": overrides(retries=7), "b/trainer": resources({"cpu": "2"})}},
]


@pytest.mark.parametrize("plan", PLANS)
def test_the_defaults_are_those_that_an_execution_without_overrides_runs_with(
    plan: dict[str, Any],
) -> None:
    of = expand(called_twice())
    config = {"envs": {"TIER": "gold"}}
    settled = settings(
        record("task_resource", {**LIMITS, "mirror_limits_request": True}),
        record("workflow_execution_config", config, PLATFORM),
    )
    content = {"name": "nightly", "workflow": "nightly", "version": "1", **plan}
    given = {"project": "shop", "launch_plan": LaunchPlan.model_validate(content)}
    wanted = request(workflow_=of).model_copy(update=given)
    resolved = resolve(wanted, settled, Capabilities("any")).nodes
    for hook in form(of, settled, plan).hooks:
        for path in hook.paths:
            values = {v.path: (v.value, v.source) for v in resolved[f"{path.partition('/')[0]}.n0"]}
            assert values == {f.path: (f.default, f.source) for f in hook.fields if f.source}


def test_a_workflow_of_many_hooks_is_listed_in_pages() -> None:
    nodes = [
        Node(id=f"n{i}", task="train", inputs={}, hook=Hook(name=f"h{i}")) for i in range(2001)
    ]
    of, found, after = workflow(*nodes), list[str](), 0
    for _page in range(3):
        page = form(of, page=Page(after, 1000))
        found += [hook.name for hook in page.hooks]
        after = page.hooks_next or 0
    assert (found, after) == ([f"h{i}" for i in range(2001)], 0)


def test_a_hook_in_a_called_launch_plan_has_the_defaults_and_limits_there() -> None:
    call = PlanCall(
        **{"project": "lab", "domain": "production", "workflow": "train", "launch_plan": "weekly"},
        config=ExecutionConfig(environment={"TIER": "gold"}),
    )
    of = workflow(node(), node().model_copy(update={"id": "n1.n0", "plan": "n1"}))
    lab = {"defaults": {"cpu": "4"}, "limits": {"cpu": "8"}}
    settled = settings(
        record("task_resource", LIMITS),
        record("task_resource", lab, call.target),
        record("workflow_execution_config", {"envs": {"LOG": "lab"}}, call.target),
    )
    calling = of.model_copy(update={"plans": {"n1": call}})
    own, called = form(calling, settled, {"environment": {"OUTER": "1"}}).hooks
    assert [fields(hook)["resources.requests.cpu"].default for hook in (own, called)] == ["1", "4"]
    assert fields(called)["resources.requests.cpu"].limits[0].amount == "8"
    assert fields(own)["environment"].default == {"OUTER": "1"}
    assert fields(called)["environment"].default == {"LOG": "lab", "TIER": "gold"}
    tier = fields(called)["environment.TIER"]
    assert (tier.source, tier.scope) == ("called launch plan", str(call.target))
