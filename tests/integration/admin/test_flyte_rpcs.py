"""Attributes and projects over the gRPC door of Flyte: where it is as in Flyte, and where not."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from flyteidl.service.admin_pb2 import DESCRIPTOR
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from tests.integration.admin.grpc_client import GrpcClient
from tests.integration.admin.running import FORCE, SCOPE, running, settings_for
from tests.servers import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

METHODS = DESCRIPTOR.services_by_name["AdminService"].methods_by_name
OF_SHOP = {"project": "shop", "domain": "development"}
Json = dict[str, Any]


class Flyte:
    """A client that sends and receives messages as JSON."""

    def __init__(self, door: GrpcClient, native: httpx.AsyncClient) -> None:
        self._door = door
        self.native = native

    def as_caller(self, token: str) -> "Caller":
        return Caller(self._door, (("authorization", f"Bearer {token}"),))

    async def call(self, rpc: str, **request: Any) -> Json:
        path = f"/{DESCRIPTOR.package}.AdminService/{rpc}"
        return _json(rpc, await self._door.call(path, _sent(rpc, request)))

    async def error(self, rpc: str, **request: Any) -> tuple[StatusCode, str, list[str]]:
        path = f"/{DESCRIPTOR.package}.AdminService/{rpc}"
        error = await self._door.error(path, _sent(rpc, request))
        details = dict(error.trailing_metadata()).get("grpc-status-details-bin", b"")
        found = [each.type_url.rpartition(".")[2] for each in Status.FromString(details).details]
        return error.code(), error.details(), found

    async def update(self, scope: Json, **target: Any) -> None:
        level = _level(scope)
        attributes = {**scope, "matching_attributes": target}
        await self.call(f"Update{level}Attributes", attributes=attributes)

    async def get(self, scope: Json, type: str) -> Json:
        """Return the attributes that a read returns."""
        read = await self.call(f"Get{_level(scope)}Attributes", **scope, resource_type=type)
        return dict(read["attributes"])

    async def list(self, type: str) -> list[Json]:
        listed = await self.call("ListMatchableAttributes", resource_type=type)
        return list(listed.get("configurations", []))

    async def record(self, kind: str, **scope: str) -> Json:
        """Return the document of a record, by the native API."""
        read = await self.native.get(f"/records/{kind}", params=scope or SCOPE)
        return dict(read.json()["document"])


class Caller:
    """A caller with another API token."""

    def __init__(self, door: GrpcClient, metadata: Any) -> None:
        self._door = door
        self._metadata = metadata

    async def call(self, rpc: str, **request: Any) -> Json:
        path = f"/{DESCRIPTOR.package}.AdminService/{rpc}"
        return _json(rpc, await self._door.call(path, _sent(rpc, request), metadata=self._metadata))

    async def code(self, rpc: str, **request: Any) -> StatusCode:
        path = f"/{DESCRIPTOR.package}.AdminService/{rpc}"
        error = await self._door.error(path, _sent(rpc, request), metadata=self._metadata)
        return StatusCode(error.code())


def _sent(rpc: str, request: Json) -> Any:
    return json_format.ParseDict(request, GetMessageClass(METHODS[rpc].input_type)())


def _json(rpc: str, body: bytes) -> Json:
    message = GetMessageClass(METHODS[rpc].output_type).FromString(body)
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _level(scope: Json) -> str:
    if "workflow" in scope:
        return "Workflow"
    return "ProjectDomain" if "domain" in scope else "Project"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def flyte(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Flyte]:
    """An admin without NATS, which neither settings nor projects need."""
    directory: Path = tmp_path_factory.mktemp("admin")
    settings = settings_for(
        directory,
        "nats://127.0.0.1:1",
        grpc_port=free_port(),
        domains=("staging", "development"),
        failed_tries_per_minute=100_000,
        records={"workflow_execution_config": {"max_parallelism": 25, "envs": {"A": "1"}}},
    )
    async with running(settings) as native, GrpcClient(settings.grpc_port) as door:
        for project in ("shop", "lab"):
            await native.post("/projects", json={"name": project})
        yield Flyte(door, native)


async def test_a_delete_removes_one_record(flyte: Flyte) -> None:
    scopes = [{"project": "lab"}, {**OF_SHOP, "project": "lab"}]
    for scope in (*scopes, {**scopes[1], "workflow": "w"}):
        await flyte.update(scope, execution_queue_attributes={"tags": ["a"]})
    await flyte.call("DeleteProjectAttributes", project="lab", resource_type="EXECUTION_QUEUE")
    found = [one for one in await flyte.list("EXECUTION_QUEUE") if one["project"] == "lab"]
    assert [one.get("workflow") for one in found] == ["w", None]
    # Deleting what is absent succeeds.
    await flyte.call("DeleteProjectAttributes", project="lab", resource_type="EXECUTION_QUEUE")


async def test_an_empty_project_is_refused(flyte: Flyte) -> None:
    before = await flyte.list("TASK_RESOURCE")
    target = {"matching_attributes": {"task_resource_attributes": {}}}
    for rpc, request in (
        ("UpdateProjectDomainAttributes", {"attributes": {"domain": "development", **target}}),
        ("DeleteProjectAttributes", {}),
        ("DeleteProjectDomainAttributes", {"domain": "development"}),
        ("GetProjectAttributes", {"resource_type": "WORKFLOW_EXECUTION_CONFIG"}),
        ("GetWorkflowAttributes", {"domain": "development", "workflow": "w"}),
    ):
        code, text, _ = await flyte.error(rpc, **request)
        assert code is StatusCode.INVALID_ARGUMENT
        assert "err: [project [] not found]" in text
    assert await flyte.list("TASK_RESOURCE") == before


async def test_plugin_overrides_are_merged_at_every_level(flyte: Flyte) -> None:
    for scope in ({"project": "shop"}, OF_SHOP, {**OF_SHOP, "workflow": "w"}):
        for types in ("ab", "bc"):
            given = [{"task_type": type, "plugin_id": [types]} for type in types]
            await flyte.update(scope, plugin_overrides={"overrides": given})
        read = await flyte.get(scope, "PLUGIN_OVERRIDE")
        merged = read["matching_attributes"]["plugin_overrides"]["overrides"]
        assert {each["task_type"]: each["plugin_id"][0] for each in merged} == {
            "a": "ab",
            "b": "bc",
            "c": "bc",
        }


async def test_concurrent_merges_lose_nothing(flyte: Flyte) -> None:
    """The first updates of a scope race too: none fails because the record exists already."""
    scope = {**OF_SHOP, "workflow": "raced"}
    types = [f"type{number}" for number in range(100)]
    await asyncio.gather(
        *(
            flyte.update(
                scope, plugin_overrides={"overrides": [{"task_type": type, "plugin_id": ["p"]}]}
            )
            for type in types
        )
    )
    stored = await flyte.record("plugin_override", **scope)
    assert stored["overrides"].keys() == {*types}


async def test_native_parts_survive_a_write(flyte: Flyte) -> None:
    native = {
        "limits": {"cpu": "4"},
        "over_limit": "clamp",
        "unset": ["defaults.memory"],
    }
    put = await flyte.native.put("/records/task_resource", params={**SCOPE, **FORCE}, json=native)
    assert put.status_code == 200, put.text
    await flyte.update(OF_SHOP, task_resource_attributes={"limits": {"cpu": "2"}})
    assert await flyte.record("task_resource") == {"limits": {"cpu": "2"}, "over_limit": "clamp"}
    config = {"overwrite_cache": False, "labels": {"a": "1"}, "unset": ["max_parallelism"]}
    path = "/records/workflow_execution_config"
    await flyte.native.put(path, params={**SCOPE, **FORCE}, json=config)
    await flyte.update(OF_SHOP, workflow_execution_config={"labels": {"values": {"b": "2"}}})
    expected = {**config, "labels": {"b": "2"}}
    assert await flyte.record("workflow_execution_config") == expected


async def test_a_record_of_native_fields_alone_hides_no_broader_one(flyte: Flyte) -> None:
    await flyte.update({"project": "lab"}, task_resource_attributes={"limits": {"cpu": "2"}})
    native = {"over_limit": "clamp"}
    scope = {"project": "lab", "domain": "development"}
    put = await flyte.native.put("/records/task_resource", params={**scope, **FORCE}, json=native)
    assert put.status_code == 200, put.text
    read = await flyte.get(scope, "TASK_RESOURCE")
    assert read["matching_attributes"] == {"task_resource_attributes": {"limits": {"cpu": "2"}}}
    rows = [row for row in await flyte.list("TASK_RESOURCE") if row.get("project") == "lab"]
    assert [row.get("domain", "") for row in rows] == [""]


async def test_a_quantity_of_zero_is_unset(flyte: Flyte) -> None:
    scope = {**OF_SHOP, "workflow": "zero"}
    await flyte.update(scope, task_resource_attributes={"limits": {"gpu": "0"}})
    assert await flyte.record("task_resource", **scope) == {"unset": ["limits.gpu"]}
    read = await flyte.get(scope, "TASK_RESOURCE")
    assert read["matching_attributes"] == {"task_resource_attributes": {"limits": {"gpu": "0"}}}


async def test_quality_of_service_can_be_set(flyte: Flyte) -> None:
    spec = {"quality_of_service": {"spec": {"queueing_budget": "600s"}}}
    await flyte.update({"project": "lab"}, **spec)
    read = await flyte.get({"project": "lab"}, "QUALITY_OF_SERVICE_SPECIFICATION")
    assert read == {"project": "lab", "matching_attributes": spec}


async def test_a_read_returns_the_nearest_record_with_its_own_scope(flyte: Flyte) -> None:
    await flyte.update({"project": "lab"}, cluster_assignment={"cluster_pool_name": "p"})
    params = {"domain": "development", **FORCE}
    await flyte.native.put("/records/cluster_assignment", params=params, json=POOL)
    workflow = {"project": "lab", "domain": "development", "workflow": "w"}
    assert (await flyte.get(workflow, "CLUSTER_ASSIGNMENT")).keys() == {
        "project",
        "matching_attributes",
    }
    # Those of the domain and of the platform are no rows of Flyte.
    text = (
        "Resource [{Project:shop Domain:development Workflow: LaunchPlan: "
        "ResourceType:CLUSTER_ASSIGNMENT}] not found"
    )
    error = await flyte.error("GetProjectDomainAttributes", **OF_SHOP, resource_type=7)
    assert error == (StatusCode.NOT_FOUND, text, [])


async def test_a_read_after_a_write_returns_what_was_written(flyte: Flyte) -> None:
    """Also where the same was read before, and where the record was deleted in between."""
    scope = {**OF_SHOP, "workflow": "reread"}
    of_queue = {**scope, "resource_type": "EXECUTION_QUEUE"}
    target: Json = {}
    for tag in "ab":
        target = {"execution_queue_attributes": {"tags": [tag]}}
        await flyte.update(scope, **target)
        assert await flyte.get(scope, "EXECUTION_QUEUE") == {**scope, "matching_attributes": target}
        assert {**scope, "attributes": target} in await flyte.list("EXECUTION_QUEUE")
    await flyte.call("DeleteWorkflowAttributes", **of_queue)
    code, _, _ = await flyte.error("GetWorkflowAttributes", **of_queue)
    assert code is StatusCode.NOT_FOUND
    await flyte.update(scope, **target)
    assert await flyte.get(scope, "EXECUTION_QUEUE") == {**scope, "matching_attributes": target}


POOL = {"cluster_pool_name": "of-domain"}


async def test_a_list_has_records_of_domains_and_launch_plans(flyte: Flyte) -> None:
    plan = {**OF_SHOP, "workflow": "w", "launch_plan": "nightly"}
    for scope in (plan, {"domain": "staging"}, {}):
        params = {**scope, **FORCE}
        put = await flyte.native.put(
            "/records/execution_cluster_label", params=params, json={"value": "x"}
        )
        assert put.status_code == 200, put.text
    listed = await flyte.list("EXECUTION_CLUSTER_LABEL")
    attributes = {"attributes": {"execution_cluster_label": {"value": "x"}}}
    assert listed == [{**attributes, **plan}, {**attributes, "domain": "staging"}]


async def test_the_configuration_fills_the_record_of_a_project(flyte: Flyte) -> None:
    await flyte.update({"project": "lab"}, workflow_execution_config={"interruptible": True})
    read = await flyte.get({"project": "lab"}, "WORKFLOW_EXECUTION_CONFIG")
    assert read["matching_attributes"]["workflow_execution_config"] == {
        "max_parallelism": 25,
        "interruptible": True,
        "envs": {"values": [{"key": "A", "value": "1"}]},
    }


async def test_the_record_of_a_project_is_read_with_its_assignments(flyte: Flyte) -> None:
    await flyte.call("RegisterProject", project={"id": "envs", "name": "envs"})
    environment = {"name": "n", "type": "t", "spec": {"size": 1.0}}
    given = [{"task_type": "t", "execution_env": environment}]
    config = {"execution_env_assignments": given}
    await flyte.update({"project": "envs"}, workflow_execution_config=config)
    read = await flyte.get({"project": "envs"}, "WORKFLOW_EXECUTION_CONFIG")
    found = read["matching_attributes"]["workflow_execution_config"]
    assert found["execution_env_assignments"] == given


async def test_the_project_is_checked_before_the_content(flyte: Flyte) -> None:
    for attributes in (
        {**OF_SHOP, "project": "nope"},
        {**OF_SHOP, "project": "nope", "matching_attributes": {}},
    ):
        _, text, _ = await flyte.error("UpdateProjectDomainAttributes", attributes=attributes)
        assert "project [nope] not found" in text
    _, text, _ = await flyte.error("UpdateProjectDomainAttributes", attributes=OF_SHOP)
    assert text == "missing matching_attributes"


async def test_a_wrong_value_is_refused_by_its_name_in_the_message(flyte: Flyte) -> None:
    target = {"task_resource_attributes": {"limits": {"cpu": "lots"}}}
    attributes = {**OF_SHOP, "matching_attributes": target}
    code, text, _ = await flyte.error("UpdateProjectDomainAttributes", attributes=attributes)
    assert code is StatusCode.INVALID_ARGUMENT
    assert text.startswith("task_resource_attributes.limits.cpu: 'lots' is not valid; allowed: ")


async def test_cluster_resources_of_workflows_are_refused(flyte: Flyte) -> None:
    target = {"cluster_resource_attributes": {"attributes": {"quota": "1"}}}
    attributes = {**OF_SHOP, "workflow": "w", "matching_attributes": target}
    code, text, _ = await flyte.error("UpdateWorkflowAttributes", attributes=attributes)
    assert (code, text.partition(":")[0]) == (StatusCode.INVALID_ARGUMENT, "level")


async def test_a_number_that_flyte_does_not_have_is_refused(flyte: Flyte) -> None:
    for rpc in ("GetProjectDomainAttributes", "DeleteProjectDomainAttributes"):
        code, text, _ = await flyte.error(rpc, **OF_SHOP, resource_type=10)
        assert code is StatusCode.INVALID_ARGUMENT
        assert "/api/v2" in text


async def test_a_large_message_is_refused(flyte: Flyte) -> None:
    target = {"cluster_resource_attributes": {"attributes": {"k": "v" * 1_000_000}}}
    attributes = {**OF_SHOP, "matching_attributes": target}
    code, text, _ = await flyte.error("UpdateProjectDomainAttributes", attributes=attributes)
    assert code is StatusCode.INVALID_ARGUMENT
    assert "at most 921600 bytes" in text


async def test_a_project_keeps_its_names(flyte: Flyte) -> None:
    project = {"id": "store", "name": "The Store", "labels": {"values": {"team": "a"}}}
    await flyte.call("RegisterProject", project=project)
    code, _, _ = await flyte.error("RegisterProject", project={"id": "store", "name": "other"})
    assert code is StatusCode.ALREADY_EXISTS
    await flyte.call("UpdateProject", id="store", description="sells")
    read = await flyte.call("GetProject", id="store")
    del read["domains"]
    assert read == {**project, "description": "sells"}
    native = (await flyte.native.get("/projects/store")).json()
    assert (native["name"], native["display_name"]) == ("store", "The Store")
    # A project of the native API has no name for people.
    assert (await flyte.call("GetProject", id="shop"))["name"] == "shop"


async def test_an_archived_project_is_read_and_not_changed(flyte: Flyte) -> None:
    await flyte.call("RegisterProject", project={"id": "attic", "name": "Attic"})
    await flyte.update({"project": "attic"}, task_resource_attributes={})
    await flyte.call("UpdateProject", id="attic", state="ARCHIVED")
    scope = {"project": "attic", "domain": "development"}
    text = "project [attic] is not active"
    refused = (StatusCode.INVALID_ARGUMENT, text, ["InactiveProject"])
    assert await flyte.error("GetProjectDomainAttributes", **scope) == refused
    assert await flyte.error("DeleteProjectDomainAttributes", **scope) == refused
    assert await flyte.error("DeleteProjectAttributes", project="attic") == (*refused[:2], [])
    assert "matching_attributes" in await flyte.get({"project": "attic"}, "TASK_RESOURCE")


async def test_other_states_are_refused(flyte: Flyte) -> None:
    for state in ("SYSTEM_GENERATED", "SYSTEM_ARCHIVED"):
        code, text, _ = await flyte.error("UpdateProject", id="lab", state=state)
        assert code is StatusCode.INVALID_ARGUMENT
        assert state in text


async def test_projects_are_ordered_by_creation(flyte: Flyte) -> None:
    for name in ("zeta", "alpha"):
        await flyte.call("RegisterProject", project={"id": name, "name": name})
    # A change of a project is not its creation.
    await flyte.call("UpdateProject", id="lab", description="changed")
    sort = {"key": "created_at", "direction": "DESCENDING"}
    listed = await flyte.call("ListProjects", sort_by=sort, limit=2)
    assert [project["id"] for project in listed["projects"]] == ["alpha", "zeta"]
    assert listed["token"] == "2"


async def test_domains_come_in_the_order_of_the_configuration(flyte: Flyte) -> None:
    await flyte.native.post("/domains", json={"name": "canary"})
    domains = (await flyte.call("GetDomains"))["domains"]
    assert [domain["id"] for domain in domains] == ["staging", "development", "canary"]


async def test_a_write_is_in_history_with_its_author(flyte: Flyte) -> None:
    scope = {**OF_SHOP, "workflow": "dated"}
    await flyte.update(scope, execution_queue_attributes={"tags": ["a"]})
    history = await flyte.native.get("/records/execution_queue/history", params=scope)
    [change] = history.json()
    assert (change["actor"], change["action"]) == ("root", "create")


async def test_a_caller_sees_and_changes_what_its_grants_allow(flyte: Flyte) -> None:
    grant = {
        "role": "editor",
        "project": "lab",
        "domain": "development",
        "kinds": ["execution_queue"],
    }
    viewer = {**grant, "role": "viewer", "kinds": ["execution_cluster_label"]}
    created = await flyte.native.post("/tokens", json={"name": "ann", "grants": [grant, viewer]})
    assert created.status_code == 201, created.text
    ann = flyte.as_caller(created.json()["secret"])
    lab, shop = {**OF_SHOP, "project": "lab"}, OF_SHOP
    queue = {"matching_attributes": {"execution_queue_attributes": {"tags": ["ann"]}}}
    await ann.call("UpdateProjectDomainAttributes", attributes={**lab, **queue})
    denied = StatusCode.PERMISSION_DENIED
    update, get = "UpdateProjectDomainAttributes", "GetProjectDomainAttributes"
    assert await ann.code(update, attributes={**shop, **queue}) is denied
    label = {"matching_attributes": {"execution_cluster_label": {"value": "x"}}}
    assert await ann.code(update, attributes={**lab, **label}) is denied
    assert await ann.code(get, **lab, resource_type="TASK_RESOURCE") is denied
    assert await ann.code(get, project="nope", domain="development") is denied
    delete = "DeleteProjectDomainAttributes"
    assert await ann.code(delete, **lab, resource_type="EXECUTION_CLUSTER_LABEL") is denied
    assert await ann.code("UpdateProject", id="lab", name="Lab") is denied
    assert await ann.code("RegisterProject", project={"id": "new", "name": "new"}) is denied
    await flyte.update(shop, execution_queue_attributes={"tags": ["hidden"]})
    listed = await ann.call("ListMatchableAttributes", resource_type="EXECUTION_QUEUE")
    assert {one["project"] for one in listed["configurations"]} == {"lab"}
    projects = (await ann.call("ListProjects"))["projects"]
    assert [project["id"] for project in projects] == ["lab"]
    assert await ann.code("GetProject", id="shop") is denied
