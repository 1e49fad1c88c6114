"""`trimtab mirror flyte` once, against a Flyte in memory; tests/flyte has it follow changes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from flyteidl.admin.matchable_resource_pb2 import MatchableAttributesConfiguration
from flyteidl.admin.project_pb2 import Project

from tests.fake_flyte import FakeFlyte, fake_flyte
from tests.integration.cli.conftest import Trimtab
from trimtab.errors import Code

TASK_RESOURCE = 0


@pytest.fixture
def flyte() -> Iterator[FakeFlyte]:
    with fake_flyte() as flyte:
        yield flyte


@pytest.fixture
def settings(trimtab: Trimtab, project: str, tmp_path: Path) -> str:
    """Give the project limits, and other ones in staging."""
    file = tmp_path / "limits.yaml"
    for domain, cpu in (("", "2"), ("staging", "4")):
        of_domain = f"domain: {domain}\n" if domain else ""
        file.write_text(f"project: {project}\n{of_domain}limits: {{cpu: '{cpu}'}}\n")
        done = trimtab("update", "task-resource-attribute", "--attrFile", str(file), "--force")
        assert done.exit_code == 0, done.output
    return project


def mirror(trimtab: Trimtab, flyte: FakeFlyte, *flags: str) -> Any:
    return trimtab("mirror", "flyte", "--endpoint", flyte.endpoint, "--insecure", *flags)


def limits(flyte: FakeFlyte, project: str) -> dict[str, str]:
    """Return the limits of CPUs in the rows of a project, by domain."""
    return {
        row.domain: row.attributes.task_resource_attributes.limits.cpu
        for row in flyte.rows.get(TASK_RESOURCE, ())
        if row.project == project
    }


def test_flyte_has_the_folded_rows_and_a_second_run_writes_nothing(
    trimtab: Trimtab, flyte: FakeFlyte, settings: str
) -> None:
    first = mirror(trimtab, flyte, "--once")
    assert first.exit_code == 0, first.output
    assert f"register project {settings}" in first.stdout
    assert limits(flyte, settings) == {"": "2", "staging": "4"}
    second = mirror(trimtab, flyte, "--once")
    assert (second.exit_code, second.stdout) == (0, "")


def test_a_dry_run_shows_the_operations_and_makes_none(
    trimtab: Trimtab, flyte: FakeFlyte, settings: str
) -> None:
    done = mirror(trimtab, flyte, "--dry-run")
    assert f"would update task_resource of project-domain {settings}/staging" in done.stdout
    assert (flyte.projects, flyte.rows) == ([], {})


def test_each_operation_is_a_line_of_json(
    trimtab: Trimtab, flyte: FakeFlyte, settings: str
) -> None:
    done = mirror(trimtab, flyte, "--once", "-o", "json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    [written] = [
        line
        for line in lines
        if line.get("scope") == f"project {settings}" and line["kind"] == "task_resource"
    ]
    assert written["action"] == "update"
    assert written["row"]["task_resource_attributes"]["limits"]["cpu"] == "2"
    assert lines[-1]["action"] == "in_step"


def test_rows_of_other_projects_stay_and_rows_that_trimtab_lacks_go(
    trimtab: Trimtab, flyte: FakeFlyte, settings: str
) -> None:
    flyte.projects = [Project(id=settings), Project(id="elsewhere")]
    stale = [(settings, "production", "price"), ("elsewhere", "staging", "")]
    flyte.rows[TASK_RESOURCE] = [row(*key, cpu="9") for key in stale]
    assert mirror(trimtab, flyte, "--once").exit_code == 0
    assert limits(flyte, settings) == {"": "2", "staging": "4"}
    assert limits(flyte, "elsewhere") == {"staging": "9"}


def test_a_refused_row_ends_the_command_with_an_error_after_the_others(
    trimtab: Trimtab, flyte: FakeFlyte, settings: str
) -> None:
    flyte.failures["UpdateProjectAttributes"] = [grpc.StatusCode.INVALID_ARGUMENT] * 1000
    done = mirror(trimtab, flyte, "--once")
    assert done.exit_code == 1
    assert f"update task_resource of project {settings}" in done.stderr
    assert limits(flyte, settings)["staging"] == "4"


def test_first_updates_that_race_are_repeated(
    trimtab: Trimtab, flyte: FakeFlyte, settings: str
) -> None:
    flyte.failures["UpdateProjectDomainAttributes"] = [grpc.StatusCode.ALREADY_EXISTS]
    done = mirror(trimtab, flyte, "--once")
    assert done.exit_code == 0, done.output
    assert limits(flyte, settings) == {"": "2", "staging": "4"}


def test_a_token_that_does_not_see_the_platform_is_refused(
    trimtab: Trimtab, flyte: FakeFlyte, settings: str
) -> None:
    created = trimtab("token", "create", f"of-{settings}", "--grant", f"viewer,project={settings}")
    token = created.stdout.strip().splitlines()[-1]
    done = mirror(trimtab, flyte, "--once", "--token", token)
    assert done.exit_code == Code.FORBIDDEN.exit_code
    assert "is not a viewer of the platform" in done.stderr
    assert flyte.rows == {}


def row(project: str, domain: str, workflow: str, cpu: str) -> MatchableAttributesConfiguration:
    made = MatchableAttributesConfiguration(project=project, domain=domain, workflow=workflow)
    made.attributes.task_resource_attributes.limits.cpu = cpu
    return made
