"""Flyte 2's settings service, as its clients call it: Connect over HTTP, with an API token."""

import asyncio
import gzip
import json
import tracemalloc
from typing import Any

import httpx
import pytest
import pytest_asyncio
from flyteidl2.settings import settings_service_pb2 as messages
from flyteidl2.settings.settings_definition_pb2 import Settings, SettingsKey
from google.protobuf import json_format
from google.protobuf.message import Message

from tests.integration.admin.callers import bearer, create_token, grant
from tests.integration.admin.running import FORCE, running, settings_for
from trimtab_admin.config import AdminConfig

pytestmark = pytest.mark.asyncio(loop_scope="module")

URL = "http://127.0.0.1/flyteidl2.settings.SettingsService/"
PROTO = {"Content-Type": "application/proto", "Connect-Protocol-Version": "1"}
ORG = SettingsKey(org="acme")
DOMAIN = SettingsKey(org="acme", domain="production")
PROJECT = SettingsKey(org="acme", domain="production", project="shop")
RECORD = "/records/task_resource"
HERE = {"domain": "production", "project": "shop"}


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code


async def call(admin: httpx.AsyncClient, method: str, **fields: Any) -> Any:
    request = getattr(messages, f"{method}Request")(**fields)
    response = await admin.post(URL + method, content=request.SerializeToString(), headers=PROTO)
    if response.status_code != 200:
        body = response.json()
        raise Refused(response.status_code, body["code"], body["message"])
    assert response.headers["content-type"] == "application/proto"
    return getattr(messages, f"{method}Response").FromString(response.content)


def settings(**groups: Any) -> Settings:
    return json_format.ParseDict(groups, Settings())


def leaf(value: str | dict[str, str], level: str = "") -> dict[str, Any]:
    """Return a quantity or a map as JSON."""
    found: dict[str, Any] = {"state": "SETTING_STATE_VALUE"}
    if isinstance(value, dict):
        found["map_value"] = {"entries": value}
    else:
        found["quantity_value"] = value
    return {**found, **({"scope_level": f"SCOPE_LEVEL_{level}"} if level else {})}


def minimum(cpu: str, level: str = "") -> dict[str, Any]:
    return {"min": {"cpu": leaf(cpu, level)}}


def fields(message: Message) -> Any:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


@pytest_asyncio.fixture(loop_scope="module")
async def empty(shared: httpx.AsyncClient) -> httpx.AsyncClient:
    """The admin of the module, without records."""
    for record in (await shared.get("/records")).json():
        scope = {name: part for name, part in record["scope"].items() if part and name != "level"}
        await shared.delete(f"/records/{record['kind']}", params={**FORCE, **scope})
    return shared


async def versions(admin: httpx.AsyncClient, key: SettingsKey) -> list[int]:
    return [each.version for each in (await call(admin, "GetSettingsForEdit", key=key)).levels]


async def test_the_flow_of_flyte_2(empty: httpx.AsyncClient) -> None:
    org = settings(
        task_resource=minimum("500m"),
        environment_variables=leaf({"LOG_LEVEL": "info", "REGION": "us-east-1"}),
    )
    await call(empty, "CreateSettings", key=ORG, settings=org)
    of_project = settings(task_resource=minimum("1000m"))
    created = await call(empty, "CreateSettings", key=PROJECT, settings=of_project)
    assert created.settingsRecord.key == PROJECT
    found = (await call(empty, "GetSettings", key=ORG)).settingsRecord
    assert (found.settings, found.version) == (org, 0)

    edit = await call(empty, "GetSettingsForEdit", key=PROJECT)
    assert edit.requestedKey == PROJECT
    assert [level.key for level in edit.levels] == [ORG, DOMAIN, PROJECT]
    assert [level.settings for level in edit.levels] == [org, Settings(), of_project]
    assert edit.levels[1].version == 0
    version = edit.levels[2].version
    assert version == created.settingsRecord.version > edit.levels[0].version > 0
    log = {"LOG_LEVEL": "debug"}
    sent = settings(task_resource=minimum("2000m"), environment_variables=leaf(log))
    updated = await call(empty, "UpdateSettings", key=PROJECT, settings=sent, version=version)
    assert updated.settingsRecord.settings == sent
    assert updated.settingsRecord.version > version

    merged = leaf({"LOG_LEVEL": "debug", "REGION": "us-east-1"}, "PROJECT")
    found = (await call(empty, "GetSettings", key=PROJECT)).settingsRecord.settings
    assert found == settings(
        task_resource=minimum("2000m", "PROJECT"), environment_variables=merged
    )
    of_domain = settings(task_resource={"max": {"memory": leaf("2Gi")}})
    await call(empty, "CreateSettings", key=DOMAIN, settings=of_domain)
    found = (await call(empty, "GetSettings", key=PROJECT)).settingsRecord.settings
    assert (
        found.task_resource.max
        == settings(task_resource={"max": {"memory": leaf("2Gi", "DOMAIN")}}).task_resource.max
    )
    assert found.environment_variables.scope_level == 2


async def test_a_stale_update_changes_nothing(empty: httpx.AsyncClient) -> None:
    sent = settings(labels=leaf({"a": "b"}))
    with pytest.raises(Refused) as refused:
        await call(empty, "UpdateSettings", key=PROJECT, settings=sent, version=1)
    assert (refused.value.status, refused.value.code) == (404, "not_found")
    with pytest.raises(Refused, match="use CreateSettings") as refused:
        await call(empty, "UpdateSettings", key=PROJECT, settings=sent)
    assert (refused.value.status, refused.value.code) == (400, "invalid_argument")
    created = await call(empty, "CreateSettings", key=PROJECT, settings=sent)
    with pytest.raises(Refused) as refused:
        await call(empty, "CreateSettings", key=PROJECT, settings=Settings())
    assert (refused.value.status, refused.value.code) == (409, "already_exists")
    version = created.settingsRecord.version
    other = settings(labels=leaf({"a": "c"}), task_resource=minimum("1"))
    await call(empty, "UpdateSettings", key=PROJECT, settings=other, version=version)
    with pytest.raises(Refused) as refused:
        await call(empty, "UpdateSettings", key=PROJECT, settings=sent, version=version)
    assert (refused.value.status, refused.value.code) == (400, "failed_precondition")
    found = (await call(empty, "GetSettingsForEdit", key=PROJECT)).levels[2]
    assert found.settings == other


async def test_one_of_concurrent_updates_of_a_version_wins(empty: httpx.AsyncClient) -> None:
    sent = settings(labels=leaf({"n": "start"}))
    version = (
        await call(empty, "CreateSettings", key=PROJECT, settings=sent)
    ).settingsRecord.version

    async def update(number: int) -> str:
        # Some change one kind only, some delete the records of another one.
        groups: dict[str, Any] = {} if number % 2 else {"labels": leaf({"n": f"{number}"})}
        sent = settings(**groups, task_resource=minimum(f"{number + 1}"))
        try:
            await call(empty, "UpdateSettings", key=PROJECT, settings=sent, version=version)
        except Refused as error:
            return error.code
        return "stored"

    outcomes = await asyncio.gather(*(update(number) for number in range(12)))
    assert sorted(outcomes) == ["failed_precondition"] * 11 + ["stored"]
    found = (await call(empty, "GetSettingsForEdit", key=PROJECT)).levels[2].settings
    assert found.task_resource.min.cpu.quantity_value == f"{outcomes.index('stored') + 1}"


async def test_a_deletion_is_noticed_by_an_update_that_is_under_way(
    empty: httpx.AsyncClient,
) -> None:
    labels = {"labels": leaf({"a": "b"})}
    sent = settings(**labels, task_resource=minimum("1"))
    created = await call(empty, "CreateSettings", key=PROJECT, settings=sent)
    version = created.settingsRecord.version
    # The record that is deleted is not the newest one, so the rest has the version that it had.
    deletion, other = settings(**labels), settings(**labels, task_resource=minimum("2"))
    updates = (
        call(empty, "UpdateSettings", key=PROJECT, settings=each, version=version)
        for each in (deletion, other)
    )
    stored, refused = await asyncio.gather(*updates, return_exceptions=True)
    assert stored.settingsRecord.version > version
    assert isinstance(refused, Refused)
    assert refused.code == "failed_precondition"


async def test_native_writes_and_deletions_change_the_version(empty: httpx.AsyncClient) -> None:
    sent = settings(labels=leaf({"a": "b"}), task_resource=minimum("1"))
    await call(empty, "CreateSettings", key=PROJECT, settings=sent)
    seen = [(await versions(empty, PROJECT))[2]]
    await empty.patch(RECORD, params=HERE | FORCE, json={"defaults": {"cpu": "2"}})
    seen.append((await versions(empty, PROJECT))[2])
    await empty.delete(RECORD, params=HERE | FORCE)
    seen.append((await versions(empty, PROJECT))[2])
    assert seen == sorted(set(seen))
    for version in seen[:2]:
        with pytest.raises(Refused) as refused:
            await call(empty, "UpdateSettings", key=PROJECT, settings=sent, version=version)
        assert refused.value.code == "failed_precondition"
    assert (await empty.get(RECORD, params=HERE)).status_code == 404
    await call(empty, "UpdateSettings", key=PROJECT, settings=sent, version=seen[2])
    assert (await empty.get(RECORD, params=HERE)).json()["document"] == {"minimum": {"cpu": "1"}}


async def test_an_update_keeps_what_is_native_and_deletes_what_is_left_empty(
    empty: httpx.AsyncClient,
) -> None:
    await empty.put(RECORD, params=HERE | FORCE, json={"defaults": {"cpu": "2"}})
    [*_, version] = await versions(empty, PROJECT)
    assert version
    sent = settings(labels=leaf({"a": "b"}), task_resource={"max": {"cpu": leaf("4")}})
    updated = await call(empty, "UpdateSettings", key=PROJECT, settings=sent, version=version)
    assert (await empty.get(RECORD, params=HERE)).json()["document"] == {
        "defaults": {"cpu": "2"},
        "limits": {"cpu": "4"},
        "over_limit": "clamp",
    }
    version = updated.settingsRecord.version
    updated = await call(empty, "UpdateSettings", key=PROJECT, settings=Settings(), version=version)
    assert updated.settingsRecord.version > version
    assert (await empty.get(RECORD, params=HERE)).json()["document"] == {"defaults": {"cpu": "2"}}
    kinds = [record["kind"] for record in (await empty.get("/records")).json()]
    assert kinds == ["task_resource"]
    await empty.delete(RECORD, params=HERE | FORCE)
    assert await versions(empty, PROJECT) == [0, 0, 0]


async def test_settings_that_an_update_empties_can_be_created_again(
    empty: httpx.AsyncClient,
) -> None:
    sent = settings(labels=leaf({"a": "b"}))
    version = (
        await call(empty, "CreateSettings", key=PROJECT, settings=sent)
    ).settingsRecord.version
    none = await call(empty, "UpdateSettings", key=PROJECT, settings=Settings(), version=version)
    assert (none.settingsRecord.version, await versions(empty, PROJECT)) == (0, [0, 0, 0])
    again = await call(empty, "CreateSettings", key=PROJECT, settings=sent)
    assert [*await versions(empty, PROJECT)][2] == again.settingsRecord.version > version


async def test_history_names_the_method_and_one_commit(empty: httpx.AsyncClient) -> None:
    sent = settings(labels=leaf({"a": "b"}), task_resource=minimum("1"))
    created = await call(empty, "CreateSettings", key=PROJECT, settings=sent)
    changes = (await empty.get("/history?limit=2")).json()
    assert {change["commit"] for change in changes} == {created.settingsRecord.version}
    assert {change["kind"] for change in changes} == {"task_resource", "workflow_execution_config"}
    assert {(change["actor"], change["reason"]) for change in changes} == {
        ("root", "CreateSettings of Flyte 2")
    }


async def test_an_update_is_refused_whole(empty: httpx.AsyncClient) -> None:
    wrong = [
        (settings(app={"disallow_anonymous": {"state": 2}}), "app.disallow_anonymous"),
        (settings(task_resource={"min": {"cpu": leaf("abc")}}), "task_resource.min.cpu"),
        (
            settings(task_resource={**minimum("3"), "max": {"cpu": leaf("2")}}),
            "task_resource.min.cpu",
        ),
    ]
    for sent, path in wrong:
        sent.labels.CopyFrom(settings(labels=leaf({"a": "b"})).labels)
        with pytest.raises(Refused, match=f"{path}: ") as refused:
            await call(empty, "CreateSettings", key=PROJECT, settings=sent)
        assert refused.value.code == "invalid_argument"
    assert await versions(empty, PROJECT) == [0, 0, 0]


@pytest.mark.parametrize(
    ("method", "request_fields", "status", "message"),
    [
        ("GetSettings", {}, 400, "key is required"),
        ("GetSettingsForEdit", {}, 400, "key is required"),
        ("CreateSettings", {"key": ORG}, 400, "key and settings are required"),
        ("UpdateSettings", {"settings": Settings()}, 400, "key and settings are required"),
        (
            "GetSettingsForEdit",
            {"key": SettingsKey(project="shop")},
            400,
            "a project-scope key requires a domain",
        ),
        ("GetSettings", {"key": SettingsKey(domain="nowhere")}, 404, "domain 'nowhere' does not"),
    ],
)
async def test_a_wrong_key_is_refused(
    shared: httpx.AsyncClient,
    method: str,
    request_fields: dict[str, Any],
    status: int,
    message: str,
) -> None:
    with pytest.raises(Refused, match=message) as refused:
        await call(shared, method, **request_fields)
    assert refused.value.status == status


async def test_an_archived_project_is_not_changed(empty: httpx.AsyncClient) -> None:
    await empty.post("/projects", json={"name": "old"})
    await empty.patch("/projects/old", params=FORCE, json={"state": "archived"})
    key = SettingsKey(domain="production", project="old")
    with pytest.raises(Refused, match="archived") as refused:
        await call(empty, "CreateSettings", key=key, settings=settings(labels=leaf({"a": "b"})))
    assert refused.value.code == "failed_precondition"


async def test_json_and_gzip(empty: httpx.AsyncClient) -> None:
    body = {
        "key": {"domain": "production"},
        "settings": {
            "labels": {"state": "SETTING_STATE_VALUE", "mapValue": {"entries": {"a": "b"}}}
        },
    }
    headers = {"Content-Type": "application/json; charset=utf-8", "Content-Encoding": "gzip"}
    content = gzip.compress(json.dumps(body).encode())
    response = await empty.post(URL + "CreateSettings", content=content, headers=headers)
    assert response.headers["content-type"] == "application/json"
    record = response.json()["settingsRecord"]
    assert record == {**body, "version": record["version"]}
    assert isinstance(record["version"], str)  # as JSON of protobuf has 64 bits
    [_, level] = (await call(empty, "GetSettingsForEdit", key=DOMAIN)).levels
    assert fields(level.settings) == {
        "labels": {"state": "SETTING_STATE_VALUE", "map_value": {"entries": {"a": "b"}}}
    }


async def test_a_body_takes_no_more_memory_than_its_limit(shared: httpx.AsyncClient) -> None:
    headers = {**PROTO, "Content-Encoding": "gzip"}
    tracemalloc.start()
    try:
        response = await shared.post(URL + "GetSettings", content=BOMB, headers=headers)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert response.status_code == 429
    assert peak < 16 * 1024 * 1024


BOMB = gzip.compress(bytes(32 * 1024 * 1024))
# Without the time, which would differ between the workers that collect the tests.
COMPRESSED = gzip.compress(messages.GetSettingsRequest(key=ORG).SerializeToString(), mtime=0)


@pytest.mark.parametrize(
    ("headers", "content", "status", "code"),
    [
        ({"Content-Encoding": "gzip"}, BOMB, 429, "resource_exhausted"),
        ({"Content-Encoding": "gzip"}, b"{}", 400, "invalid_argument"),
        ({"Content-Encoding": "gzip"}, COMPRESSED[:-1], 400, "invalid_argument"),
        ({"Content-Encoding": "gzip"}, COMPRESSED + b"more", 400, "invalid_argument"),
        ({"Content-Encoding": "zstd"}, b"", 501, "unimplemented"),
        ({"Connect-Protocol-Version": "2"}, b"", 400, "invalid_argument"),
        ({"Connect-Timeout-Ms": "soon"}, b"", 400, "invalid_argument"),
        ({"Connect-Timeout-Ms": "0"}, b"", 504, "deadline_exceeded"),
        ({}, b"\xff\xff", 400, "invalid_argument"),
        ({}, bytes(8 * 1024 * 1024), 429, "resource_exhausted"),
        ({"Content-Type": "application/json"}, b"{", 400, "invalid_argument"),
        ({"Content-Type": "application/json"}, b"[" * 100_000, 400, "invalid_argument"),
        ({"Content-Type": "application/json"}, b'{"key": {"x": 1}}', 400, "invalid_argument"),
        (
            {"Content-Type": "application/json"},
            b'{"key": {"org": "\\ud800"}}',
            400,
            "invalid_argument",
        ),
    ],
)
async def test_a_wrong_request_is_an_error_of_connect(
    shared: httpx.AsyncClient, headers: dict[str, str], content: bytes, status: int, code: str
) -> None:
    response = await shared.post(URL + "GetSettings", content=content, headers={**PROTO, **headers})
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json().keys() == {"code", "message"}
    assert response.json()["code"] == code


async def test_other_requests_have_the_statuses_of_connect(shared: httpx.AsyncClient) -> None:
    response = await shared.post(URL + "DeleteSettings", headers=PROTO)
    assert response.status_code == 404
    response = await shared.get(URL + "GetSettings")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    for content_type in ("application/grpc", "text/plain", ""):
        headers = {"Content-Type": content_type}
        response = await shared.post(URL + "GetSettings", headers=headers)
        assert response.status_code == 415
        assert "application/proto" in response.headers["accept-post"]


async def test_a_call_without_a_token_or_a_grant_is_refused_and_audited(
    shared: httpx.AsyncClient,
) -> None:
    body = messages.GetSettingsRequest(key=ORG).SerializeToString()
    bare = {**PROTO, "Authorization": ""}
    response = await shared.post(URL + "GetSettings", content=body, headers=bare)
    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
    made = await create_token(shared, "narrow", grant("viewer", **HERE))
    narrow = {**PROTO, **bearer(made["secret"])}
    response = await shared.post(URL + "GetSettings", content=body, headers=narrow)
    assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
    own = messages.GetSettingsRequest(key=PROJECT).SerializeToString()
    response = await shared.post(URL + "GetSettings", content=own, headers=narrow)
    assert response.status_code == 200
    for sent in (Settings(), settings(labels=leaf({"a": "b"}))):
        write = messages.CreateSettingsRequest(key=PROJECT, settings=sent).SerializeToString()
        response = await shared.post(URL + "CreateSettings", content=write, headers=narrow)
        assert response.status_code == 403
    [entry, *_] = (await shared.get("/audit?limit=1")).json()
    assert (entry["caller"], entry["path"]) == (
        "narrow",
        "/flyteidl2.settings.SettingsService/CreateSettings",
    )


async def test_a_write_needs_the_right_for_each_kind_that_it_changes(
    empty: httpx.AsyncClient,
) -> None:
    labels = {"labels": leaf({"a": "b"})}
    both = settings(**labels, task_resource=minimum("1"))
    version = (await call(empty, "CreateSettings", key=ORG, settings=both)).settingsRecord.version
    grants = grant("viewer", **HERE), grant("editor", "workflow_execution_config", **HERE)
    made = await create_token(empty, "one-kind", *grants)
    async with httpx.AsyncClient(transport=empty._transport, headers=bearer(made["secret"])) as own:
        edit = await call(own, "GetSettingsForEdit", key=PROJECT)
        assert [level.settings for level in edit.levels] == [both, Settings(), Settings()]
        with pytest.raises(Refused, match="not an editor of task_resource at project-domain"):
            await call(own, "CreateSettings", key=PROJECT, settings=both)
        with pytest.raises(Refused, match="not a viewer of task_resource at the platform"):
            await call(own, "UpdateSettings", key=ORG, settings=Settings(), version=version)
        await call(own, "CreateSettings", key=PROJECT, settings=settings(**labels))
    assert [bool(each) for each in await versions(empty, PROJECT)] == [True, False, True]


async def test_an_anonymous_door_only_reads(
    tmp_path_factory: pytest.TempPathFactory, shared_settings: AdminConfig
) -> None:
    doors = {"anonymous_doors": ("connect",)}
    config = settings_for(tmp_path_factory.mktemp("open"), shared_settings.nats_url, **doors)
    async with running(config) as open_admin:
        del open_admin.headers["Authorization"]
        found = await call(open_admin, "GetSettings", key=DOMAIN)
        assert found.settingsRecord.key == DOMAIN
        sent = settings(labels=leaf({"a": "b"}))
        with pytest.raises(Refused) as refused:
            await call(open_admin, "CreateSettings", key=DOMAIN, settings=sent)
        assert refused.value.code == "permission_denied"
        assert (await open_admin.get("/projects")).status_code == 401
