"""RO-1 to RO-14: the requirements of the proposal for run-time overrides, by their ids.

`docs/runtime-overrides.md` has the decisions on what the proposal leaves open, with their tests.
"""

from collections.abc import Mapping
from itertools import count
from typing import Any

import pytest
from click.testing import CliRunner

from tests.unit.propeller.building import record, settings
from trimtab import (
    LaunchPlan,
    Resources,
    TaskNodeConfigOverride,
    runtime_override_config,
    task,
    workflow,
)
from trimtab.cli.main import cli
from trimtab.errors import Invalid, Rejected
from trimtab.levels import PLATFORM, Scope
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import ResolvedValue
from trimtab.resolution.limits import Refusal
from trimtab.settings.state import Settings
from trimtab.workflows.definitions.workflow_functions import WorkflowFunction
from trimtab.workflows.graphs import graph, launch_plans
from trimtab.workflows.graphs.expansion import Referenced, ReferenceKey, expand
from trimtab.workflows.graphs.graph import Node, Reference
from trimtab.workflows.graphs.launch_plans import ExecutionConfig
from trimtab.workflows.graphs.node_overrides import NodeOverrides, flat_overrides
from trimtab_admin.executions.launch_forms import Page, launch_form
from trimtab_admin.steps import at_once
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import resolve

EVERY_FIELD: dict[str, Any] = {
    "resources": {"requests": {"cpu": "2", "memory": "2Gi", "gpu": "1"}, "limits": {"cpu": "3"}},
    "cache": True,
    "cache_serialize": True,
    "cache_version": "2",
    "retries": 3,
    "interruptible": True,
    "container_image": "registry/train:2",
    "environment": {"LOG": "debug"},
    "task_config": {"spark": {"executors": 4}, "hive_cluster": "large"},
}
"""The fields of the proposal's message."""


@task(resources=Resources(cpu=1, mem="1Gi"), retries=1, environment={"LOG": "info", "TIER": "a"})
def t1() -> int:
    return 1


@task
def t2() -> int:
    return 2


@workflow
def wf() -> Any:
    t1()
    t1().with_runtime_override("task-yee")
    return t2().with_runtime_override("task-ketan", runtime_override_config(cpu=1, retries=2))


@workflow
def sub_wf() -> Any:
    t2().with_runtime_override("left", runtime_override_config(retries=1, cpu=1))
    t2().with_runtime_override("right")
    return t2()


@workflow
def nested() -> Any:
    sub_wf()
    sub_wf().with_runtime_override(
        "left", runtime_override_config(retries=5, mem="2Gi")
    ).with_runtime_override("right", runtime_override_config(mem="1Gi"))
    return t1().with_runtime_override("own")


def overrides(**fields: Any) -> NodeOverrides:
    return NodeOverrides.model_validate(fields)


def request(
    function: WorkflowFunction | graph.Workflow,
    plan: LaunchPlan | None = None,
    given: Mapping[str, NodeOverrides] | None = None,
    **config: Any,
) -> Request:
    """Build what admin builds of a registered workflow, a launch plan and overrides."""
    registered = function if isinstance(function, graph.Workflow) else function.graph("1", "")
    name = registered.name
    expanded = expand(registered)
    default = launch_plans.LaunchPlan(name=name, workflow=name, version="1")
    return Request(
        execution="e1",
        project="shop",
        domain="development",
        workflow=expanded,
        launch_plan=default if plan is None else plan.graph(registered),
        overrides=dict(given or {}),
        **ExecutionConfig.model_validate(config).model_dump(),
    )


def values(wanted: Request, node: str, settled: Settings | None = None) -> dict[str, ResolvedValue]:
    resolution = resolve(wanted, settled or settings(), Capabilities("any"))
    return {value.path: value for value in resolution.nodes[node]}


NUMBERS = count()


def plan_of(function: WorkflowFunction, **given: NodeOverrides) -> LaunchPlan:
    name = f"plan-{next(NUMBERS)}"
    return LaunchPlan.get_or_create(workflow=function, name=name, runtime_override=given)


@pytest.mark.parametrize(("path", "value"), flat_overrides(overrides(**EVERY_FIELD)).items())
def test_ro_1_what_is_fixed_at_registration_can_be_changed(path: str, value: object) -> None:
    changed = values(request(wf, given={"task-yee": overrides(**EVERY_FIELD)}), "n1")[path]
    assert (changed.value, changed.source) == (value, "execution override")


def referencing(*nodes: Node) -> graph.Workflow:
    """Return a workflow that calls a launch plan of a workflow that is registered elsewhere."""
    reference = Reference(
        type="launch_plan", project="lab", domain="development", name="weekly", version="1"
    )
    called = Node(id="n0", reference="weekly", inputs={}, hooks={"task-yee": overrides(retries=7)})
    return graph.Workflow(
        name="caller",
        version="1",
        tasks={},
        references={"weekly": reference},
        nodes=nodes or (called,),
    )


def expanded_reference() -> graph.Workflow:
    caller = referencing()
    plan = launch_plans.LaunchPlan(
        name="weekly",
        workflow="wf",
        version="1",
        runtime_override={"task-ketan": overrides(retries=9)},
        environment={"LOG": "weekly"},
        interruptible=True,
        max_parallelism=1,
        labels={"team": "a"},
    )
    found = Referenced(wf.graph("1", "def t1(): ..."), plan)
    return expand(caller, {ReferenceKey.of(caller.references["weekly"]): found})


def test_ro_2_what_is_registered_elsewhere_can_be_overridden_without_registering_it_again() -> None:
    wanted = request(expanded_reference(), given={"task-yee": overrides(container_image="a:2")})
    found = values(wanted, "n0.n1")
    assert (found["container_image"].value, found["retries"].value) == ("a:2", 7)


def test_a_called_launch_plan_gives_its_nodes_defaults_and_values_and_the_request_beats_it() -> (
    None
):
    wanted = request(expanded_reference())
    found = values(wanted, "n0.n2")
    assert (found["retries"].value, found["retries"].source) == (9, "hook default")
    assert (found["environment.LOG"].value, found["interruptible"].value) == ("weekly", True)
    assert found["environment.LOG"].source == "called launch plan"
    resolution = resolve(wanted, settings(), Capabilities("any"))
    assert resolution.execution == ()
    called = {value.path: value.value for value in resolution.plans["n0"]}
    assert called == {"max_parallelism": 1, "labels.team": "a"}
    given = request(expanded_reference(), environment={"LOG": "request"}, interruptible=False)
    found = values(given, "n0.n2")
    assert (found["environment.LOG"].value, found["interruptible"].value) == ("request", False)


def test_ro_3_a_node_without_a_hook_cannot_be_overridden() -> None:
    for name in ("t1", "n0", "n0/task-yee"):
        with pytest.raises(Refusal, match="the hooks task-yee, task-ketan"):
            resolve(
                request(wf, given={name: overrides(retries=5)}), settings(), Capabilities("any")
            )


def test_ro_4_a_call_opts_in_by_the_name_of_its_hook() -> None:
    assert [node.hook and node.hook.name for node in wf.graph("1", "").nodes] == [
        None,
        "task-yee",
        "task-ketan",
    ]


def test_ro_5_the_hook_belongs_to_the_node_and_not_to_the_task() -> None:
    wanted = request(wf, given={"task-yee": overrides(retries=5)})
    assert [values(wanted, node)["retries"].value for node in ("n0", "n1")] == [1, 5]


def test_ro_5_two_calls_of_a_task_may_have_two_hooks() -> None:
    @workflow
    def twice() -> None:
        t1().with_runtime_override("first")
        t1().with_runtime_override("second")

    given = {"first": overrides(retries=5), "second": overrides(retries=6)}
    wanted = request(twice, given=given)
    assert [values(wanted, node)["retries"].value for node in ("n0", "n1")] == [5, 6]


def test_ro_6_a_flat_map_of_hooks_reaches_nested_workflows() -> None:
    wanted = request(nested, given={"right": overrides(retries=8), "own": overrides(retries=9)})
    found = {node: values(wanted, node)["retries"].value for node in ("n0.n1", "n1.n1", "n2")}
    assert found == {"n0.n1": 8, "n1.n1": 8, "n2": 9}


def test_one_entry_steers_every_path_of_a_hook_and_a_path_steers_one() -> None:
    given = {"left": overrides(retries=8), "n1/left": overrides(retries=9)}
    wanted = request(nested, given=given)
    assert [values(wanted, node)["retries"].value for node in ("n0.n0", "n1.n0")] == [8, 9]


def test_ro_7_one_message_has_all_fields_that_can_be_overridden() -> None:
    assert set(EVERY_FIELD) <= set(NodeOverrides.model_fields)
    message = overrides(**EVERY_FIELD)
    assert NodeOverrides.model_validate_json(message.model_dump_json()) == message
    resources = Resources(cpu=("2", "3"), mem="2Gi", gpu=1)
    written = TaskNodeConfigOverride(**{**EVERY_FIELD, "resources": resources})
    assert written.overrides == message


def test_ro_8_overrides_come_from_workflow_launch_plan_command_line_and_api() -> None:
    plan = plan_of(wf, **{"task-ketan": overrides(retries=6)})
    given = {"task-ketan": overrides(retries=7)}
    found = [values(request(wf, *more), "n2")["retries"] for more in ((), (plan,), (plan, given))]
    assert [(each.value, each.source) for each in found] == [
        (2, "hook default"),
        (6, "launch plan override"),
        (7, "execution override"),
    ]
    help_ = CliRunner().invoke(cli, ["execute", "--help"]).output
    assert "--override HOOK=JSON" in help_


def form(function: WorkflowFunction, plan: LaunchPlan | None = None) -> dict[str, dict[str, Any]]:
    wanted = request(function, plan)
    page, scope = Page(0, 100), Scope("development", "shop")
    shown = at_once(launch_form(wanted.workflow, wanted.launch_plan, scope, settings(), page))
    found = {"": {field.path: field.default for field in shown.execution}}
    for hook in shown.hooks:
        for path in hook.paths:
            found[path] = {field.path: field.default for field in hook.fields}
    return found


def test_ro_9_the_launch_form_has_every_hook_and_the_values_of_the_execution() -> None:
    shown = form(nested)
    assert set(shown) - {""} == {"n0/left", "n0/right", "n1/left", "n1/right", "own"}
    assert {"resources.requests.gpu", "resources.requests.memory"} <= set(shown["own"])
    assert {"interruptible", "overwrite_cache"} <= set(shown[""])


def test_ro_10_the_value_in_the_workflow_is_the_default_that_the_form_shows() -> None:
    assert form(wf)["task-ketan"]["retries"] == 2
    assert form(wf)["task-ketan"]["resources.requests.cpu"] == "1"
    assert (
        form(wf, plan_of(wf, **{"task-ketan": overrides(retries=6)}))["task-ketan"]["retries"] == 6
    )


def test_ro_11_chained_calls_on_a_sub_workflow_give_its_hooks_other_defaults() -> None:
    wanted = request(nested)
    assert values(wanted, "n0.n0")["retries"].value == 1
    changed = values(wanted, "n1.n0")
    assert (changed["retries"].value, changed["resources.requests.cpu"].value) == (5, "1")
    assert changed["resources.requests.memory"].value == "2Gi"
    assert values(wanted, "n1.n1")["resources.requests.memory"].value == "1Gi"


def test_ro_12_a_launch_plan_is_made_with_overrides_by_hook() -> None:
    @workflow
    def planned() -> None:
        t1().with_runtime_override("task-yee")

    given = {"task-yee": TaskNodeConfigOverride(resources=Resources(cpu=2), retries=0)}
    plan = LaunchPlan.get_or_create(workflow=planned, name="your_lp_name_5", runtime_override=given)
    registered = plan.graph(planned.graph("1", "")).runtime_override
    assert registered == {"task-yee": runtime_override_config(cpu=2, retries=0)}


def test_ro_13_of_a_hook_the_launch_plan_beats_the_workflow_field_by_field() -> None:
    plan = plan_of(wf, **{"task-ketan": overrides(retries=6, environment={"A": "1"})})
    found = values(request(wf, plan), "n2")
    assert (found["retries"].value, found["retries"].source) == (6, "launch plan override")
    cpu = found["resources.requests.cpu"]
    assert (cpu.value, cpu.source) == ("1", "hook default")


def test_ro_14_two_hooks_of_one_name_are_an_error_of_the_compiler() -> None:
    @workflow
    def doubled() -> None:
        t1().with_runtime_override("same")
        t2().with_runtime_override("same")

    with pytest.raises(Rejected, match="same"):
        doubled.graph("1", "")


def test_ro_14_a_hook_in_a_sub_workflow_counts_too_and_a_second_call_of_it_does_not() -> None:
    @workflow
    def doubled() -> None:
        sub_wf()
        t1().with_runtime_override("left")

    with pytest.raises(Rejected, match="left"):
        doubled.graph("1", "")
    assert len(nested.graph("1", "").hooks) == 3


def test_false_zero_and_empty_text_are_values() -> None:
    given = overrides(retries=0, interruptible=False, cache=False, environment={"LOG": ""})
    wanted = request(wf, given={"task-yee": given}, interruptible=True)
    found = values(wanted, "n1")
    paths = ("retries", "interruptible", "cache", "environment.LOG")
    assert [found[path].value for path in paths] == [0, False, False, ""]
    assert {found[path].source for path in paths} == {"execution override"}


def test_a_variable_can_be_emptied_and_not_removed() -> None:
    found = values(request(wf, given={"task-yee": overrides(environment={"LOG": ""})}), "n1")
    assert (found["environment.LOG"].value, found["environment.TIER"].value) == ("", "a")
    with pytest.raises(ValueError, match="valid string"):
        overrides(environment={"LOG": None})


def limited(**policy: Any) -> Settings:
    return settings(record("task_resource", {"limits": {"cpu": "2"}, **policy}, PLATFORM))


def test_an_override_of_the_request_keeps_the_limit() -> None:
    @task(resources=Resources(cpu=("500m", "1")))
    def bounded() -> None: ...

    @workflow
    def one() -> None:
        bounded().with_runtime_override("hook")

    def found(cpu: str, settled: Settings) -> tuple[Any, Any]:
        wanted = request(one, given={"hook": runtime_override_config(cpu=cpu)})
        leaves = values(wanted, "n0", settled)
        return leaves["resources.requests.cpu"].value, leaves["resources.limits.cpu"].value

    assert found("700m", limited()) == ("700m", "1")
    with pytest.raises(Refusal, match=r"1500m \(execution override\) is over 1"):
        found("1500m", limited())
    assert found("1500m", limited(over_limit="clamp")) == ("1", "1")


def test_a_value_is_checked_where_it_is_written_and_again_at_admission() -> None:
    with pytest.raises(Invalid):
        runtime_override_config(cpu="1 core")
    wanted = request(wf, given={"task-yee": runtime_override_config(cpu=3)})
    with pytest.raises(Refusal, match=r"3 \(execution override\) is over 2"):
        resolve(wanted, limited(), Capabilities("any"))


def test_an_unknown_hook_of_a_launch_plan_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Invalid, match=r"the hooks (of wf: )?task-yee, task-ketan"):
        plan_of(wf, **{"task-yea": overrides(retries=1)})


def test_the_cache_can_be_overridden_and_is_part_of_the_resolution() -> None:
    given = overrides(cache=True, cache_version="2", container_image="a:2")
    found = values(request(wf, given={"task-yee": given}), "n1")
    assert (found["cache"].value, found["cache_version"].value) == (True, "2")


def test_an_execution_keeps_its_overrides_in_its_request() -> None:
    wanted = request(nested, given={"own": overrides(retries=9), "n1/left": overrides(cache=False)})
    assert Request.model_validate_json(wanted.model_dump_json()).overrides == wanted.overrides
