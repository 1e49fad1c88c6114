"""A kind of another distribution has every interface, without a change of Trimtab."""

import asyncio
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from tests.admin_process import TOKEN, admin_process
from tests.servers import PATIENCE_SECONDS, NatsServer
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import REVISION, RecordChanged
from trimtab.runtime import bus
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.connection import connect

PACKAGE = Path(__file__).parents[1] / "third_party_kind"
SHOP = Scope("development", "shop")
SCOPE = {"project": "shop", "domain": "development"}
FORCE = {"force": "true"}
DOCUMENT = {"code": "ML-0042", "shares": {"vision": 60, "speech": 40}}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory into which the wheel of the package was unpacked."""
    directory = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(directory)]
    subprocess.run(build, cwd=PACKAGE, check=True, capture_output=True)
    [wheel] = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    return directory


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="module")
def server(
    installed: Path, nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """URL of an admin that has the package installed."""
    directory = tmp_path_factory.mktemp("admin")
    with admin_process(directory, nats_server.url, environment_with_package(installed)) as url:
        yield url


@pytest.fixture
async def admin(server: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(
        base_url=f"{server}/api/v2", headers=headers, timeout=PATIENCE_SECONDS
    ) as client:
        await client.post("/projects", json={"name": "shop"})
        yield client


def environment_with_package(installed: Path) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def trimtab(
    server: str, *arguments: str, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    access = {"TRIMTAB_SERVER": server, "TRIMTAB_TOKEN": TOKEN}
    command = [str(Path(sys.executable).with_name("trimtab")), *arguments]
    return subprocess.run(
        command, env={**(variables or os.environ), **access}, capture_output=True, text=True
    )


async def put(admin: httpx.AsyncClient, document: Any, **scope: str) -> httpx.Response:
    return await admin.put("/records/cost_center", params=scope | FORCE, json=document)


async def test_its_records_are_written_read_folded_and_deleted(admin: httpx.AsyncClient) -> None:
    await put(admin, {"code": "ML-0001", "shares": {"vision": 10}}, domain="development")
    written = (await put(admin, {"shares": {"speech": 40}}, **SCOPE)).json()
    stored = (await admin.get("/records/cost_center", params=SCOPE)).json()
    assert (stored["document"], stored["version"]) == (written["document"], written["version"])
    effective = (await admin.get("/effective/cost_center", params=SCOPE)).json()
    assert effective["document"] == {"code": "ML-0001", "shares": {"vision": 10, "speech": 40}}
    for scope in (SCOPE, {"domain": "development"}):
        deleted = await admin.delete("/records/cost_center", params=scope | FORCE)
        assert deleted.status_code == 204


async def test_its_own_checks_apply_across_levels(admin: httpx.AsyncClient) -> None:
    invalid = await put(admin, {"code": "ml"}, **SCOPE)
    assert (invalid.status_code, invalid.json()["path"]) == (400, "code")
    too_narrow = await put(admin, DOCUMENT, **SCOPE, workflow="train", launch_plan="nightly")
    assert "a budget is for a whole workflow" in too_narrow.json()["allowed"]
    await put(admin, {"shares": {"vision": 60}}, domain="development")
    too_much = await put(admin, {"shares": {"speech": 41}}, **SCOPE)
    assert (too_much.status_code, too_much.json()["path"]) == (400, "shares.vision")
    await admin.delete("/records/cost_center", params={"domain": "development"} | FORCE)


async def test_the_api_lists_it_with_its_schema_and_its_form(admin: httpx.AsyncClient) -> None:
    listed = {kind["name"]: kind for kind in (await admin.get("/kinds")).json()}["cost_center"]
    assert (listed["noun"], listed["aliases"]) == ("cost-center", ["cost-centre"])
    assert "launch-plan" not in listed["levels"]
    assert listed["json_schema"]["properties"].keys() == {"unset", "code", "shares"}
    fields = {field["path"]: field for field in listed["form"]}
    assert (fields["code"]["input"], fields["shares"]["entry"]) == ("text", "number")
    assert fields["code"]["help"] == "The code of the budget, such as ``ML-0042``."


async def test_it_is_in_the_openapi_document(admin: httpx.AsyncClient) -> None:
    document = (await admin.get("/openapi.json")).json()
    assert "code" in document["components"]["schemas"]["cost_center"]["properties"]
    [kind] = [
        parameter["schema"]
        for parameter in document["paths"]["/api/v2/records/{kind}"]["put"]["parameters"]
        if parameter["name"] == "kind"
    ]
    assert "cost_center" in kind["enum"]


async def test_a_change_of_it_is_an_event(
    admin: httpx.AsyncClient, nats_server: NatsServer
) -> None:
    version = (await put(admin, DOCUMENT, **SCOPE)).json()["version"]
    subject = subjects.attributes("cost_center", SHOP)
    settings = ServiceConfig(nats_url=nats_server.url)
    async with connect(settings, "test") as client:
        event = await wait_for_event(client, subject, version)
    assert (event.kind, event.scope, event.document) == ("cost_center", SHOP, DOCUMENT)


async def wait_for_event(client: Client, subject: str, version: int) -> RecordChanged:
    """Wait for the event of a version, which is published after the response to its write."""
    while True:
        for stored in await bus.read_all(client, subjects.SETTINGS, subject):
            if stored.headers[REVISION] == str(version):
                return RecordChanged.model_validate_json(stored.body)
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("is_installed", [True, False], ids=["installed here", "server only"])
async def test_the_command_line_has_its_noun(
    admin: httpx.AsyncClient, server: str, installed: Path, tmp_path: Path, is_installed: bool
) -> None:
    variables = environment_with_package(installed) if is_installed else None
    file = tmp_path / "cost.yaml"
    file.write_text("project: shop\ndomain: development\ncode: ML-0007\nshares: {vision: 5}\n")
    scope = ("-p", "shop", "-d", "development")
    await admin.delete("/records/cost_center", params=SCOPE | FORCE)
    for arguments in (
        ("update", "cost-center", "--attrFile", str(file), "--force"),
        ("get", "cost-centre", *scope),
    ):
        done = trimtab(server, *arguments, variables=variables)
        assert done.returncode == 0, done.stderr
    expected = {
        "project": "shop",
        "domain": "development",
        "code": "ML-0007",
        "shares": {"vision": 5},
    }
    assert json.loads(done.stdout) == expected
    assert trimtab(server, "delete", "cost-center", *scope, variables=variables).returncode == 0
    assert trimtab(server, "get", "cost-center", *scope, variables=variables).returncode != 0


def test_the_reference_has_its_row_and_its_fields(installed: Path) -> None:
    command = [sys.executable, "-m", "trimtab.kinds"]
    environment = environment_with_package(installed)
    page = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert "| [cost_center](#cost_center) | – | `cost-center`, `cost-centre` |" in page
    assert "| `shares` | Percent by team;" in page
