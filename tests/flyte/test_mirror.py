"""The mirror follows changes while it, and the Flyte that it writes to, are killed at random.

A second admin is the Flyte. Unlike flyteadmin's its deletes are exact; the model of the unit tests
has those that cascade.
"""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from flyteidl.admin.matchable_resource_pb2 import MatchableAttributesConfiguration
from flyteidl.admin.project_pb2 import Project
from google.protobuf import json_format

from tests.fake_flyte import fake_flyte
from tests.flyte.admins import TOKEN, Admin
from tests.servers import PATIENCE_SECONDS
from trimtab.client import Client
from trimtab.flyte.client import FlyteAdmin
from trimtab.flyte.mirroring import mirrored_kinds
from trimtab.levels import Scope

WRITES = 24
KILLS = 2
SCOPES: list[Mapping[str, str]] = [
    {},
    {"domain": "production"},
    {"project": "shop"},
    {"project": "shop", "domain": "production"},
    {"project": "shop", "domain": "production", "workflow": "price"},
    {"project": "mall", "domain": "staging"},
]
DOCUMENTS: Mapping[str, list[dict[str, Any]]] = {
    "task_resource": [{"limits": {"cpu": "1"}}, {"limits": {"cpu": "2"}}, {"unset": ["limits"]}],
    "plugin_override": [
        {"overrides": {"spark": {"plugin_id": ["a"]}}},
        {"overrides": {"ray": {"plugin_id": ["b"]}}},
        {"unset": ["overrides"]},
    ],
    "workflow_execution_config": [
        {"labels": {"team": "a"}},
        {"max_parallelism": 3, "unset": ["labels"]},
    ],
}


class MirrorProcess:
    """`trimtab mirror flyte` from an admin to a Flyte."""

    def __init__(self, source: Admin, endpoint: str) -> None:
        self._environment = os.environ | {
            "TRIMTAB_SERVER": source.url,
            "TRIMTAB_TOKEN": TOKEN,
            "TRIMTAB_FLYTE_TOKEN": TOKEN,
        }
        self._flags = ["--endpoint", endpoint, "--insecure"]
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, *flags: str) -> list[str]:
        program = "from trimtab.cli.main import main; main()"
        return [sys.executable, "-c", program, "mirror", "flyte", *self._flags, *flags]

    def start(self) -> None:
        self._process = subprocess.Popen(
            self.command("--interval", "5"),
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        assert self._process is not None
        assert self._process.poll() is None, "the mirror ended by itself"
        self._process.kill()
        self._process.wait()

    def run(self, *flags: str) -> str:
        done = subprocess.run(
            self.command(*flags), env=self._environment, capture_output=True, check=True
        )
        return done.stdout.decode()


async def test_two_mirrors_converge_after_kills_of_both_sides(
    new_admin: Callable[..., Admin],
) -> None:
    source, flyte = new_admin(), new_admin()
    draw = random.Random(15)
    apply(source, [project("shop"), project("mall"), random_document(draw)])
    mirrors = [MirrorProcess(source, flyte.grpc) for _ in range(2)]
    for mirror in mirrors:
        mirror.start()
    try:
        kills = draw.sample(range(WRITES), KILLS)
        for number in range(WRITES):
            await asyncio.to_thread(apply, source, [random_document(draw)])
            if number in kills:
                mirrors[number % 2].kill()
                mirrors[number % 2].start()
                flyte.kill()
                await asyncio.to_thread(flyte.start)
        await until_equal(source, flyte)
    finally:
        for mirror in mirrors:
            mirror.kill()
    assert mirrors[0].run("--once") == ""


def test_rows_are_not_deleted_before_anything_was_imported(admin: Admin) -> None:
    apply(admin, [project("shop")])
    with fake_flyte() as flyte:
        flyte.projects = [Project(id="shop")]
        stored = MatchableAttributesConfiguration(project="shop")
        stored.attributes.task_resource_attributes.limits.cpu = "1"
        flyte.rows[0] = [stored]
        mirror = MirrorProcess(admin, flyte.endpoint)
        with pytest.raises(subprocess.CalledProcessError) as raised:
            mirror.run("--once")
        assert b"import them first" in raised.value.stderr
        assert flyte.rows[0] == [stored]
        assert "delete task_resource of project shop" in mirror.run("--once", "--allow-empty")


def project(name: str) -> dict[str, Any]:
    return {"kind": "project", "name": name, "document": {}}


def random_document(draw: random.Random) -> dict[str, Any]:
    kind = draw.choice(sorted(DOCUMENTS))
    return {"kind": kind, "document": draw.choice(DOCUMENTS[kind]), **draw.choice(SCOPES)}


def apply(admin: Admin, documents: list[dict[str, Any]]) -> None:
    with admin.client() as client:
        answered = client.post("/api/v2/apply", json={"documents": documents})
        assert answered.is_success, answered.text


async def until_equal(source: Admin, flyte: Admin) -> None:
    """Wait until the effective values of the one are those that the rows of the other give."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (expected := await effective(source)) != (got := await read_by_flyte(flyte)):
            await asyncio.sleep(PATIENCE_SECONDS / 300)
    assert expected == got


async def effective(admin: Admin) -> list[Any]:
    """Return the effective values of the project-domains and of the workflow."""
    async with Client(admin.url, TOKEN) as client:
        return [
            (await client.records.effective(kind, scope)).document
            for scope in targets()
            for kind in sorted(DOCUMENTS)
        ]


async def read_by_flyte(admin: Admin) -> list[Any]:
    """Return the values of the narrowest rows, as Flyte reads them."""
    rows: dict[tuple[str, str, str, str], dict[str, Any]] = {}

    async def token() -> str:
        return TOKEN

    async with FlyteAdmin(admin.grpc, insecure=True, token=token) as flyte:
        for kind in mirrored_kinds():
            for row in await flyte.list_attributes(kind):
                data = json_format.MessageToDict(row.message, preserving_proto_field_name=True)
                [fields] = data.values()
                rows[kind.name, row.project, row.domain, row.workflow] = document(fields)
    found = []
    for scope in targets():
        for kind in sorted(DOCUMENTS):
            full = (scope.project, scope.domain, scope.workflow)
            keys = [(kind, *full[:length], *[""] * (3 - length)) for length in (3, 2, 1)]
            found.append(next((rows[key] for key in keys if key in rows), {}))
    return found


def document(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a message in the form of a document."""
    found = dict(fields)
    if "overrides" in found:
        found["overrides"] = {each.pop("task_type"): each for each in found["overrides"]}
    if "labels" in found:
        found["labels"] = found["labels"]["values"]
    return found


def targets() -> list[Scope]:
    domains, projects = ("development", "production", "staging"), ("mall", "shop")
    pairs = [Scope(domain, project) for project in projects for domain in domains]
    return [*pairs, Scope("production", "shop", "price")]
