"""Every registered kind works in every interface: a new one needs no further code."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner, Result

from tests.admin_process import TOKEN, admin_process
from tests.servers import PATIENCE_SECONDS, NatsServer
from tests.unit.trimtab.test_wire import RECORDS
from trimtab import kinds
from trimtab.cli.main import cli
from trimtab.kinds import Kind
from trimtab.levels import PLATFORM, Level, Scope
from trimtab.messages import subjects
from trimtab.messages.events import RecordChanged
from trimtab.runtime import bus
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.connection import connect

MAPS = [(kind, path) for kind in kinds.registered().values() for path in kind.schema.maps]
EVERY_MAP = pytest.mark.parametrize(("kind", "path"), MAPS, ids=[path for _kind, path in MAPS])
EVERY_KIND = pytest.mark.parametrize("kind", kinds.registered().values(), ids=lambda k: k.name)
FORCE = {"force": "true"}
SHOP = {"project": "shop", "domain": "development"}
SCOPES = [
    {},
    {"domain": "development"},
    {"project": "shop"},
    SHOP,
    {**SHOP, "workflow": "train"},
    {**SHOP, "workflow": "train", "launch_plan": "nightly"},
]


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="module")
def server(nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with admin_process(tmp_path_factory.mktemp("admin"), nats_server.url) as url:
        yield url


@pytest.fixture(scope="module")
def admin(server: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(
        base_url=f"{server}/api/v2", headers=headers, timeout=PATIENCE_SECONDS
    ) as client:
        client.post("/projects", json={"name": "shop"})
        yield client


def document_of(kind: Kind, scope: dict[str, str]) -> dict[str, Any]:
    """Return a document with every field that may be set at the scope."""
    level = Scope(**scope).level
    return {
        name: value
        for name, value in RECORDS[kind.name].items()
        if level in kind.field_levels.get(name, kind.levels)
    }


@EVERY_KIND
def test_a_record_can_be_stored_at_the_levels_of_the_kind_only(
    kind: Kind, admin: httpx.Client
) -> None:
    path = f"/records/{kind.name}"
    for scope in SCOPES:
        document = document_of(kind, scope)
        written = admin.put(path, params=scope | FORCE, json=document)
        if Scope(**scope).level not in kind.levels:
            assert written.status_code == 400
            assert kind.refused_levels[Scope(**scope).level] in written.json()["allowed"]
            continue
        assert written.status_code == 200, written.text
        assert admin.get(path, params=scope).json()["document"] == document
        assert admin.delete(path, params=scope | FORCE).status_code == 204
        assert admin.get(path, params=scope).status_code == 404


@EVERY_KIND
def test_a_record_is_folded_listed_patched_and_folded_by_the_rule_of_flyte(
    kind: Kind, admin: httpx.Client
) -> None:
    document, path = RECORDS[kind.name], f"/records/{kind.name}"
    admin.put(path, params=FORCE, json=document)
    effective = admin.get(f"/effective/{kind.name}", params=SHOP).json()
    assert effective["document"] == document
    assert {leaf["scope"] for leaf in effective["leaves"] if leaf["value"] is not None} == {
        "platform"
    }
    as_flyte = admin.get(f"/effective/{kind.name}", params=SHOP | {"as_flyte": "true"})
    assert as_flyte.status_code == (200 if kind.flyte is not None else 400)
    [listed] = admin.get("/records", params={"kind": kind.name}).json()
    assert listed["document"] == document
    first = next(iter(document))
    patched = admin.patch(path, params=FORCE, json={first: None}).json()
    assert patched["document"] == {n: v for n, v in document.items() if n != first}
    admin.delete(path, params=FORCE)


@EVERY_KIND
def test_each_field_can_be_unset_except_where_it_can_only_be_narrowed(
    kind: Kind, admin: httpx.Client
) -> None:
    path = f"/records/{kind.name}"
    admin.put(path, params=FORCE, json=RECORDS[kind.name])
    level = Level.PROJECT_DOMAIN
    for field in kind.narrowing:
        refused = admin.put(path, params=SHOP | FORCE, json={"unset": [field]})
        assert "can only narrow" in refused.json()["allowed"]
    fields = [
        f
        for f in RECORDS[kind.name].keys() - kind.narrowing.keys()
        if level in kind.field_levels.get(f, kind.levels)
    ]
    written = admin.put(path, params=SHOP | FORCE, json={"unset": fields})
    assert written.json()["document"] == ({"unset": fields} if fields else {})
    effective = admin.get(f"/effective/{kind.name}", params=SHOP).json()
    assert effective["document"].keys() == RECORDS[kind.name].keys() - set(fields)
    for scope in (SHOP, {}):
        admin.delete(path, params=scope | FORCE)


@EVERY_MAP
def test_a_record_can_unset_a_map_and_set_keys_of_its_own(
    kind: Kind, path: str, admin: httpx.Client
) -> None:
    inherited: Any = RECORDS[kind.name][path]
    own = {f"{key}2": value for key, value in inherited.items()}
    admin.put(f"/records/{kind.name}", params=FORCE, json={path: inherited})
    document = {path: own, "unset": [path]}
    written = admin.put(f"/records/{kind.name}", params=SHOP | FORCE, json=document)
    assert written.json()["document"] == document
    explained = admin.get(f"/explain/{kind.name}", params=SHOP).json()
    assert explained["document"] == {path: own}
    here = "project-domain shop/development"
    expected = {path: [here]} | {f"{path}.{key}": [here] for key in own}
    expected |= {f"{path}.{key}": [here, "platform"] for key in inherited}
    assert {
        leaf["path"]: [source["scope"] for source in leaf["sources"]]
        for leaf in explained["leaves"]
    } == expected
    for scope in (SHOP, {}):
        admin.delete(f"/records/{kind.name}", params=scope | FORCE)


@EVERY_MAP
def test_a_patch_of_a_map_that_is_unset_changes_its_keys_and_null_makes_it_inherit_again(
    kind: Kind, path: str, admin: httpx.Client
) -> None:
    first, *_others = RECORDS[kind.name][path].values()  # type: ignore[attr-defined]
    record = f"/records/{kind.name}"
    admin.put(record, params=SHOP | FORCE, json={path: {"a": first}, "unset": [path]})
    patched = admin.patch(record, params=SHOP | FORCE, json={path: {"a": None, "b": first}})
    assert patched.json()["document"] == {path: {"b": first}, "unset": [path]}
    emptied = admin.patch(record, params=SHOP | FORCE, json={path: None})
    assert emptied.json()["document"] == {}
    admin.delete(record, params=SHOP | FORCE)


@EVERY_KIND
def test_the_api_describes_the_kind(kind: Kind, admin: httpx.Client) -> None:
    [listed] = [body for body in admin.get("/kinds").json() if body["name"] == kind.name]
    assert (listed["noun"], listed["summary"]) == (kind.noun, kind.summary)
    assert listed["json_schema"]["properties"].keys() == kind.value.model_fields.keys()
    assert {field["path"] for field in listed["form"]} == kind.schema.paths
    schemas = admin.get("/openapi.json").json()["components"]["schemas"]
    assert schemas[kind.name]["properties"].keys() == kind.value.model_fields.keys()


@EVERY_KIND
def test_a_change_is_an_event_with_the_full_record(
    kind: Kind, admin: httpx.Client, nats_server: NatsServer
) -> None:
    admin.put(f"/records/{kind.name}", params=FORCE, json=RECORDS[kind.name])
    event = asyncio.run(_wait_for_event(nats_server, subjects.attributes(kind.name, PLATFORM)))
    assert (event.kind, event.scope, event.document) == (kind.name, PLATFORM, RECORDS[kind.name])
    admin.delete(f"/records/{kind.name}", params=FORCE)


async def _wait_for_event(server: NatsServer, subject: str) -> RecordChanged:
    """Wait for an event that is not a tombstone; it is published after the response."""
    async with asyncio.timeout(PATIENCE_SECONDS), connect(_settings(server), "test") as client:
        while True:
            for message in await bus.read_all(client, subjects.SETTINGS, subject):
                event = RecordChanged.model_validate_json(message.body)
                if event.document is not None:
                    return event
            await asyncio.sleep(0.05)


def _settings(server: NatsServer) -> ServiceConfig:
    return ServiceConfig(nats_url=server.url)


@EVERY_KIND
def test_the_command_line_writes_what_it_reads_and_reads_what_it_writes(
    kind: Kind, admin: httpx.Client, server: str, tmp_path: Path
) -> None:
    document = document_of(kind, SHOP)
    admin.put(f"/records/{kind.name}", params=SHOP | FORCE, json=document)
    file, scope = str(tmp_path / "file.yaml"), ["-p", "shop", "-d", "development"]
    assert trimtab(server, "get", kind.noun, *scope, "--attrFile", file).exit_code == 0
    written = yaml.safe_load(Path(file).read_text())
    assert kind.from_file({n: v for n, v in written.items() if n not in SHOP}) == document
    assert trimtab(server, "delete", kind.noun, "--attrFile", file).exit_code == 0
    assert admin.get(f"/records/{kind.name}", params=SHOP).status_code == 404
    updated = trimtab(server, "update", kind.noun, "--attrFile", file, "--force")
    assert updated.exit_code == 0, updated.output
    stored = admin.get(f"/records/{kind.name}", params=SHOP).json()
    assert stored["document"] == document
    admin.delete(f"/records/{kind.name}", params=SHOP | FORCE)


def trimtab(server: str, *arguments: str) -> Result:
    access = {"TRIMTAB_SERVER": server, "TRIMTAB_TOKEN": TOKEN}
    return CliRunner().invoke(cli, arguments, env=access)
