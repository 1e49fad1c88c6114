"""Workflows that call what is registered elsewhere: found, checked and expanded by admin."""

import asyncio
import json
import re
import threading
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from tests.databases import BOTH
from tests.integration.admin.callers import grant, token_headers
from tests.integration.admin.running import SCOPE, register, registration, rows, workflow
from tests.servers import PATIENCE_SECONDS
from trimtab.workflows.graphs.graph import (
    MAX_NODES,
    Constant,
    FromInput,
    FromNode,
    Graph,
    Hook,
    Interface,
    Node,
    Reference,
    Task,
    Workflow,
)
from trimtab.workflows.graphs.node_overrides import NodeOverrides
from trimtab_admin.config import AdminConfig
from trimtab_admin.executions import closures
from trimtab_admin.storage import tables


def outer(reference: dict[str, Any], name: str = "outer", **more: Any) -> Workflow:
    """Return a workflow whose only node calls what it refers to as ``callee``."""
    full = {**SCOPE, "type": "workflow", "name": "nightly", "version": "1", **reference}
    node = {"id": "n0", "reference": "callee", "inputs": {"day": FromInput(name="day")}}
    fields: dict[str, Any] = {
        "name": name,
        "version": "1",
        "inputs": {"day": None},
        "required": ("day",),
        "tasks": {},
        "nodes": (Node(**{**node, **more}),),
        "references": {"callee": Reference(**full)},
        "output": FromNode(node="n0"),
        "module": "outer = ...\n",
    }
    return Workflow(**fields)


async def post(
    admin: httpx.AsyncClient,
    given: Workflow,
    project: str = "shop",
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    body = {**SCOPE, "project": project, "workflow": given.model_dump(mode="json")}
    return await admin.post("/workflows", json=body, headers=headers or {})


async def requested(settings: AdminConfig) -> Workflow:
    """Return the workflow in the request of the only execution."""
    [row] = await rows(settings, tables.executions)
    return Workflow.model_validate(json.loads(row["request"])["workflow"])


async def execute(
    admin: httpx.AsyncClient, headers: dict[str, str] | None = None, **more: Any
) -> httpx.Response:
    body = {**SCOPE, "workflow": "outer", "inputs": {"day": "monday"}, **more}
    return await admin.post("/executions", json=body, headers=headers or {})


@BOTH
@pytest.mark.parametrize("kind", ["task", "workflow", "launch_plan"])
async def test_an_execution_runs_the_tasks_of_what_is_referred_to(
    admin: httpx.AsyncClient, settings: AdminConfig, kind: str
) -> None:
    await register(admin, workflow())
    plan = {"name": "weekly", "workflow": "nightly", "version": "1", "environment": {"A": "1"}}
    await admin.post("/launch_plans", json={**SCOPE, "launch_plan": plan})
    name = {"task": "load", "workflow": "nightly", "launch_plan": "weekly"}[kind]
    assert (await post(admin, outer({"type": kind, "name": name}))).status_code == 201
    assert (await execute(admin)).status_code == 201
    run = await requested(settings)
    ids = ["n0"] if kind == "task" else ["n0.n0", "n0.n1"]
    assert [node.id for node in run.nodes] == ids
    [code] = run.sources
    assert run.sources[code] == workflow().module
    assert {task.target.code for task in run.tasks.values()} == {code}  # type: ignore[union-attr]
    called = [call.config.environment for call in run.plans.values()]
    assert called == ([{"A": "1"}] if kind == "launch_plan" else [])


async def test_hooks_of_what_is_referred_to_are_overridden_and_checked(
    admin: httpx.AsyncClient, settings: AdminConfig
) -> None:
    await register(admin, workflow())
    hooks = {"trainer": NodeOverrides(retries=5)}
    unknown = await post(admin, outer({}, hooks={"trianer": NodeOverrides()}))
    assert (unknown.status_code, unknown.json()["path"]) == (400, "nodes.n0.hooks.trianer")
    assert "the hooks trainer" in unknown.json()["allowed"]
    await post(admin, outer({}, hooks=hooks))
    plan = {"name": "p", "workflow": "outer", "version": "1"}
    for name, status in (("n0/trainer", 201), ("n1/trainer", 400)):
        override = {name: {"retries": 7}}
        body = {**SCOPE, "launch_plan": {**plan, "runtime_override": override}}
        assert (await admin.post("/launch_plans", json=body)).status_code == status
        assert (await execute(admin, overrides=override)).status_code == status
    [_, train] = (await requested(settings)).nodes
    assert train.hook is not None
    assert (train.hook.full_name, train.hook.default.retries) == ("n0/trainer", 5)


async def test_a_reference_to_the_default_launch_plan_is_one_to_the_workflow(
    admin: httpx.AsyncClient,
) -> None:
    await register(admin, workflow())
    assert (await post(admin, outer({"type": "launch_plan"}))).status_code == 201


@pytest.mark.parametrize(
    ("wrong", "detail"),
    [
        ({"name": "nightyl"}, "workflow 'nightyl' does not exist; did you mean 'nightly'"),
        ({"version": "2"}, "version of workflow 'nightly' '2' does not exist; there are: 1"),
        ({"type": "task", "name": "laod"}, "task 'laod' does not exist; did you mean 'load'"),
        ({"type": "task", "name": "load", "version": "2"}, "there are: 1"),
        ({"type": "launch_plan", "name": "weekly"}, "launch plan 'weekly' does not exist"),
    ],
)
async def test_what_does_not_exist_is_refused_with_names_that_do(
    admin: httpx.AsyncClient, wrong: dict[str, str], detail: str
) -> None:
    await register(admin, workflow())
    answer = await post(admin, outer(wrong))
    assert (answer.status_code, detail in answer.json()["detail"]) == (404, True), answer.text


@pytest.mark.parametrize(
    ("reference", "node", "path"),
    [
        ({}, {"inputs": {}}, "nodes.0.inputs.day"),
        ({}, {"inputs": {"dya": Constant(value=1)}}, "nodes.0.inputs.dya"),
        (
            {"interface": Interface(inputs={"day": {}, "rows": {}})},
            {},
            "references.callee.interface.inputs.rows",
        ),
    ],
)
async def test_inputs_that_do_not_fit_are_refused(
    admin: httpx.AsyncClient, reference: dict[str, Any], node: dict[str, Any], path: str
) -> None:
    await register(admin, workflow())
    answer = await post(admin, outer(reference, **node))
    assert (answer.status_code, answer.json()["path"]) == (400, path)


async def test_a_caller_can_refer_only_to_what_the_caller_may_see(
    admin: httpx.AsyncClient,
) -> None:
    """Later callers need not see it: the execution runs in their project."""
    await admin.post("/projects", json={"name": "lab"})
    await register(admin, workflow())
    editor = await token_headers(admin, "lab", grant("editor", project="lab"))
    for reference in (
        {"version": "1"},
        {"name": "unknown"},
        {"type": "task", "name": "load"},
        {"type": "task", "name": "unknown"},
        {"type": "launch_plan", "name": "unknown"},
    ):
        answer = await post(admin, outer(reference), "lab", editor)
        assert answer.status_code == 403, answer.text
    assert (await post(admin, outer({}), "lab")).status_code == 201
    assert (await execute(admin, editor, project="lab")).status_code == 201


async def test_references_of_references_are_followed_up_to_a_number(
    admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab_admin.executions.references.MAX_REFERENCES", 2)
    await register(admin, workflow())
    await register(admin, outer({}))
    assert (await post(admin, outer({"name": "outer"}, "two"))).status_code == 201
    answer = await post(admin, outer({"name": "two"}, "three"))
    assert answer.json()["allowed"] == "at most 2"


async def test_one_version_of_a_task_has_one_content(admin: httpx.AsyncClient) -> None:
    """Workflows of one file share their tasks, and other code may be equal for a task."""

    one, two = "def load(day): return 1\n", "def load(day): return 2\n"
    for name in ("nightly", "weekly"):
        await register(admin, workflow(name=name, module=one))
    answer = await post(admin, workflow(name="monthly", module=two))
    assert answer.status_code == 409
    assert "task 'load' version '1'" in answer.json()["detail"]
    assert len((await admin.get("/workflows")).json()) == 2
    same = {"load": Task(name="load", digest="0" * 64)}
    node = workflow().nodes[:1]
    for name, module in (("a", "# a\n"), ("b", "# b\n")):
        await register(admin, workflow("2", name=name, module=module, tasks=same, nodes=node))
    other = {"load": Task(name="load", digest="1" * 64)}
    changed = workflow("2", name="c", module="# c\n", tasks=other, nodes=node)
    assert (await post(admin, changed)).status_code == 409


async def test_an_expanded_workflow_of_too_many_bytes_is_refused(
    admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(admin, workflow())
    monkeypatch.setattr(closures, "MAX_EVENT_BYTES", 500)
    answer = await post(admin, outer({}))
    assert answer.json()["allowed"] == "at most 500 bytes, with all that it calls"


async def test_other_calls_are_served_while_a_workflow_is_expanded(
    admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a registration, and again when an execution is created."""
    begun, served, expand = threading.Event(), threading.Event(), closures.expand

    def slow(*args: Any) -> Workflow:
        begun.set()
        assert served.wait(PATIENCE_SECONDS)
        return expand(*args)

    monkeypatch.setattr(closures, "expand", slow)
    body = {**SCOPE, "workflow": "nightly", "inputs": {"day": "monday"}}
    for path, sent in (("/workflows", registration(workflow())), ("/executions", body)):
        begun.clear()
        served.clear()
        async with asyncio.TaskGroup() as group:
            call = group.create_task(admin.post(path, json=sent))
            while not begun.is_set():
                await asyncio.sleep(0.001)
            assert (await admin.get("/workflows")).status_code == 200
            served.set()
        assert (await call).status_code == 201


async def test_the_largest_workflow_with_a_hook_on_each_node_is_registered_and_executed(
    admin: httpx.AsyncClient, settings: AdminConfig
) -> None:
    def hooked(first: int, number: int) -> tuple[Node, ...]:
        inputs = {"previous": Constant(value="x" * 10)}
        return tuple(
            Node(id=f"n{n}", task="load", inputs=inputs, hook=Hook(name=f"load-of-{n}"))
            for n in range(first, first + number)
        )

    large = Workflow(
        name="outer",
        version="1",
        tasks={"load": Task(name="load")},
        workflows={"inner": Graph(nodes=hooked(0, 50))},
        nodes=(*hooked(50, MAX_NODES - 50), Node(id="inner", workflow="inner", inputs={})),
    )
    assert len(json.dumps(registration(large))) > settings.max_body_bytes
    assert (await post(admin, large)).status_code == 201
    assert (await post(admin, large)).status_code == 200
    assert (await execute(admin, inputs={})).status_code == 201
    assert len((await requested(settings)).nodes) == MAX_NODES
    too_large = await post(admin, large.model_copy(update={"module": "#" * 2**20}))
    assert too_large.status_code == 413


async def test_the_number_of_queries_does_not_grow_with_the_references(
    admin: httpx.AsyncClient, settings: AdminConfig
) -> None:
    plain = workflow(nodes=workflow().nodes[:1])
    for number in range(20):
        await register(admin, plain.model_copy(update={"name": f"w{number}"}))

    async def statements(number: int) -> int:
        many = {
            f"r{n}": Reference(**{**SCOPE, "type": "workflow", "name": f"w{n}", "version": "1"})
            for n in range(number)
        }
        given = {"inputs": {"day": FromInput(name="day")}}
        nodes = tuple(Node(id=f"n{n}", reference=f"r{n}", **given) for n in range(number))
        more = {"name": f"of{number}", "references": many, "nodes": nodes}
        assert (await post(admin, outer({}).model_copy(update=more))).status_code == 201
        seen: list[str] = []

        def on_statement(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
            seen.append(statement)

        sa.event.listen(Engine, "before_cursor_execute", on_statement)
        try:
            assert (await execute(admin, workflow=f"of{number}")).status_code == 201
        finally:
            sa.event.remove(Engine, "before_cursor_execute", on_statement)
        return sum(bool(re.search("FROM (workflows|tasks|launch_plans)", each)) for each in seen)

    assert await statements(1) == await statements(20) == 2
