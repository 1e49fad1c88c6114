"""The launch forms of registered workflows and launch plans over HTTP, and who may read them."""

from typing import Any

import httpx

from tests.integration.admin.callers import grant, token_headers
from tests.integration.admin.running import FORCE, SCOPE, register, workflow
from trimtab.workflows.graphs.graph import Hook, Node

FORM = "/workflows/shop/development/nightly/form"
PLAN_FORM = "/launch_plans/shop/development/weekly/form"
PLAN = {
    "name": "weekly",
    "workflow": "nightly",
    "version": "1",
    "inputs": {"day": "sunday"},
    "runtime_override": {"trainer": {"retries": 3}},
}


async def set_up(admin: httpx.AsyncClient) -> None:
    await register(admin, workflow())
    planned = await admin.post("/launch_plans", json={**SCOPE, "launch_plan": PLAN})
    limits = {"defaults": {"cpu": "1"}, "limits": {"cpu": "2"}}
    written = await admin.put("/records/task_resource", params={**SCOPE, **FORCE}, json=limits)
    assert (planned.status_code, written.status_code) == (201, 200), written.text


def field(form: dict[str, Any], path: str) -> dict[str, Any]:
    [hook] = form["hooks"]
    [found] = [each for each in hook["fields"] if each["path"] == path]
    return dict(found)


async def test_a_form_has_inputs_and_hooks_with_defaults_sources_and_limits(
    admin: httpx.AsyncClient,
) -> None:
    await set_up(admin)
    form = (await admin.get(FORM, params={"version": "1"})).json()
    assert [(each["name"], each["required"]) for each in form["inputs"]] == [
        ("day", True),
        ("limit", False),
    ]
    assert (field(form, "retries")["default"], field(form, "retries")["source"]) == (
        1,
        "hook default",
    )
    cpu = field(form, "resources.requests.cpu")
    [bound] = cpu["limits"]
    assert (cpu["default"], cpu["source"]) == ("1", "task_resource.defaults.cpu")
    assert (bound["amount"], bound["name"]) == ("2", "task_resource.limits.cpu")
    assert (bound["scope"], cpu["over_limit"]) == (
        "project-domain shop/development",
        "refuse",
    )
    planned = (await admin.get(PLAN_FORM)).json()
    assert (planned["inputs"][0]["default"], planned["inputs"][0]["required"]) == ("sunday", False)
    assert field(planned, "retries")["source"] == "launch plan override"


async def test_hooks_come_in_pages(admin: httpx.AsyncClient) -> None:
    nodes = [
        Node(id=f"n{i}", task="train", inputs={}, hook=Hook(name=f"h{i}", default={}))
        for i in range(5)
    ]
    await register(admin, workflow(nodes=nodes))
    found, after = [], 0
    for _page in range(3):
        form = (await admin.get(FORM, params={"limit": 2, "hooks_after": after})).json()
        found += [hook["name"] for hook in form["hooks"]]
        after = form.get("hooks_next", -1)
    assert (found, after) == ([f"h{i}" for i in range(5)], -1)


async def test_a_form_is_read_with_the_role_that_reads_the_workflow_or_the_launch_plan(
    admin: httpx.AsyncClient,
) -> None:
    await set_up(admin)
    await admin.post("/projects", json={"name": "lab"})
    plan = {**SCOPE, "workflow": "nightly", "launch_plan": "weekly"}
    scopes = {
        "plan": plan,
        "sibling": {**plan, "launch_plan": "daily"},
        "project": {"project": "shop"},
        "other": {"project": "lab"},
    }
    found = {}
    for name, scope in scopes.items():
        headers = await token_headers(admin, name, grant("viewer", **scope))
        found[name] = [
            (await admin.get(path, headers=headers)).status_code for path in (FORM, PLAN_FORM)
        ]
    assert found == {
        "plan": [403, 200],
        "sibling": [403, 404],
        "project": [200, 200],
        "other": [403, 403],
    }


async def test_the_form_of_what_does_not_exist_is_an_error_with_the_nearest_names(
    admin: httpx.AsyncClient,
) -> None:
    await set_up(admin)
    for path, allowed in (
        (FORM.replace("nightly", "nihtly"), "nightly"),
        (PLAN_FORM.replace("weekly", "wekly"), "weekly"),
        (PLAN_FORM.replace("shop", "shpo"), "shop"),
    ):
        answer = await admin.get(path)
        assert (answer.status_code, allowed in answer.json()["allowed"]) == (404, True)
    assert (await admin.get(PLAN_FORM, params={"version": "2"})).status_code == 404
