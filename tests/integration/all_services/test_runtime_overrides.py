"""Run-time overrides from registration to the environment of a task, on all services."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.integration.all_services.conftest import DOMAIN, PROJECT
from tests.servers import PATIENCE_SECONDS
from trimtab import load_module
from trimtab.api.executions import ExecutionCreate, LaunchPlanBody, WorkflowBody
from trimtab.client import Client
from trimtab.errors import Invalid
from trimtab.levels import Scope
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab.workflows.graphs.node_overrides import NodeOverrides

FOLDS = """
import os
from trimtab import LaunchPlan, runtime_override_config, task, workflow

@task(environment={"MODEL": "task", "SEED": "1"})
def train(rows: int) -> str:
    return f"{os.environ['MODEL']} {os.environ['SEED']} {rows}"

@task
def join(first: str, second: str, third: str) -> str:
    return f"{first}, {second}, {third}"

@workflow
def fold(rows: int = 10) -> str:
    return train(rows=rows).with_runtime_override(
        "trainer", runtime_override_config(environment={"MODEL": "hook"})
    )

@workflow
def folds(rows: int = 10) -> str:
    return join(
        first=fold(rows=rows),
        second=fold(rows=rows).with_runtime_override(
            "trainer", runtime_override_config(environment={"SEED": "2"})
        ),
        third=train(rows=rows),
    )

LaunchPlan.get_or_create(
    workflow=folds,
    name="folds_large",
    inputs={"rows": 99},
    runtime_override={"trainer": runtime_override_config(environment={"MODEL": "plan"})},
)
"""
CALLER = """
from trimtab import reference_launch_plan, workflow

@reference_launch_plan(
    project="flyteexamples", domain="development", name="folds_large", version="1"
)
def folds_large() -> str: ...

@workflow
def caller() -> str:
    return folds_large()
"""


@pytest.fixture
async def registered(api: Client, tmp_path: Path) -> Client:
    """Register both files, and limit CPU to 2."""
    await api.records.put("task_resource", Scope(DOMAIN, PROJECT), {"limits": {"cpu": "2"}})
    for text in (FOLDS, CALLER):
        (tmp_path / "module.py").write_text(text)
        module = load_module(tmp_path / "module.py", "1")
        for workflow in module.workflows:
            body = WorkflowBody(project=PROJECT, domain=DOMAIN, workflow=workflow)
            await api.workflows.create(body)
        for plan in module.launch_plans:
            await register_plan(api, plan)
    return api


async def register_plan(api: Client, plan: LaunchPlan) -> None:
    body = LaunchPlanBody(project=PROJECT, domain=DOMAIN, launch_plan=plan)
    await api.launch_plans.create(body)


def overrides(**by_hook: Any) -> dict[str, NodeOverrides]:
    return {hook: NodeOverrides.model_validate(fields) for hook, fields in by_hook.items()}


async def output(api: Client, workflow: str, **fields: Any) -> Any:
    request = ExecutionCreate(project=PROJECT, domain=DOMAIN, workflow=workflow, **fields)
    execution = await api.executions.create(request)
    ended = await api.executions.wait(execution.id)
    assert ended.phase == "succeeded", ended.error
    return ended.output


async def check_form(registered: Client) -> None:
    form = await registered.launch_plans.form(PROJECT, DOMAIN, "folds_large")
    assert [(each.name, each.paths) for each in form.hooks] == [
        ("trainer", ("n0/trainer",)),
        ("trainer", ("n1/trainer",)),
    ]
    [cpu] = [f for f in form.hooks[0].fields if f.path == "resources.requests.cpu"]
    assert cpu.limits[0].amount == "2"
    calling = await registered.workflows.form(PROJECT, DOMAIN, "caller")
    assert [hook.paths for hook in calling.hooks] == [("n0/n0/trainer",), ("n0/n1/trainer",)]


async def check_refusals(registered: Client) -> None:
    """Check what is refused when a launch plan is registered and when an execution is created."""
    too_much = {"resources": {"requests": {"cpu": "3"}}}
    for name, fields, message in (
        ("trainer", too_much, "trainer.resources.requests.cpu: '3' is not valid; allowed: at most"),
        ("trianer", {}, "did you mean 'trainer'"),
    ):
        wrong = overrides(**{name: fields})
        plan = LaunchPlan(name="wrong", workflow="folds", version="1", runtime_override=wrong)
        request = ExecutionCreate(project=PROJECT, domain=DOMAIN, workflow="folds", overrides=wrong)
        with pytest.raises(Invalid, match=message):
            await register_plan(registered, plan)
        with pytest.raises(Invalid, match=message):
            await registered.executions.create(request)


async def test_ro_8_overrides_given_in_each_way_reach_the_nodes_of_their_hook_and_no_others(
    registered: Client,
) -> None:
    await check_form(registered)
    await check_refusals(registered)
    async with asyncio.timeout(3 * PATIENCE_SECONDS):
        assert await output(registered, "folds") == "hook 1 10, hook 2 10, task 1 10"
        by_path = overrides(
            trainer={"environment": {"MODEL": "run"}},
            **{"n1/trainer": {"environment": {"MODEL": "one"}}},
        )
        found = await output(registered, "folds", launch_plan="folds_large", overrides=by_path)
        assert found == "run 1 99, one 2 99, task 1 99"
        # What is registered elsewhere has its launch plan's values, and can be overridden too.
        assert await output(registered, "caller") == "plan 1 99, plan 2 99, task 1 99"
        called = overrides(trainer={"environment": {"SEED": "3"}})
        found = await output(registered, "caller", overrides=called)
        assert found == "plan 3 99, plan 3 99, task 1 99"
