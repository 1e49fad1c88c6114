"""Names in parameters: a wrong one is refused with the nearest names, on every read."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
import pytest_asyncio

from tests.integration.admin.callers import grant, token_headers
from tests.integration.admin.running import FORCE, SCOPE, register, workflow
from trimtab.api.problems import WARNING_HEADER
from trimtab_admin.config import AdminConfig
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import sessions_of, transaction

pytestmark = pytest.mark.asyncio(loop_scope="module")

LISTS = ("/records", "/history", "/executions", "/workflows", "/launch_plans", "/watch")
OF_A_SCOPE = (
    "/records/task_resource",
    "/records/task_resource/history",
    "/effective/task_resource",
    "/effective",
    "/explain/task_resource",
)
WARNING = "workflow 'nightli' is not registered in project-domain shop/development"
HINT = f"{WARNING}; did you mean 'nightly'"
UNREGISTERED = {**SCOPE, "workflow": "nightli"}
LIMITS = {"limits": {"cpu": "1"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def admin(shared: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """admin with one workflow, in one of its projects, and the others archived."""
    await register(shared, workflow())
    await shared.patch("/projects/lab", json={"state": "archived"})
    yield shared


def problem(response: httpx.Response) -> tuple[int, str, str, str]:
    body = response.json()
    return response.status_code, body["path"], body["value"], body["allowed"]


@pytest.mark.parametrize("path", [*LISTS, *OF_A_SCOPE])
async def test_an_unknown_project_or_domain_is_refused_with_the_nearest(
    admin: httpx.AsyncClient, path: str
) -> None:
    response = await admin.get(path, params={"project": "shp"})
    assert problem(response) == (404, "project", "shp", "lab, shop")
    message = "project 'shp' does not exist; did you mean 'shop'; there are: lab, shop"
    assert response.json()["detail"] == message
    response = await admin.get(path, params={"domain": "prodution"})
    domains = "development, production, staging"
    assert problem(response) == (404, "domain", "prodution", domains)
    assert "did you mean 'production'" in response.json()["detail"]


@pytest.mark.parametrize("path", ["/records", "/history", "/watch"])
async def test_an_unknown_kind_is_refused_with_the_nearest(
    admin: httpx.AsyncClient, path: str
) -> None:
    response = await admin.get(path, params={"kind": "task_resources"})
    assert problem(response)[:3] == (404, "kind", "task_resources")
    assert "did you mean 'task_resource'" in response.json()["detail"]


async def test_an_unknown_caller_of_the_audit_trail_is_refused_with_the_nearest(
    admin: httpx.AsyncClient,
) -> None:
    await token_headers(admin, "shop-ci", grant("viewer", project="shop"))
    response = await admin.get("/audit", params={"caller": "shop-cl"})
    assert problem(response)[:3] == (404, "caller", "shop-cl")
    assert "did you mean 'shop-ci'" in response.json()["detail"]
    for caller in ("root", "anonymous", "shop-ci"):
        assert (await admin.get("/audit", params={"caller": caller})).status_code == 200


async def test_records_have_no_kind_that_is_an_entity(admin: httpx.AsyncClient) -> None:
    assert (await admin.get("/records", params={"kind": "project"})).status_code == 404
    for kind in ("project", "domain", "cluster", "pool", "queue"):
        assert (await admin.get("/history", params={"kind": kind})).status_code == 200


async def test_an_unknown_level_is_refused_with_the_levels(admin: httpx.AsyncClient) -> None:
    response = await admin.get("/records", params={"level": "project_domain"})
    assert (response.status_code, response.json()["path"]) == (400, "level")
    assert "'project-domain'" in response.json()["allowed"]


async def test_a_write_at_an_unknown_project_is_refused_alike(admin: httpx.AsyncClient) -> None:
    for method in ("PUT", "PATCH", "DELETE"):
        params = {**FORCE, "project": "shp"}
        body = None if method == "DELETE" else LIMITS
        response = await admin.request(method, "/records/task_resource", params=params, json=body)
        assert problem(response) == (404, "project", "shp", "lab, shop")


async def test_paths_of_workflows_projects_and_pools_are_checked(admin: httpx.AsyncClient) -> None:
    for path, type, name in (
        ("/workflows/shp/development/nightly", "project", "shp"),
        ("/workflows/shop/develop/nightly", "domain", "develop"),
        ("/workflows/shop/development/nightli", "workflow", "nightli"),
        ("/projects/shp", "project", "shp"),
        ("/pools/gpu", "pool", "gpu"),
        ("/pools/gpu/usage", "pool", "gpu"),
    ):
        response = await admin.get(path)
        assert (response.status_code, response.json()["path"]) == (404, type), response.text
        assert response.json()["value"] == name


async def test_an_archived_project_can_be_queried(admin: httpx.AsyncClient) -> None:
    for path in LISTS[:-1]:
        response = await admin.get(path, params={"project": "lab"})
        assert response.status_code == 200, response.text
    assert (await admin.get("/history", params={"project": "lab"})).json() != []


async def test_a_project_and_a_kind_that_only_history_has_can_be_queried(
    admin: httpx.AsyncClient, shared_settings: AdminConfig
) -> None:
    await add_history(shared_settings, 10**9, "trimtab.projects.gone", "project")
    await add_history(shared_settings, 10**9 + 1, "trimtab.attributes.old.*.gone.*.*", "old")
    for params in ({"project": "gone"}, {"kind": "old"}):
        response = await admin.get("/history", params=params)
        assert response.status_code == 200, response.text
        assert response.json()[0]["kind"] == "old"


async def add_history(settings: AdminConfig, revision: int, subject: str, kind: str) -> None:
    sessions = sessions_of(settings.database_url)
    event = {"name": "gone", "document": {}, "deleted": False}
    row = {
        **{column.name: "" for column in tables.history.columns},
        "revision": revision,
        "commit_revision": revision,
        "at": datetime.now(UTC),
        "subject": subject,
        "kind": kind,
        "project": "gone",
        "before": None,
        "after": json.dumps(event),
    }
    async with transaction(sessions) as session:
        await session.execute(tables.history.insert(), row)
    await sessions.kw["bind"].dispose()


async def test_a_project_outside_the_scope_is_refused_alike_whether_or_not_it_exists(
    admin: httpx.AsyncClient,
) -> None:
    headers = await token_headers(admin, "viewer", grant("viewer", project="shop"))
    for path in LISTS:
        texts = set()
        for project in ("lab", "lob"):
            response = await admin.get(path, params={"project": project}, headers=headers)
            assert response.status_code == 403
            assert response.json()["allowed"] == "viewer of project shop"
            texts.add(response.json()["detail"].replace(project, "…"))
        assert len(texts) == 1


async def test_a_viewer_learns_of_no_other_workflow(admin: httpx.AsyncClient) -> None:
    headers = await token_headers(admin, "one", grant("viewer", **UNREGISTERED))
    effective = await admin.get("/effective/task_resource", params=UNREGISTERED, headers=headers)
    assert effective.json()["warnings"] == [WARNING]
    for name in ("nightly", "nothing"):
        params = {**SCOPE, "workflow": name}
        listed = await admin.get("/records", params=params, headers=headers)
        assert (listed.json(), WARNING_HEADER in listed.headers) == ([], False)
    missing = await admin.get("/workflows/shop/development/nightli", headers=headers)
    assert (missing.status_code, "nightly" in missing.text) == (404, False)


@pytest.mark.parametrize("path", ["/records", "/history", *OF_A_SCOPE[1:]])
async def test_a_read_of_an_unregistered_workflow_warns(
    admin: httpx.AsyncClient, path: str
) -> None:
    response = await admin.get(path, params=UNREGISTERED)
    assert response.status_code == 200, response.text
    in_headers = response.headers.get_list(WARNING_HEADER)
    body = response.json()
    in_body = [] if isinstance(body, list) else body["warnings"]
    assert (in_headers, in_body) in (([HINT], []), ([], [HINT]))


async def test_a_registered_workflow_and_its_default_launch_plan_do_not_warn(
    admin: httpx.AsyncClient,
) -> None:
    registered = {**SCOPE, "workflow": "nightly"}
    for params in (registered, {**registered, "launch_plan": "nightly"}):
        response = await admin.get("/effective/task_resource", params=params)
        assert response.json()["warnings"] == []
    params = {**registered, "launch_plan": "late"}
    [warning] = (await admin.get("/explain/task_resource", params=params)).json()["warnings"]
    workflow = "workflow shop/development/nightly"
    assert warning == f"launch plan 'late' is not registered in {workflow}"


async def test_a_workflow_does_not_warn_as_soon_as_it_is_registered(
    admin: httpx.AsyncClient,
) -> None:
    params = {**SCOPE, "workflow": "weekly"}
    before = await admin.get("/effective", params=params)
    await register(admin, workflow(name="weekly"))
    after = await admin.get("/effective", params=params)
    assert (len(before.json()["warnings"]), after.json()["warnings"]) == (1, [])


async def test_a_write_for_an_unregistered_workflow_warns(admin: httpx.AsyncClient) -> None:
    path, params = "/records/task_resource", {**UNREGISTERED, **FORCE}
    for method in ("PUT", "PATCH"):
        response = await admin.request(method, path, params=params, json=LIMITS)
        assert (response.status_code, response.json()["warnings"]) == (200, [HINT])
    body = {"limits": {"cpu": "2"}}
    dry_run = await admin.put(path, params={**params, "dry_run": "true"}, json=body)
    assert dry_run.headers[WARNING_HEADER] == HINT
    await admin.delete(path, params=params)


async def test_an_apply_warns_of_the_first_workflows_that_are_not_registered(
    admin: httpx.AsyncClient,
) -> None:
    documents = [
        {"kind": "task_resource", **SCOPE, "workflow": f"job-{number}", "document": LIMITS}
        for number in range(25)
    ]
    response = await admin.post("/apply", json={"documents": documents})
    warnings = [warning for change in response.json()["changes"] for warning in change["warnings"]]
    assert len(warnings) == 21
    assert "workflow 'job-0' is not registered" in warnings[0]
    assert warnings[-1] == "5 changes are of workflows or launch plans not registered yet"


async def test_a_deletion_of_nothing_warns(admin: httpx.AsyncClient) -> None:
    params = {**SCOPE, **FORCE}
    await admin.put("/records/execution_queue", params=params, json={"tags": ["gpu"]})
    deleted = await admin.delete("/records/execution_queue", params=params)
    again = await admin.delete("/records/execution_queue", params=params)
    assert (deleted.status_code, again.status_code) == (204, 204)
    assert WARNING_HEADER not in deleted.headers
    nothing = "no execution_queue of project-domain shop/development was stored"
    assert again.headers[WARNING_HEADER] == nothing


async def test_a_missing_record_of_an_unregistered_workflow_warns(
    admin: httpx.AsyncClient,
) -> None:
    response = await admin.get("/records/execution_queue", params=UNREGISTERED)
    assert (response.status_code, response.headers[WARNING_HEADER]) == (404, HINT)
