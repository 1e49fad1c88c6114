"""Effective values with the provenance of each leaf, and their explanations."""

from typing import Any

import httpx

from tests.integration.admin.running import FORCE, SCOPE
from trimtab_admin.config import AdminConfig
from trimtab_admin.storage import outbox
from trimtab_admin.storage.database import sessions_of, transaction


async def put(admin: httpx.AsyncClient, document: object, **params: str) -> int:
    answer = await admin.put("/records/task_resource", params=params | FORCE, json=document)
    version: int = answer.json()["version"]
    return version


async def test_each_leaf_has_its_provenance_and_what_it_overrode(
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


async def test_an_unset_leaf_is_shown_without_a_value(admin: httpx.AsyncClient) -> None:
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


async def test_an_unknown_target_is_rejected(admin: httpx.AsyncClient) -> None:
    answer = await admin.get("/effective/task_resource", params={"project": "shpo"})
    assert (answer.status_code, answer.json()["allowed"]) == (404, "shop")


async def test_the_effective_value_by_the_rule_of_flyte_1_can_be_requested(
    admin: httpx.AsyncClient,
) -> None:
    await put(admin, {"limits": {"cpu": "8"}}, project="shop")
    await put(admin, {"limits": {"memory": "2Gi"}}, **SCOPE)
    ours = (await admin.get("/effective/task_resource", params=SCOPE)).json()
    flyte = (
        await admin.get("/effective/task_resource", params=SCOPE | {"as_flyte": "true"})
    ).json()
    assert ours["document"] == {"limits": {"cpu": "8", "memory": "2Gi"}}
    assert flyte["document"] == {"limits": {"memory": "2Gi"}}
    assert flyte.keys() == ours.keys()


async def test_the_rule_of_flyte_is_rejected_for_a_kind_that_flyte_lacks(
    admin: httpx.AsyncClient,
) -> None:
    answer = await admin.get("/effective/workflow_priority", params=SCOPE | {"as_flyte": "true"})
    assert answer.status_code == 400
    assert answer.json()["allowed"].startswith("a kind that Flyte 1 has: task_resource")


async def test_kinds_are_listed_with_their_schema(admin: httpx.AsyncClient) -> None:
    kinds = {kind["name"]: kind for kind in (await admin.get("/kinds")).json()}
    assert kinds["task_resource"]["flyte_number"] == 0
    assert "limits" in kinds["task_resource"]["json_schema"]["properties"]
    assert "workflow" not in kinds["cluster_resource"]["levels"]


async def test_kinds_are_listed_with_the_fields_of_a_form(admin: httpx.AsyncClient) -> None:
    kinds = {kind["name"]: kind for kind in (await admin.get("/kinds")).json()}
    fields = {field["path"]: field for field in kinds["task_resource"]["form"]}
    assert fields["over_limit"]["choices"] == ["refuse", "clamp"]
    assert fields["ceiling"]["levels"] == ["settings", "platform"]
    assert kinds["task_resource"]["deprecated"]["limits.storage"] == "limits.ephemeral_storage"
    assert "namespaces" in kinds["cluster_resource"]["refused_levels"]["workflow"]


async def test_the_effective_values_of_all_kinds_come_in_one_response(
    admin: httpx.AsyncClient,
) -> None:
    await put(admin, {"limits": {"cpu": "2"}})
    params = SCOPE | FORCE
    await admin.put("/records/workflow_priority", params=params, json={"priority": 7})
    body = (await admin.get("/effective", params=SCOPE)).json()
    registered = {kind["name"] for kind in (await admin.get("/kinds")).json()}
    assert set(body["kinds"]) == registered
    assert body["kinds"]["task_resource"]["document"] == {"limits": {"cpu": "2"}}
    [leaf] = body["kinds"]["workflow_priority"]["leaves"]
    assert (leaf["value"], leaf["scope"]) == (7, "project-domain shop/development")
    assert (body["unreadable"], body["target"]["project"]) == ({}, "shop")


async def explain(admin: httpx.AsyncClient, **target: str) -> Any:
    answer = await admin.get("/explain/task_resource", params=target)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_an_explanation_has_every_scope_of_the_chain_with_its_last_writer(
    admin: httpx.AsyncClient,
) -> None:
    await put(admin, {"limits": {"cpu": "8"}})
    headers = {"X-Trimtab-Reason": "too many"}
    await admin.put(
        "/records/task_resource",
        params=SCOPE | FORCE,
        headers=headers,
        json={"limits": {"cpu": "2"}, "unset": ["limits.gpu"]},
    )
    body = await explain(admin, **SCOPE, workflow="nightly")
    levels = [step["scope"]["level"] for step in body["chain"]]
    assert levels == ["settings", "platform", "domain", "project", "project-domain", "workflow"]
    stored = [step["scope"]["level"] for step in body["chain"] if step["record"]]
    assert stored == ["platform", "project-domain"]
    setter = body["chain"][4]["setter"]
    assert (setter["reason"], bool(setter["actor"]), bool(setter["at"])) == ("too many", True, True)
    cpu, gpu = body["leaves"]
    assert [source["value"] for source in cpu["sources"]] == ["2", "8"]
    assert cpu["says"].endswith(', "too many"), over 8 by platform')
    assert gpu["says"].startswith("no value, by project-domain shop/development")


async def test_the_last_writer_is_known_after_a_resync(
    admin: httpx.AsyncClient, settings: AdminConfig
) -> None:
    await put(admin, {"limits": {"cpu": "8"}})
    before = await explain(admin)
    sessions = sessions_of(settings.database_url)
    async with transaction(sessions) as session:
        await outbox.resync(session)
    await sessions.kw["bind"].dispose()
    after = await explain(admin)
    assert after["revision"] > before["revision"]
    assert after["chain"][1]["setter"] == before["chain"][1]["setter"] != None  # noqa: E711


async def test_an_explanation_includes_the_value_by_the_rule_of_flyte(
    admin: httpx.AsyncClient,
) -> None:
    await put(admin, {"limits": {"cpu": "8", "memory": "1Gi"}})
    await put(admin, {"limits": {"cpu": "2"}}, project="shop")
    body = await explain(admin, **SCOPE)
    assert body["document"] == {"limits": {"cpu": "2", "memory": "1Gi"}}
    assert body["as_flyte"]["document"] == {"limits": {"cpu": "2"}}
    answer = await admin.get("/explain/workflow_priority", params=SCOPE)
    assert answer.json()["as_flyte"] is None
