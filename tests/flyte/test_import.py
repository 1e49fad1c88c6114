"""`trimtab import` from one Trimtab, by its door for Flyte 1, into another; and the way back."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.flyte.admins import TOKEN, Admin
from trimtab import kinds
from trimtab.cli import documents, flyte_exports, flyte_imports, parts
from trimtab.cli.main import cli
from trimtab.flyte.client import FlyteAdmin

# A command imports them when it first needs them: a test would leave loggers of gRPC behind.
_LOADED = (flyte_exports, flyte_imports)

PROJECTS = ("shop", "attic")
KINDS = (
    "task_resource",
    "cluster_resource",
    "execution_queue",
    "execution_cluster_label",
    "plugin_override",
    "workflow_execution_config",
    "cluster_assignment",
)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    with Admin(tmp_path_factory.mktemp("target")) as target:
        yield target


def environment(admin: Admin) -> dict[str, str]:
    return {
        "TRIMTAB_CONFIG": os.devnull,
        "TRIMTAB_SERVER": admin.url,
        "TRIMTAB_TOKEN": TOKEN,
        "TRIMTAB_FLYTE_TOKEN": TOKEN,
    }


def run(admin: Admin, *arguments: str, stdin: str = "") -> Result:
    return CliRunner(env=environment(admin)).invoke(cli, arguments, input=stdin)


def flyte_options(source: Admin) -> tuple[str, ...]:
    return ("import", "flyte", "--endpoint", source.grpc, "--insecure")


def imported(source: Admin, target: Admin, *options: str) -> dict[str, Any]:
    """Import without a prompt, and return the report."""
    done = run(target, *flyte_options(source), "--force", "-o", "json", *options)
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def exported(admin: Admin) -> list[dict[str, Any]]:
    """Return the projects, domains and records of Flyte's kinds, without their versions."""
    with admin.client() as client:
        found = client.get("/api/v2/export").raise_for_status().json()["documents"]
    known = {*KINDS, "project", "domain"}
    return [{**body, "version": None} for body in found if body["kind"] in known]


def apply(admin: Admin, *bodies: dict[str, Any]) -> None:
    with admin.client() as client:
        client.post("/api/v2/apply", json={"documents": bodies}).raise_for_status()


def record(kind: str, document: dict[str, Any], **parts: str) -> dict[str, Any]:
    return {"kind": kind, "document": document, **parts}


def fill(source: Admin) -> None:
    shop, attic = {"project": "shop"}, {"project": "attic"}
    pay = {**shop, "domain": "production", "workflow": "pay.daily"}
    apply(
        source,
        {"kind": "project", "name": "shop", "document": {"labels": {"team": "a"}}},
        {"kind": "project", "name": "attic", "document": {"state": "archived"}},
        record("task_resource", {"limits": {"cpu": "4"}, "unset": ["limits.gpu"]}, **shop),
        record("task_resource", {"defaults": {"cpu": "1"}}, **pay),
        record("task_resource", {"defaults": {"cpu": "2"}}, **pay, launch_plan="fast"),
        record("execution_queue", {"tags": ["gpu"]}, domain="staging"),
        record("execution_queue", {"tags": ["batch", "gpu"]}, **attic),
        record("cluster_resource", {"attributes": {"quotaCpu": "4"}}, **shop, domain="staging"),
        record("execution_cluster_label", {"value": "gpu-pool"}, **shop),
        record("cluster_assignment", {"cluster_pool_name": "large"}, **shop),
        record(
            "plugin_override",
            {"overrides": {"spark": {"missing_plugin_behavior": "USE_DEFAULT"}}},
            **pay,
        ),
        record(
            "workflow_execution_config",
            {"max_parallelism": 4, "labels": {"team": "a"}, "envs": {"LOG": "debug"}},
            **shop,
        ),
    )


def test_an_import_makes_equal_documents_and_its_repetition_changes_nothing(
    admin: Admin, target: Admin
) -> None:
    fill(admin)
    first = imported(admin, target)
    assert first["refused"] == []
    assert exported(target) == exported(admin)
    second = imported(admin, target)
    assert second["applied"] is False
    assert {each["action"] for each in second["documents"]} == {"none"}


def test_a_row_that_trimtab_refuses_is_reported_and_the_others_are_stored(
    new_admin: Any, target: Admin
) -> None:
    source = new_admin()
    project = {"kind": "project", "name": "mall", "document": {}}
    apply(source, project, record("execution_queue", {"tags": ["a"]}, project="mall"))
    # A record of the target with which admin refuses a row of the source.
    apply(target, project, record("task_resource", {"ceiling": {"memory": "1Gi"}}))
    apply(source, record("task_resource", {"limits": {"memory": "2Gi"}}, project="mall"))
    report = imported(source, target)
    [refused] = report["refused"]
    assert refused["what"] == 'task_resource of project "mall"'
    assert "ceiling.memory, which is 1Gi" in refused["reason"]
    assert record("execution_queue", {"tags": ["a"]}, project="mall").items() <= next(
        body.items() for body in exported(target) if body.get("project") == "mall"
    )


def test_an_import_without_a_token_is_refused(admin: Admin, target: Admin) -> None:
    environment_of = environment(target) | {"TRIMTAB_FLYTE_TOKEN": ""}
    done = CliRunner(env=environment_of).invoke(cli, flyte_options(admin))
    assert done.exit_code == 6
    assert "refuses GetDomains" in done.stderr


def test_an_import_that_ends_after_a_part_can_be_repeated(
    new_admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = new_admin(), new_admin()
    names = [f"p-{number}" for number in range(20)]
    apply(source, *({"kind": "project", "name": name, "document": {}} for name in names))
    apply(source, *(record("execution_queue", {"tags": ["a"]}, project=name) for name in names))
    with monkeypatch.context() as patch:
        patch.setattr(parts, "PART_DOCUMENTS", 15)
        patch.setattr(documents, "progress", sys.exit)
        ended = run(target, *flyte_options(source), "--force")
    assert ended.exit_code != 0
    assert 0 < len(exported(target)) < len(exported(source))
    imported(source, target)
    assert exported(target) == exported(source)


def test_settings_of_flyte_2_are_imported_over_its_own_door(new_admin: Any) -> None:
    source, target = new_admin(), new_admin()
    documents = [
        record("task_resource", {"limits": {"cpu": "4"}, "over_limit": "clamp"}),
        record(
            "workflow_execution_config", {"labels": {"a": "b"}}, project="shop", domain="staging"
        ),
    ]
    apply(source, {"kind": "project", "name": "shop", "document": {}}, *documents)
    flags = ("import", "flyte2", "--endpoint", source.url, "--force", "-o", "json")
    selected = ("--only-project", "shop", "--only-domain", "staging")
    done = run(target, *flags, *selected)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["refused"] == []
    assert exported(target) == exported(source)
    again = json.loads(run(target, *flags, *selected).stdout)
    assert {each["action"] for each in again["documents"]} == {"none"}


async def rows_of(admin: Admin) -> list[str]:
    """Return the rows of projects, project-domains and workflows that Flyte's door lists."""

    async def token() -> str:
        return TOKEN

    async with FlyteAdmin(admin.grpc, insecure=True, token=token) as flyte:
        found = [row for name in KINDS for row in await flyte.list_attributes(kinds.by_name(name))]
    return sorted(f"{row} {row.message}" for row in found if row.project and not row.launch_plan)


def test_files_of_an_export_make_the_same_rows(
    admin: Admin, new_admin: Any, tmp_path: Path
) -> None:
    fill(admin)
    target = new_admin()
    apply(target, *({"kind": "project", "name": name, "document": {}} for name in PROJECTS))
    done = run(admin, "export", "--flyte", str(tmp_path))
    assert done.exit_code == 0, done.output
    for file in tmp_path.rglob("*.yaml"):
        updated = run(target, "update", file.stem, "--attrFile", str(file), "--force")
        assert updated.exit_code == 0, updated.output
    expected = asyncio.run(rows_of(admin))
    without_command = [row for row in expected if row.startswith("cluster_assignment")]
    assert [row for row in expected if row not in without_command] == asyncio.run(rows_of(target))
    assert len(without_command) == 1
