"""Writes of records: what is stored, what is rejected, and with which errors."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.databases import BOTH
from tests.integration.admin.running import FORCE, SCOPE
from trimtab.levels import PLATFORM
from trimtab.messages import subjects
from trimtab.messages.events import RecordChanged
from trimtab_admin.config import AdminConfig
from trimtab_admin.storage import outbox
from trimtab_admin.storage.database import sessions_of, transaction
from trimtab_admin.storage.outbox import Write

RECORD = "/records/task_resource"


async def put(admin: httpx.AsyncClient, document: Any, **params: str) -> httpx.Response:
    return await admin.put(RECORD, params=params | FORCE, json=document)


async def patch(admin: httpx.AsyncClient, document: Any, **params: str) -> httpx.Response:
    return await admin.patch(RECORD, params=params | FORCE, json=document)


async def document_at(admin: httpx.AsyncClient, **params: str) -> Any:
    return (await admin.get(RECORD, params=params)).json()["document"]


async def test_get_returns_the_record_that_was_put(admin: httpx.AsyncClient) -> None:
    stored = await put(admin, {"limits": {"cpu": "2"}, "unset": ["limits.gpu"]}, **SCOPE)
    got = await admin.get(RECORD, params=SCOPE)
    assert (stored.status_code, got.status_code) == (200, 200)
    assert got.json() == stored.json()
    assert got.json()["document"] == {"limits": {"cpu": "2"}, "unset": ["limits.gpu"]}
    assert got.headers["etag"] == f'"{got.json()["version"]}"'


async def test_put_replaces_and_patch_changes_only_the_fields_that_it_names(
    admin: httpx.AsyncClient,
) -> None:
    await put(admin, {"limits": {"cpu": "2", "memory": "1Gi"}}, **SCOPE)
    await patch(admin, {"limits": {"memory": None}, "defaults": {"cpu": "1"}}, **SCOPE)
    assert await document_at(admin, **SCOPE) == {"limits": {"cpu": "2"}, "defaults": {"cpu": "1"}}
    await put(admin, {"limits": {"gpu": "1"}}, **SCOPE)
    assert await document_at(admin, **SCOPE) == {"limits": {"gpu": "1"}}


async def test_null_removes_a_field_from_unset_so_that_it_inherits_again(
    admin: httpx.AsyncClient,
) -> None:
    await put(admin, {"limits": {"gpu": "4"}})
    await put(admin, {"unset": ["limits.gpu"]}, **SCOPE)
    await patch(admin, {"limits": {"gpu": None}}, **SCOPE)
    effective = (await admin.get("/effective/task_resource", params=SCOPE)).json()
    assert effective["document"] == {"limits": {"gpu": "4"}}


async def test_delete_removes_exactly_one_record_and_deleting_nothing_succeeds(
    admin: httpx.AsyncClient,
) -> None:
    await put(admin, {"limits": {"cpu": "2"}})
    await put(admin, {"limits": {"cpu": "1"}}, **SCOPE)
    for _again in range(2):
        answer = await admin.delete(RECORD, params=SCOPE | FORCE)
        assert answer.status_code == 204
    assert (await admin.get(RECORD, params=SCOPE)).status_code == 404
    assert await document_at(admin) == {"limits": {"cpu": "2"}}


async def test_a_version_is_never_reused(admin: httpx.AsyncClient) -> None:
    first = (await put(admin, {"limits": {"cpu": "2"}})).json()["version"]
    await admin.delete(RECORD, params=FORCE)
    second = (await put(admin, {"limits": {"cpu": "2"}})).json()["version"]
    assert second > first + 1


async def test_writing_the_stored_document_again_changes_nothing(admin: httpx.AsyncClient) -> None:
    first = await put(admin, {"limits": {"cpu": "2"}})
    again = await put(admin, {"limits": {"cpu": "2", "memory": None} | {}}, **{})
    assert again.status_code == 400
    again = await put(admin, {"limits": {"cpu": "2"}, "defaults": {}})
    assert again.json() == first.json()


async def test_a_write_without_a_precondition_is_rejected(admin: httpx.AsyncClient) -> None:
    for answer in (
        await admin.put(RECORD, json={}),
        await admin.patch(RECORD, json={}),
        await admin.delete(RECORD),
    ):
        assert answer.status_code == 428
        assert "If-Match" in answer.json()["detail"]


async def test_a_stale_version_is_rejected_with_both_versions(admin: httpx.AsyncClient) -> None:
    old = (await put(admin, {"limits": {"cpu": "2"}})).headers["etag"]
    new = (await put(admin, {"limits": {"cpu": "3"}})).json()["version"]
    answer = await admin.patch(RECORD, headers={"If-Match": old}, json={"limits": {"cpu": "9"}})
    assert answer.status_code == 412
    problem = answer.json()
    assert (problem["given_version"], problem["stored_version"]) == (int(old.strip('"')), new)
    assert await document_at(admin) == {"limits": {"cpu": "3"}}


@pytest.mark.parametrize("header", [{"If-Match": '"1"'}, {"If-None-Match": "*"}])
async def test_force_replaces_no_other_version_than_a_header_names(
    admin: httpx.AsyncClient, header: dict[str, str]
) -> None:
    document = {"limits": {"cpu": "1"}}
    stored = await admin.put(RECORD, params=FORCE, json=document)
    for method in ("PUT", "PATCH", "DELETE"):
        body = None if method == "DELETE" else {"limits": {"cpu": "9"}}
        answer = await admin.request(method, RECORD, params=FORCE, headers=header, json=body)
        assert answer.status_code == 412
    etag = {"If-Match": stored.headers["etag"]}
    assert (await admin.put(RECORD, params=FORCE, headers=etag, json=document)).status_code == 200


async def test_the_version_that_was_read_may_be_replaced_once(admin: httpx.AsyncClient) -> None:
    etag = (await put(admin, {"limits": {"cpu": "2"}})).headers["etag"]
    codes = [
        (await admin.put(RECORD, headers={"If-Match": etag}, json={"limits": {"cpu": cpu}}))
        for cpu in ("3", "4")
    ]
    assert [answer.status_code for answer in codes] == [200, 412]


async def test_creating_succeeds_only_where_nothing_is_stored(admin: httpx.AsyncClient) -> None:
    headers = {"If-None-Match": "*"}
    codes = [
        (await admin.put(RECORD, headers=headers, json={"limits": {"cpu": cpu}})).status_code
        for cpu in ("3", "4")
    ]
    assert codes == [200, 412]
    assert await document_at(admin) == {"limits": {"cpu": "3"}}


@BOTH
async def test_twenty_concurrent_patches_lose_nothing(admin: httpx.AsyncClient) -> None:
    async def add(number: int) -> int:
        answer = await admin.patch(
            "/records/cluster_resource",
            params=SCOPE | FORCE,
            json={"attributes": {f"value{number}": str(number)}},
        )
        return answer.status_code

    codes = await asyncio.gather(*(add(number) for number in range(20)))
    assert set(codes) == {200}
    body = (await admin.get("/records/cluster_resource", params=SCOPE)).json()
    assert body["document"]["attributes"] == {f"value{n}": str(n) for n in range(20)}


@BOTH
async def test_no_change_of_fifty_concurrent_read_modify_writes_is_lost(
    admin: httpx.AsyncClient,
) -> None:
    path = "/records/workflow_priority"
    await admin.put(path, params=FORCE, json={"priority": 0})

    async def add_one() -> None:
        while True:
            read = await admin.get(path)
            answer = await admin.patch(
                path,
                headers={"If-Match": read.headers["etag"]},
                json={"priority": read.json()["document"]["priority"] + 1},
            )
            if answer.status_code != 412:
                assert answer.status_code == 200
                return

    await asyncio.gather(*(add_one() for _ in range(50)))
    assert (await admin.get(path)).json()["document"] == {"priority": 50}


@BOTH
async def test_one_of_two_concurrent_writes_that_contradict_each_other_is_rejected(
    admin: httpx.AsyncClient,
) -> None:
    for number in range(5):
        domain = {"domain": ("development", "staging", "production")[number % 3]}
        answers = await asyncio.gather(
            put(admin, {"limits": {"cpu": "1"}}, **domain),
            put(admin, {"defaults": {"cpu": "2"}}, project="shop"),
        )
        assert sorted(answer.status_code for answer in answers) == [200, 400]
        for params in (domain, {"project": "shop"}):
            await admin.delete(RECORD, params=params | FORCE)


async def test_exactly_one_of_twenty_writers_replaces_a_version(admin: httpx.AsyncClient) -> None:
    etag = (await put(admin, {"limits": {"cpu": "1"}})).headers["etag"]

    async def write(number: int) -> int:
        document = {"limits": {"cpu": str(number + 2)}}
        return (await admin.put(RECORD, headers={"If-Match": etag}, json=document)).status_code

    codes = await asyncio.gather(*(write(number) for number in range(20)))
    assert sorted(codes) == [200] + [412] * 19


@pytest.mark.parametrize(
    ("document", "path", "allowed"),
    [
        ({"limitz": {"cpu": "1"}}, "limitz", "limits"),
        ({"limits": {"cpus": "1"}}, "limits.cpus", "limits.cpu"),
        ({"limits": {"cpu": "1Kib"}}, "limits.cpu", "Ki"),
        ({"limits": {"cpu": 1}}, "limits.cpu", "string"),
        ({"limits": {"cpu": None}}, "limits.cpu", "unset"),
        ({"unset": ["limits.cpus"]}, "unset", "limits.cpu"),
        ({"over_limit": "explode"}, "over_limit", "clamp"),
        ({"limits": {"cpu": "1"}, "defaults": {"cpu": "2"}}, "defaults.cpu", "limits.cpu"),
    ],
)
async def test_an_invalid_document_is_rejected_by_field_and_changes_nothing(
    admin: httpx.AsyncClient, document: Any, path: str, allowed: str
) -> None:
    answer = await put(admin, document, **SCOPE)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["path"] == path
    assert allowed in answer.json()["allowed"]
    assert (await admin.get(RECORD, params=SCOPE)).status_code == 404


@pytest.mark.parametrize("body", [b"[]", b"7", b"{", b'{"limits": NaN}', b"\xff", b""])
async def test_a_body_that_is_not_a_json_object_is_rejected(
    admin: httpx.AsyncClient, body: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await admin.put(RECORD, params=FORCE, headers=headers, content=body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_level_that_the_kind_does_not_have_is_rejected_with_the_reason(
    admin: httpx.AsyncClient,
) -> None:
    answer = await admin.put(
        "/records/cluster_resource",
        params=SCOPE | FORCE | {"workflow": "nightly"},
        json={"attributes": {"size": "1"}},
    )
    assert answer.status_code == 400
    assert answer.json()["path"] == "level"
    assert "namespaces belong to a project and a domain" in answer.json()["allowed"]


async def test_a_field_of_the_platform_is_rejected_at_narrower_levels(
    admin: httpx.AsyncClient,
) -> None:
    answer = await put(admin, {"ceiling": {"cpu": "8"}}, **SCOPE)
    assert (answer.status_code, answer.json()["path"]) == (400, "ceiling")


@pytest.mark.parametrize(
    ("params", "known"),
    [
        ({"project": "shpo", "domain": "development"}, "shop"),
        ({"project": "shop", "domain": "dev"}, "development, production, staging"),
    ],
)
async def test_an_unknown_project_or_domain_is_rejected_with_the_known_names(
    admin: httpx.AsyncClient, params: dict[str, str], known: str
) -> None:
    answer = await put(admin, {"limits": {"cpu": "1"}}, **params)
    assert answer.status_code == 404
    assert answer.json()["allowed"] == known


@pytest.mark.parametrize(
    "params", [{"workflow": "w"}, {"projct": "shop"}, {"project": "a b"}, {"launch_plan": "x"}]
)
async def test_an_invalid_scope_is_rejected(
    admin: httpx.AsyncClient, params: dict[str, str]
) -> None:
    answer = await put(admin, {"limits": {"cpu": "1"}}, **params)
    assert answer.status_code == 400
    assert (await admin.get(RECORD)).status_code == 404


async def test_an_unknown_kind_is_rejected_with_the_known_names(admin: httpx.AsyncClient) -> None:
    answer = await admin.put("/records/task_resources", params=FORCE, json={})
    assert answer.status_code == 404
    assert "task_resource, cluster_resource" in answer.json()["allowed"]


async def test_a_record_that_contradicts_another_one_is_rejected(
    admin: httpx.AsyncClient,
) -> None:
    assert (await put(admin, {"limits": {"cpu": "1"}}, domain="development")).status_code == 200
    answer = await put(admin, {"defaults": {"cpu": "2"}}, project="shop")
    assert answer.status_code == 400
    assert answer.json()["path"] == "defaults.cpu"
    assert "at project-domain shop/development" in answer.json()["detail"]
    assert (await admin.get(RECORD, params={"project": "shop"})).status_code == 404


async def test_a_deletion_that_would_make_an_effective_value_invalid_is_rejected(
    admin: httpx.AsyncClient,
) -> None:
    await put(admin, {"limits": {"cpu": "1"}})
    await put(admin, {"limits": {"cpu": "4"}}, project="shop")
    await put(admin, {"defaults": {"cpu": "2"}}, **SCOPE)
    answer = await admin.delete(RECORD, params={"project": "shop"} | FORCE)
    assert (answer.status_code, answer.json()["path"]) == (400, "defaults.cpu")
    assert await document_at(admin, project="shop") == {"limits": {"cpu": "4"}}


async def test_lists_are_filtered_by_kind_level_and_scope(admin: httpx.AsyncClient) -> None:
    await put(admin, {"limits": {"cpu": "1"}})
    await put(admin, {"limits": {"cpu": "1"}}, **SCOPE)
    await put(admin, {"limits": {"cpu": "1"}}, **SCOPE, workflow="nightly")
    everything = (await admin.get("/records")).json()
    assert [r["scope"]["level"] for r in everything] == ["platform", "project-domain", "workflow"]
    one = (await admin.get("/records", params=SCOPE | {"level": "project-domain"})).json()
    assert [record["scope"]["workflow"] for record in one] == [""]
    assert (await admin.get("/records", params={"kind": "workflow_priority"})).json() == []


@BOTH
async def test_pages_neither_skip_nor_repeat_records_while_others_are_created_and_deleted(
    admin: httpx.AsyncClient,
) -> None:
    names = [f"w{number:02}" for number in range(0, 20, 2)]
    for name in names:
        await put(admin, {"limits": {"cpu": "1"}}, **SCOPE, workflow=name)
    seen: list[str] = []
    answer = await admin.get("/records", params={"limit": "3", "level": "workflow"})
    while True:
        seen += [record["scope"]["workflow"] for record in answer.json()]
        following = answer.links.get("next", {}).get("url")
        if following is None:
            break
        # One before the cursor is created, and the one that the cursor names is deleted.
        await put(admin, {"limits": {"cpu": "1"}}, **SCOPE, workflow="w01")
        await admin.delete(RECORD, params=SCOPE | FORCE | {"workflow": seen[-1]})
        answer = await admin.get(f"http://127.0.0.1{following}")
    assert seen == names


async def test_an_invalid_page_cursor_is_rejected(admin: httpx.AsyncClient) -> None:
    await put(admin, {"limits": {"cpu": "1"}})
    for token in ("x", "IjEi", "bm9uZQ", "WzEsIDJd"):
        answer = await admin.get("/records", params={"token": token})
        assert (answer.status_code, answer.json().get("path")) == (400, "token")


async def test_a_deprecated_name_is_accepted_with_a_warning(admin: httpx.AsyncClient) -> None:
    for answer in (
        await put(admin, {"limits": {"storage": "1Gi"}}),
        await patch(admin, {"limits": {"storage": "2Gi"}}),
    ):
        assert "ephemeral_storage" in answer.json()["warnings"][0]
    assert await document_at(admin) == {"limits": {"ephemeral_storage": "2Gi"}}


async def test_a_repeated_item_of_a_list_counts_once_with_a_warning(
    admin: httpx.AsyncClient,
) -> None:
    queue = {"name": "batch", "attributes": ["gpu"]}
    assert (await admin.put("/queues/batch", params=FORCE, json=queue)).status_code == 200
    path, tags = "/records/execution_queue", {"tags": ["gpu", "gpu"]}
    for answer in (
        await admin.put(path, params=FORCE, json=tags),
        await admin.patch(path, params=FORCE, json=tags),
    ):
        assert answer.json()["document"] == {"tags": ["gpu"]}
        assert answer.json()["warnings"] == ["tags: 'gpu' is listed 2 times and counts once"]


async def test_a_limit_of_zero_warns_where_a_write_sets_it(admin: httpx.AsyncClient) -> None:
    written = [
        await put(admin, {"limits": {"gpu": "0"}}),
        await patch(admin, {"limits": {"cpu": "1"}}),
        await patch(admin, {"limits": {"memory": "0Gi"}}),
    ]
    warned = [[text.split()[0] for text in answer.json()["warnings"]] for answer in written]
    assert warned == [["limits.gpu"], [], ["limits.memory"]]


async def test_a_likely_credential_warns_and_is_not_repeated(admin: httpx.AsyncClient) -> None:
    path, value = "/records/workflow_execution_config", "ghp_" + "x" * 36
    spec = {"env": {"DB_PASSWORD": "hunter2"}}
    assignment = {"execution_env": {"name": "a", "type": "b", "spec": spec}}
    document = {"envs": {"A": value, "B": "b"}, "execution_env_assignments": [assignment]}
    dry_run = await admin.put(path, params={"dry_run": "true"}, json=document)
    [change] = dry_run.json()["changes"]
    written = (await admin.put(path, params=FORCE, json=document)).json()
    patched = (await admin.patch(path, params=FORCE, json={"envs": {"B": "c"}})).json()
    assert [text.split()[0] for text in written["warnings"]] == [
        "envs.A",
        "execution_env_assignments.0.execution_env.spec.env.DB_PASSWORD",
    ]
    assert change["warnings"] == written["warnings"]
    assert patched["warnings"] == []
    assert not any(secret in "".join(written["warnings"]) for secret in (value, "hunter2"))


@pytest.fixture
async def with_unreadable(admin: httpx.AsyncClient, settings: AdminConfig) -> httpx.AsyncClient:
    """Return a client of an admin with two platform records that this release cannot read."""
    sessions = sessions_of(settings.database_url)
    async with transaction(sessions) as session:
        for kind, document in (("task_resource", {"limits": {"cpu": "1Kib"}}), ("weather", {})):
            event = RecordChanged.at(PLATFORM, kind, document)
            await outbox.append(session, [Write(subjects.attributes(kind, PLATFORM), event, False)])
    await sessions.kw["bind"].dispose()
    return admin


async def test_unreadable_records_are_listed_with_the_reason(
    with_unreadable: httpx.AsyncClient,
) -> None:
    listed = {body["kind"]: body for body in (await with_unreadable.get("/records")).json()}
    [reason], [unknown] = listed["task_resource"]["warnings"], listed["weather"]["warnings"]
    assert "not readable: limits.cpu: '1Kib'" in reason
    assert "not installed" in unknown
    assert listed["weather"]["version"] == listed["task_resource"]["version"] + 1


@pytest.mark.parametrize(("method", "code"), [("PUT", 200), ("DELETE", 204)])
async def test_an_unreadable_record_is_an_error_until_it_is_replaced_or_deleted(
    with_unreadable: httpx.AsyncClient, method: str, code: int
) -> None:
    for answer in (
        await with_unreadable.get(RECORD),
        await patch(with_unreadable, {"limits": {"gpu": "1"}}),
    ):
        assert (answer.status_code, "or delete it" in answer.json()["detail"]) == (409, True)
    document = {"limits": {"cpu": "1"}}
    answer = await with_unreadable.request(method, RECORD, params=FORCE, json=document)
    assert answer.status_code == code
    assert (await with_unreadable.get(RECORD)).status_code == (200 if method == "PUT" else 404)


async def test_a_patch_of_a_key_keeps_the_unset_of_a_key_that_begins_with_it(
    admin: httpx.AsyncClient,
) -> None:
    path, shop = "/records/workflow_execution_config", SCOPE | FORCE
    keys = {"unset": ["labels.team", ["labels", "team.io/x"]]}
    stored = await admin.put(path, params=shop, json=keys)
    assert stored.json()["document"] == {"unset": ["labels.team", "labels.team.io/x"]}
    patched = await admin.patch(path, params=shop, json={"labels": {"team": None}})
    assert patched.json()["document"] == {"unset": ["labels.team.io/x"]}
