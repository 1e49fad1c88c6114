"""Projects, domains, clusters and pools, and their declarations in the settings file."""

from pathlib import Path

import httpx
import pytest

from tests.integration.admin.running import FORCE, SCOPE, rows, running, settings_for
from tests.servers import NatsServer
from trimtab.api.entities import ClusterBody
from trimtab.errors import Conflict, Invalid, NotFound
from trimtab_admin.app import prepare
from trimtab_admin.config import AdminConfig
from trimtab_admin.storage.tables import namespaces as names


async def test_a_project_is_created_once(admin: httpx.AsyncClient) -> None:
    body = {"name": "lab", "description": "trials", "labels": {"team": "ml"}}
    made = await admin.post("/projects", json=body)
    again = await admin.post("/projects", json=body)
    assert (made.status_code, again.status_code) == (201, 409)
    assert (await admin.get("/projects/lab")).json() == made.json()
    assert [project["name"] for project in (await admin.get("/projects")).json()] == ["lab", "shop"]


@pytest.mark.parametrize("name", ["Lab", "-lab", "lab.x", "", "a" * 64])
async def test_a_project_whose_name_cannot_be_part_of_a_namespace_is_rejected(
    admin: httpx.AsyncClient, name: str
) -> None:
    answer = await admin.post("/projects", json={"name": name})
    assert (answer.status_code, answer.json()["path"]) == (400, "name")


async def test_put_changes_a_project_but_does_not_create_one(admin: httpx.AsyncClient) -> None:
    changed = await admin.put("/projects/shop", json={"name": "shop", "state": "archived"})
    assert changed.json()["state"] == "archived"
    answer = await admin.put("/projects/shpo", json={"name": "shpo"})
    assert (answer.status_code, answer.json()["allowed"]) == (404, "shop")
    answer = await admin.put("/projects/shop", json={"name": "shpo"})
    assert (answer.status_code, answer.json()["path"]) == (400, "name")


async def test_fields_that_an_update_of_a_project_leaves_out_stay(admin: httpx.AsyncClient) -> None:
    full = {
        "display_name": "The shop",
        "description": "Shop",
        "labels": {"team": "a"},
        "state": "archived",
    }
    await admin.put("/projects/shop", json={"name": "shop", **full})
    for change in (
        {},
        {"display_name": "Shop"},
        {"description": ""},
        {"labels": {}},
        {"state": "active"},
    ):
        full |= change
        await admin.put("/projects/shop", json={"name": "shop", **change})
        project = (await admin.get("/projects/shop")).json()
        assert {name: project[name] for name in full} == full


async def test_a_project_is_archived_and_activated_again(admin: httpx.AsyncClient) -> None:
    for state in ("archived", "active"):
        answer = await admin.patch("/projects/shop", json={"state": state})
        assert (answer.status_code, answer.json()["state"]) == (200, state)
    assert (await admin.patch("/projects/shop", json={"state": "gone"})).status_code == 400
    assert (await admin.patch("/projects/shpo", json={})).status_code == 404


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_records_of_an_archived_project_can_be_read_but_not_written(
    admin: httpx.AsyncClient, method: str
) -> None:
    path, shop = "/records/workflow_priority", SCOPE | FORCE
    stored = (await admin.put(path, params=shop, json={"priority": 1})).json()
    await admin.patch("/projects/shop", json={"state": "archived"})
    refused = await admin.request(method, path, params=shop, json={"priority": 2})
    assert refused.status_code == 409, refused.text
    assert "'shop' is archived" in refused.json()["detail"]
    assert (await admin.get(path, params=SCOPE)).json() == stored
    await admin.patch("/projects/shop", json={"state": "active"})
    assert (await admin.request(method, path, params=shop, json={"priority": 2})).is_success


@pytest.mark.parametrize("quota", ["3", True, 1.0, 10**30, 10**9 + 1, 0])
async def test_the_quota_of_a_pool_is_an_integer_of_json_that_can_be_counted(
    admin: httpx.AsyncClient, quota: object
) -> None:
    document = {"kind": "pool", "name": "gpus", "document": {"quota": quota}}
    refused = [
        await admin.put("/pools/gpus", params=FORCE, json={"name": "gpus", "quota": quota}),
        await admin.post("/apply", json={"documents": [document]}),
    ]
    assert [answer.status_code for answer in refused] == [400, 400]
    paths = [answer.json()["path"] for answer in refused]
    assert paths == ["quota", "documents.0.document.quota"]
    assert (await admin.get("/pools")).json() == []


@pytest.mark.parametrize("path", ["/projects/shop", "/records/task_resource"])
async def test_null_for_a_field_that_does_not_exist_is_refused(
    admin: httpx.AsyncClient, path: str
) -> None:
    scope = SCOPE if "records" in path else {}
    answer = await admin.patch(path, params=FORCE | scope, json={"lables": None})
    assert (answer.status_code, answer.json()["path"]) == (400, "lables")


async def test_labels_of_a_project_are_patched_by_key(admin: httpx.AsyncClient) -> None:
    await admin.patch("/projects/shop", json={"labels": {"team": "a", "example.com/cost": "7"}})
    answer = await admin.patch("/projects/shop", json={"labels": {"team": None}})
    assert answer.json()["labels"] == {"example.com/cost": "7"}


async def test_labels_that_kubernetes_would_reject_are_rejected(
    admin: httpx.AsyncClient,
) -> None:
    for labels in (
        {"": "a"},
        {"-a": "a"},
        {"a/b/c": "a"},
        {"Example.com/a": "a"},
        {"a" * 64: "a"},
        {"a": "a" * 64},
        {"a": "b c"},
        {f"k{number}": "a" for number in range(17)},
    ):
        for answer in (
            await admin.post("/projects", json={"name": "lab", "labels": labels}),
            await admin.patch("/projects/shop", json={"labels": labels}),
        ):
            assert (answer.status_code, answer.json()["path"][:6]) == (400, "labels"), labels
    assert len((await admin.get("/projects")).json()) == 1


async def test_sixteen_labels_are_accepted(admin: httpx.AsyncClient) -> None:
    labels = {f"k{number}": "" for number in range(16)}
    answer = await admin.post("/projects", json={"name": "lab", "labels": labels})
    assert answer.json()["labels"] == labels


async def test_the_namespace_of_each_project_and_domain_is_stored(
    admin: httpx.AsyncClient, settings: AdminConfig
) -> None:
    await admin.post("/domains", json={"name": "canary"})
    await admin.patch("/projects/shop", json={"state": "archived"})
    stored = {(row["project"], row["domain"]): row["name"] for row in await rows(settings, names)}
    domains = ("canary", "development", "production", "staging")
    assert stored == {("shop", domain): f"shop-{domain}" for domain in domains}


async def test_a_name_that_makes_a_namespace_too_long_is_rejected(admin: httpx.AsyncClient) -> None:
    for path, name, status in (
        ("/projects", "p" * 51, 201),
        ("/projects", "p" * 52, 400),
        ("/domains", "d" * 11, 201),
        ("/domains", "d" * 12, 400),
    ):
        answer = await admin.post(path, json={"name": name})
        assert (answer.status_code, "63 small letters" in answer.text) == (status, status == 400)
        assert (name in (await admin.get(path)).text) == (status == 201)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("/domains", "x-development"), ("/projects", "shop-x")),
        (("/projects", "shop-x"), ("/domains", "x-development")),
    ],
)
async def test_a_name_that_would_share_a_namespace_is_rejected_naming_both_targets(
    admin: httpx.AsyncClient, first: tuple[str, str], second: tuple[str, str]
) -> None:
    assert (await admin.post(first[0], json={"name": first[1]})).status_code == 201
    entity_type = second[0].strip("/").removesuffix("s")
    document = {"kind": entity_type, "name": second[1], "document": {}}
    for answer in (
        await admin.post(second[0], json={"name": second[1]}),
        await admin.post("/apply", json={"documents": [document]}),
        await admin.post("/apply", params={"dry_run": "true"}, json={"documents": [document]}),
    ):
        assert answer.status_code == 409
        assert "'shop-x-development' would be for project 'shop'" in answer.json()["detail"]


async def test_a_template_that_would_give_two_targets_one_namespace_stops_the_start(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    settings = settings_for(tmp_path, nats_server.url, domains=("c", "b-c"))
    apart = {"namespace_template": "{{ domain }}-x-{{ project }}"}
    async with running(settings.model_copy(update=apart)) as admin:
        for name in ("a", "a-b"):
            assert (await admin.post("/projects", json={"name": name})).status_code == 201
    before = await rows(settings, names)
    with pytest.raises(Conflict, match="'a-b-c' would be for project 'a' in domain 'b-c'"):
        await prepare(settings)
    with pytest.raises(Invalid, match="63 small letters"):
        await prepare(settings.model_copy(update={"namespace_template": "{{ project }}_x"}))
    assert await rows(settings, names) == before
    await prepare(settings.model_copy(update={"namespace_template": "all-{{ domain }}"}))
    assert [row["name"] for row in await rows(settings, names)] == ["all-b-c", "all-c"]


async def test_a_stale_version_of_a_project_is_rejected(admin: httpx.AsyncClient) -> None:
    headers = {"If-Match": '"999"'}
    answer = await admin.put("/projects/shop", headers=headers, json={"name": "shop"})
    assert (answer.status_code, answer.json()["given_version"]) == (412, 999)


async def test_a_domain_can_be_added(admin: httpx.AsyncClient) -> None:
    assert (await admin.post("/domains", json={"name": "canary"})).status_code == 201
    names = [domain["name"] for domain in (await admin.get("/domains")).json()]
    assert names == ["canary", "development", "production", "staging"]


async def test_replacing_a_pool_requires_a_precondition(
    admin: httpx.AsyncClient,
) -> None:
    gpu = {"name": "gpu", "quota": 4, "project_cap": 2}
    assert (await admin.put("/pools/gpu", json=gpu)).status_code == 428
    create = {"If-None-Match": "*"}
    codes = [
        (await admin.put("/pools/gpu", json=gpu, headers=create)).status_code for _ in range(2)
    ]
    assert codes == [200, 412]
    version = (await admin.get("/pools/gpu")).json()["version"]
    changed = await admin.put(
        "/pools/gpu", json={"name": "gpu", "quota": 8}, headers={"If-Match": f'"{version}"'}
    )
    assert (changed.json()["quota"], changed.json()["project_cap"]) == (8, None)


async def test_deleting_a_pool_requires_a_precondition(admin: httpx.AsyncClient) -> None:
    gpu = {"name": "gpu", "quota": 4}
    version = (await admin.put("/pools/gpu", json=gpu, params=FORCE)).json()["version"]
    assert (await admin.delete("/pools/gpu")).status_code == 428
    stale = await admin.delete("/pools/gpu", headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["stored_version"]) == (412, version)
    own = {"If-Match": f'"{version}"'}
    assert (await admin.delete("/pools/gpu", headers=own)).status_code == 204
    assert (await admin.get("/pools/gpu")).status_code == 404
    assert (await admin.delete("/pools/gpu", params=FORCE)).status_code == 204


async def test_a_pool_can_be_declared_again_after_it_was_deleted(admin: httpx.AsyncClient) -> None:
    gpu = {"name": "gpu", "quota": 4}
    first = (await admin.put("/pools/gpu", json=gpu, params=FORCE)).json()["version"]
    await admin.delete("/pools/gpu", params=FORCE)
    again = await admin.put("/pools/gpu", json=gpu, headers={"If-None-Match": "*"})
    assert again.json()["version"] == first + 2


async def test_an_unknown_pool_is_an_error_with_the_known_names(admin: httpx.AsyncClient) -> None:
    await admin.put("/pools/gpu", json={"name": "gpu", "quota": 1}, params=FORCE)
    answer = await admin.get("/pools/gpus")
    assert (answer.status_code, answer.json()["allowed"]) == (404, "gpu")


def declaring(tmp_path: Path, nats: NatsServer, quota: int, cpu: str = "2") -> AdminConfig:
    return settings_for(
        tmp_path,
        nats.url,
        clusters=[{"name": "embedded", "labels": ["mycluster"]}],
        pools=[{"name": "gpu", "quota": quota}],
        records={"task_resource": {"limits": {"cpu": cpu}}},
    )


async def test_the_settings_file_is_the_layer_below_the_platform(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    async with running(declaring(tmp_path, nats_server, quota=2)) as admin:
        [record] = (await admin.get("/records")).json()
        [cluster] = (await admin.get("/clusters")).json()
        await admin.put("/records/task_resource", params=FORCE, json={"limits": {"cpu": "9"}})
        body = (await admin.get("/effective/task_resource")).json()
    assert (record["scope"]["level"], record["document"]) == ("settings", {"limits": {"cpu": "2"}})
    assert cluster["labels"] == ["mycluster"]
    [leaf] = body["leaves"]
    assert (leaf["value"], leaf["overrode"][0]["scope"]) == ("9", "settings")


async def test_a_deprecated_name_in_the_settings_file_logs_a_warning(
    tmp_path: Path, nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    records = {"task_resource": {"limits": {"storage": "1Gi"}}}
    async with running(settings_for(tmp_path, nats_server.url, records=records)) as admin:
        [record] = (await admin.get("/records")).json()
    assert record["document"] == {"limits": {"ephemeral_storage": "1Gi"}}
    [warned] = [line for line in caplog.records if line.message == "record.warned"]
    assert "limits.storage is deprecated" in warned.__dict__["warning"]


async def test_a_start_writes_only_changed_declarations_of_the_settings_file(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    revisions = []
    for cpu in ("2", "2", "3"):
        async with running(declaring(tmp_path, nats_server, quota=2, cpu=cpu)) as admin:
            revisions.append((await admin.get("/status")).json()["revision"])
    assert revisions[1] == revisions[0]
    assert revisions[2] == revisions[0] + 1


async def test_a_pool_that_the_api_changed_stays_until_its_declaration_changes(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    quotas = []
    async with running(declaring(tmp_path, nats_server, quota=2)) as admin:
        await admin.put("/pools/gpu", json={"name": "gpu", "quota": 5}, params=FORCE)
    for quota in (2, 3):
        async with running(declaring(tmp_path, nats_server, quota=quota)) as admin:
            quotas.append((await admin.get("/pools/gpu")).json()["quota"])
    assert quotas == [5, 3]


async def test_removing_a_kind_from_the_settings_file_deletes_its_record(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    async with running(declaring(tmp_path, nats_server, quota=2)):
        pass
    async with running(settings_for(tmp_path, nats_server.url)) as admin:
        assert (await admin.get("/records")).json() == []


async def test_an_invalid_settings_file_is_rejected_by_path_and_changes_nothing(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    good = declaring(tmp_path, nats_server, quota=2)
    await prepare(good)
    wrong = good.model_copy(update={"domains": ("x",), "records": {"task_resource": {"limit": 1}}})
    with pytest.raises(Invalid, match=r"records\.task_resource\.limit"):
        await prepare(wrong)
    with pytest.raises(NotFound, match="did you mean 'task_resource'"):
        await prepare(good.model_copy(update={"records": {"task_resources": {}}}))
    cluster = ClusterBody(name="local", labels=("a\x1b",))
    resource = {"cluster_resource": {"attributes": {"a": "\x1b"}}}
    for update, path in (
        ({"clusters": (cluster,)}, r"clusters\.local\.labels\.0"),
        ({"records": resource}, r"records\.cluster_resource\.attributes\.a"),
    ):
        with pytest.raises(Invalid, match=path + r": .* text without U\+001B"):
            await prepare(good.model_copy(update=update))
    async with running(good) as admin:
        assert "x" not in [domain["name"] for domain in (await admin.get("/domains")).json()]
