"""A kind of somebody else's package has every surface, and Trimtab is not touched for it."""

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
from tests.servers import NatsServer
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
    """The directory that the package's wheel was unpacked into."""
    place = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(place)]
    subprocess.run(build, cwd=PACKAGE, check=True, capture_output=True)
    [wheel] = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    return place


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="module")
def server(
    installed: Path, nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """admin, with the package."""
    place = tmp_path_factory.mktemp("admin")
    with admin_process(place, nats_server.url, with_package(installed)) as url:
        yield url


@pytest.fixture
async def admin(server: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=f"{server}/api/v2", headers=headers) as client:
        await client.post("/projects", json={"name": "shop"})
        yield client


def with_package(installed: Path) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def trimtab(
    server: str, *arguments: str, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    own = {"TRIMTAB_SERVER": server, "TRIMTAB_TOKEN": TOKEN}
    command = [str(Path(sys.executable).with_name("trimtab")), *arguments]
    return subprocess.run(
        command, env={**(variables or os.environ), **own}, capture_output=True, text=True
    )


async def put(admin: httpx.AsyncClient, document: Any, **scope: str) -> httpx.Response:
    return await admin.put("/records/cost_center", params=scope | FORCE, json=document)


async def test_its_records_are_written_read_folded_and_removed(admin: httpx.AsyncClient) -> None:
    await put(admin, {"code": "ML-0001", "shares": {"vision": 10}}, domain="development")
    written = (await put(admin, {"shares": {"speech": 40}}, **SCOPE)).json()
    stored = (await admin.get("/records/cost_center", params=SCOPE)).json()
    assert (stored["document"], stored["version"]) == (written["document"], written["version"])
    effective = (await admin.get("/effective/cost_center", params=SCOPE)).json()
    assert effective["document"] == {"code": "ML-0001", "shares": {"vision": 10, "speech": 40}}
    for scope in (SCOPE, {"domain": "development"}):
        gone = await admin.delete("/records/cost_center", params=scope | FORCE)
        assert gone.status_code == 204


async def test_its_own_rules_hold_also_across_levels(admin: httpx.AsyncClient) -> None:
    wrong = await put(admin, {"code": "ml"}, **SCOPE)
    assert (wrong.status_code, wrong.json()["path"]) == (400, "code")
    deep = await put(admin, DOCUMENT, **SCOPE, workflow="train", launch_plan="nightly")
    assert "a budget is a workflow's" in deep.json()["allowed"]
    await put(admin, {"shares": {"vision": 60}}, domain="development")
    together = await put(admin, {"shares": {"speech": 41}}, **SCOPE)
    assert (together.status_code, together.json()["path"]) == (400, "shares.vision")
    await admin.delete("/records/cost_center", params={"domain": "development"} | FORCE)


async def test_it_is_listed_with_its_schema_and_its_form(admin: httpx.AsyncClient) -> None:
    listed = {kind["name"]: kind for kind in (await admin.get("/kinds")).json()}["cost_center"]
    assert (listed["noun"], listed["aliases"]) == ("cost-center", ["cost-centre"])
    assert "launch-plan" not in listed["levels"]
    assert listed["json_schema"]["properties"].keys() == {"unset", "code", "shares"}
    fields = {field["path"]: field for field in listed["form"]}
    assert (fields["code"]["input"], fields["shares"]["entry"]) == ("text", "number")
    assert fields["code"]["help"] == "Of the budget, such as ``ML-0042``."


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
        event = await event_of(client, subject, version)
    assert (event.kind, event.scope, event.document) == ("cost_center", SHOP, DOCUMENT)


async def event_of(client: Client, subject: str, version: int) -> RecordChanged:
    """The event of a version, which comes behind the answer of its write."""
    while True:
        for stored in await bus.read_all(client, subjects.SETTINGS, subject):
            if stored.headers[REVISION] == str(version):
                return RecordChanged.model_validate_json(stored.body)
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("here", [True, False], ids=["installed here", "known to the server"])
async def test_the_command_line_has_its_noun(
    admin: httpx.AsyncClient, server: str, installed: Path, tmp_path: Path, here: bool
) -> None:
    variables = with_package(installed) if here else None
    file = tmp_path / "cost.yaml"
    file.write_text("project: shop\ndomain: development\ncode: ML-0007\nshares: {vision: 5}\n")
    place = ("-p", "shop", "-d", "development")
    await admin.delete("/records/cost_center", params=SCOPE | FORCE)
    for arguments in (
        ("update", "cost-center", "--attrFile", str(file), "--force"),
        ("get", "cost-centre", *place),
    ):
        done = trimtab(server, *arguments, variables=variables)
        assert done.returncode == 0, done.stderr
    got = {"project": "shop", "domain": "development", "code": "ML-0007", "shares": {"vision": 5}}
    assert json.loads(done.stdout) == got
    assert trimtab(server, "delete", "cost-center", *place, variables=variables).returncode == 0
    assert trimtab(server, "get", "cost-center", *place, variables=variables).returncode != 0


def test_the_reference_has_its_row_and_its_fields(installed: Path) -> None:
    command = [sys.executable, "-m", "trimtab.kinds"]
    page = subprocess.run(
        command, env=with_package(installed), capture_output=True, text=True, check=True
    ).stdout
    assert "| [cost_center](#cost_center) | – | `cost-center`, `cost-centre` |" in page
    assert "| `shares` | Percent by team;" in page
