"""Dry runs: they check a change as the change itself is checked, and make none."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Trimtab

TASK = "task-resource-attribute"
MODULE = """
from trimtab import LaunchPlan, Pool, task, workflow

@task(pool=Pool("{pool}", quota=2))
def price(n: int) -> int:
    return 3 * n

@workflow
def {name}(n: int = 1):
    return price(n=n)

LaunchPlan.get_or_create(workflow={name}, name="{name}_plan", inputs={{"n": 2}})
"""
NUMBERS = itertools.count(1)


@pytest.fixture
def scope(project: str) -> list[str]:
    """Return the flags for the project in development."""
    return ["-p", project, "-d", "development"]


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """Write a workflow, a launch plan of it, and a pool, whose names no other test has."""
    path, number = tmp_path / "module.py", next(NUMBERS)
    path.write_text(MODULE.format(pool=f"dry-{number}", name=f"pricing_{number}"))
    return path


def name_of(module: Path) -> str:
    return module.read_text().partition('name="')[2].partition("_plan")[0]


def state(trimtab: Trimtab) -> dict[str, Any]:
    """Return everything that a change could change."""
    lists = ("get workflows", "get executions", "token list", "dead list", "history", "audit")
    found = {words: json.loads(trimtab(*words.split(), "-o", "json").stdout) for words in lists}
    for token in found["token list"]:
        del token["last_used_at"]
    return {**found, "export": trimtab("export", "-").stdout}


@pytest.fixture
def prepared(trimtab: Trimtab, module: Path, project: str, scope: list[str], letter: int) -> None:
    """Register a project with settings, a workflow, a pool, a token and a dead letter."""
    file = module.with_name("tra.yaml")
    file.write_text(f"project: {project}\ndomain: development\nlimits: {{cpu: '1'}}\n")
    for command in (
        ("update", TASK, "--attrFile", str(file), "--force"),
        ("register", str(module), *scope),
        ("token", "create", f"{project}-ci", "--grant", "viewer"),
    ):
        done = trimtab(*command)
        assert done.exit_code == 0, done.output
    file.write_text(file.read_text().replace("'1'", "'2'"))
    file.with_name("apply.yaml").write_text(f"kind: {TASK}\n{file.read_text()}")


COMMANDS = {
    f"update {TASK} --attrFile {{dir}}/tra.yaml": "Skipping update request (dryRun)",
    f"delete {TASK} -p {{project}} -d development": "skipping DeleteProjectDomainAttributes",
    f"rollback {TASK} -p {{project}} -d development --to {{revision}}": "No changes detected",
    "apply -f {dir}/apply.yaml": "would be changed",
    "register project {project}-new": "+ project {project}-new",
    "create project --id {project}-new --name New": '    display_name: - → "New"',
    "register {dir}/module.py -p {project} -d development --version v2": "Would register workflow",
    "archive project {project}": '    state: "active" → "archived"',
    "unarchive project {project}": "nothing would change",
    "update project {project} --description text": '    description: "" → "text"',
    "update pool {pool} --quota 5": "    quota: 2 → 5",
    "update pool {pool}-new --quota 5": "+ pool {pool}-new",
    "delete pool {pool}": "- pool {pool}",
    "execute {name} -p {project} -d development --input n=7": 'with inputs {{"n": 7}}',
    "token create {project}-new --grant editor,project={project}": (
        "Would create token {project}-new: grants editor,project={project}, expires -"
    ),
    "token rotate {project}-ci": "Would rotate token {project}-ci",
    "token revoke {project}-ci": "Would revoke token {project}-ci",
    "dead replay {letter}": "Would replay {letter} on ",
    "resync": "Would publish ",
}


@pytest.mark.usefixtures("prepared")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_dry_run_shows_the_change_and_makes_none(
    trimtab: Trimtab, module: Path, project: str, letter: int, command: str
) -> None:
    flags = ("-p", project, "-d", "development", "-o", "json")
    changes = json.loads(trimtab("history", TASK, *flags).stdout)
    values = {
        **{"dir": module.parent, "project": project, "letter": letter, "name": name_of(module)},
        "pool": module.read_text().partition('Pool("')[2].partition('"')[0],
        "revision": changes[0]["revision"],
    }
    before = state(trimtab)
    done = trimtab(*command.format(**values).split(), "--dry-run")
    assert done.exit_code == 0, done.output
    assert COMMANDS[command].format(**values) in done.stdout
    assert state(trimtab) == before


def test_a_file_is_checked_although_what_it_registers_first_does_not_exist(
    trimtab: Trimtab, module: Path, scope: list[str]
) -> None:
    done = trimtab("register", str(module), *scope, "--dry-run")
    assert done.exit_code == 0, done.output
    assert [line.split()[:3] for line in done.stdout.splitlines()] == [
        ["Would", "register", "pool"],
        ["Would", "register", "workflow"],
        ["Would", "register", "launch"],
    ]
    unknown = trimtab("register", str(module), "-p", "unknown", "-d", "staging", "--dry-run")
    assert unknown.exit_code == 3


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("register project {project}", 4),
        ("register project Bad_Name", 2),
        ("archive project unknown", 3),
        ("execute {name} -p {project} -d development --input m=7", 2),
        ("execute unknown -p {project} -d development", 3),
        ("token create {project}-ci --grant viewer", 4),
        ("token create {project}-new --grant viewer,project=unknown", 3),
        ("token rotate unknown", 3),
        ("dead replay 999999999", 3),
        ("release token {pool} unknown/n0/0 --reason stuck", 3),
        ("update token {pool} unknown/n0/0 --priority 5", 3),
    ],
)
@pytest.mark.usefixtures("prepared")
def test_a_dry_run_fails_as_the_change_would(
    trimtab: Trimtab, module: Path, project: str, command: str, code: int
) -> None:
    pool = module.read_text().partition('Pool("')[2].partition('"')[0]
    words = command.format(project=project, name=name_of(module), pool=pool).split()
    assert trimtab(*words, "--dry-run").exit_code == trimtab(*words).exit_code == code


@pytest.mark.usefixtures("prepared")
@pytest.mark.parametrize(
    "command",
    [
        "archive project {project}",
        "register project {project}-new",
        "update pool {project} --quota 5",
        "token create {project}-new --grant viewer",
        "execute {name} -p {project} -d development",
        "resync",
    ],
)
def test_a_dry_run_needs_the_permission_of_the_change(
    trimtab: Trimtab, module: Path, project: str, command: str
) -> None:
    viewer = trimtab("token", "create", f"{project}-viewer", "--grant", "viewer").stdout.strip()
    words = command.format(project=project, name=name_of(module)).split()
    assert trimtab(*words, "--dry-run", env={"TRIMTAB_TOKEN": viewer}).exit_code == 6
