"""Effective values: what applies, and where each part comes from."""

import httpx

from tests.integration.admin.running import FORCE, SCOPE


async def put(admin: httpx.AsyncClient, document: object, **params: str) -> int:
    answer = await admin.put("/records/task_resource", params=params | FORCE, json=document)
    version: int = answer.json()["version"]
    return version


async def test_each_leaf_says_where_it_is_from_and_what_it_overrode(
    admin: httpx.AsyncClient,
) -> None:
    platform = await put(admin, {"limits": {"cpu": "8", "memory": "2Gi"}})
    domain = await put(admin, {"limits": {"cpu": "4"}}, domain="development")
    narrow = await put(admin, {"limits": {"cpu": "2"}}, **SCOPE)
    body = (await admin.get("/effective/task_resource", params=SCOPE)).json()
    assert body["document"] == {"limits": {"cpu": "2", "memory": "2Gi"}}
    cpu, memory = body["leaves"]
    assert (cpu["path"], cpu["scope"], cpu["revision"]) == (
        "limits.cpu", "project-domain shop/development", narrow,
    )  # fmt: skip
    assert cpu["overrode"] == [
        {"scope": "domain development", "revision": domain, "value": "4"},
        {"scope": "platform", "revision": platform, "value": "8"},
    ]
    assert (memory["scope"], memory["overrode"]) == ("platform", [])


async def test_what_is_unset_is_shown_as_unset_and_is_no_value(admin: httpx.AsyncClient) -> None:
    await put(admin, {"limits": {"gpu": "4"}})
    await put(admin, {"unset": ["limits.gpu"]}, **SCOPE)
    body = (await admin.get("/effective/task_resource", params=SCOPE)).json()
    assert body["document"] == {}
    assert [(leaf["path"], leaf["value"]) for leaf in body["leaves"]] == [("limits.gpu", None)]


async def test_a_read_after_a_write_sees_it(admin: httpx.AsyncClient) -> None:
    for number in range(1, 30):
        await put(admin, {"limits": {"cpu": str(number)}})
        body = (await admin.get("/effective/task_resource", params=SCOPE)).json()
        assert body["document"] == {"limits": {"cpu": str(number)}}


async def test_an_unknown_target_is_refused(admin: httpx.AsyncClient) -> None:
    answer = await admin.get("/effective/task_resource", params={"project": "shpo"})
    assert (answer.status_code, answer.json()["allowed"]) == (404, "shop")


async def test_kinds_tell_their_schema(admin: httpx.AsyncClient) -> None:
    kinds = {kind["name"]: kind for kind in (await admin.get("/kinds")).json()}
    assert kinds["task_resource"]["flyte_number"] == 0
    assert "limits" in kinds["task_resource"]["json_schema"]["properties"]
    assert "workflow" not in kinds["cluster_resource"]["levels"]
