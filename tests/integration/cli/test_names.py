"""Misspelt names: an error with the nearest ones, or a warning for what may be registered later."""

from pathlib import Path

import pytest

from tests.integration.cli.conftest import Trimtab

TASK = "task-resource-attribute"
JOB = """
from trimtab import task, workflow

@task
def work() -> int:
    return 1

@workflow
def nightly():
    return work()
"""


@pytest.fixture
def flags(trimtab: Trimtab, tmp_path: Path, project: str) -> list[str]:
    """Register the workflow nightly; return the flags of its project and domain."""
    file = tmp_path / "job.py"
    file.write_text(JOB)
    flags = ["-p", project, "-d", "development"]
    assert trimtab("register", str(file), *flags).exit_code == 0
    return flags


@pytest.mark.parametrize(
    "command",
    [
        "history",
        f"history {TASK}",
        "watch --since 0 --limit 1",
        f"get {TASK}",
        "get records",
        "get workflows",
        "get executions",
        "effective",
        f"explain {TASK}",
        f"delete {TASK}",
    ],
)
def test_an_unknown_project_or_domain_is_an_error_with_the_nearest_names(
    trimtab: Trimtab, project: str, command: str
) -> None:
    domain = trimtab(*command.split(), "-p", project, "-d", "prodution")
    hint = "did you mean 'production'; there are: development, production, staging"
    message = f"Error: domain 'prodution' does not exist; {hint}\n"
    assert (domain.exit_code, domain.stderr) == (3, message)
    nope = trimtab(*command.split(), "-p", f"{project}x", "-d", "staging")
    assert f"project '{project}x' does not exist; did you mean '{project}'" in nope.stderr
    assert (nope.exit_code, nope.stdout) == (3, "")


def test_an_unknown_kind_is_an_error_with_the_nearest_nouns(trimtab: Trimtab) -> None:
    done = trimtab("history", "task-resources")
    assert done.exit_code == 3
    assert f"did you mean '{TASK}'" in done.stderr


def test_reads_and_writes_of_an_unregistered_workflow_warn_once(
    trimtab: Trimtab, tmp_path: Path, flags: list[str], project: str
) -> None:
    warning = (
        f"warning: workflow 'nightli' is not registered in project-domain {project}/development; "
        "did you mean 'nightly'\n"
    )
    file = tmp_path / "limits.yaml"
    scope = f"project: {project}\ndomain: development\nworkflow: nightli\n"
    file.write_text(scope + "limits: {cpu: '1'}\n")
    update = trimtab("update", TASK, "--attrFile", str(file), "--force")
    assert (update.exit_code, update.stderr) == (0, warning)
    for command in (("effective",), ("explain", TASK), ("get", TASK), ("history", TASK)):
        done = trimtab(*command, *flags, "nightli")
        assert (done.exit_code, done.stderr) == (0, warning)
    done = trimtab("effective", *flags, "nightly")
    assert (done.exit_code, done.stderr) == (0, "")


def test_an_apply_for_an_unregistered_workflow_warns(
    trimtab: Trimtab, tmp_path: Path, flags: list[str], project: str
) -> None:
    file = tmp_path / "priority.yaml"
    file.write_text(
        f"kind: workflow-priority\nproject: {project}\ndomain: development\n"
        "workflow: nightli\npriority: 3\n"
    )
    done = trimtab("apply", "-f", str(file))
    assert done.exit_code == 0
    assert "workflow 'nightli' is not registered" in done.stderr
    assert "did you mean 'nightly'" in done.stderr


def test_the_list_of_an_unregistered_workflow_warns(trimtab: Trimtab, flags: list[str]) -> None:
    done = trimtab("get", "workflows", "nightli", *flags)
    assert done.exit_code == 0
    assert "warning: workflow 'nightli' does not exist; did you mean 'nightly'" in done.stderr


def test_a_deletion_of_nothing_warns_and_has_flytectls_output(
    trimtab: Trimtab, project: str
) -> None:
    done = trimtab("delete", TASK, "-p", project, "-d", "development")
    target = f"{project} project and domain development"
    assert done.stdout == f"Deleted matchable resources from {target}\n"
    scope = f"project-domain {project}/development"
    assert done.stderr == f"warning: no task_resource of {scope} was stored\n"


def test_a_deletion_of_an_unknown_pool_is_an_error_with_the_nearest(trimtab: Trimtab) -> None:
    assert trimtab("update", "pool", "warehouse", "--quota", "2").exit_code == 0
    done = trimtab("delete", "pool", "wharehouse")
    assert (done.exit_code, "did you mean 'warehouse'" in done.stderr) == (3, True)
    assert trimtab("delete", "pool", "warehouse").exit_code == 0
