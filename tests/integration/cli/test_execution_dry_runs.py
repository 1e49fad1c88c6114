"""execute --dry-run, render task, and explain execution ID NODE, on a running system."""

import json
from pathlib import Path

import pytest
import yaml

from tests.integration.cli.conftest import Trimtab

MODULE = """
from trimtab import Resources, task, workflow

@task(resources=Resources(cpu="300m"), container_image="team/double:1")
def double(n: int) -> int:
    return 2 * n

@workflow
def doubled(n: int = 3):
    first = double(n=n).with_runtime_override("first")
    return double(n=first)
"""


@pytest.fixture
def doubled(trimtab: Trimtab, tmp_path: Path, project: str) -> list[str]:
    """Register the file, and return the workflow with the flags of its scope."""
    path = tmp_path / "doubled.py"
    path.write_text(MODULE)
    scope = ["-p", project, "-d", "development"]
    done = trimtab("register", str(path), *scope)
    assert done.exit_code == 0, done.stderr
    return ["doubled", *scope]


def test_a_dry_run_has_the_values_that_the_execution_then_runs_with(
    trimtab: Trimtab, doubled: list[str]
) -> None:
    flags = ["--env", "LOG=debug", "--override", 'first={"retries": 4}']
    planned = json.loads(trimtab("execute", *doubled, *flags, "--dry-run", "-o", "json").stdout)
    assert planned["id"] == ""
    execution = trimtab("execute", *doubled, *flags).stdout.strip()
    explained = json.loads(trimtab("explain", "execution", execution, "-o", "json").stdout)
    assert planned["resolution"] == explained["resolution"]
    listed = json.loads(trimtab("get", "executions", *doubled[1:], "-o", "json").stdout)
    assert [each["id"] for each in listed] == [execution]


def test_a_dry_run_shows_nodes_with_equal_values_once(trimtab: Trimtab, doubled: list[str]) -> None:
    shown = trimtab("execute", *doubled, "--dry-run").stdout
    assert "Would execute doubled version" in shown
    assert shown.splitlines().count("n0, n1") == 1
    shown = trimtab("execute", *doubled, "--dry-run", "--override", 'first={"retries": 4}').stdout
    assert {"n0", "n1"} <= set(shown.splitlines())


def test_a_dry_run_of_an_execution_that_would_be_refused_is_an_error(
    trimtab: Trimtab, doubled: list[str], tmp_path: Path
) -> None:
    limits = tmp_path / "tra.yaml"
    project = doubled[2]
    limits.write_text(f"project: {project}\ndomain: development\nlimits: {{cpu: 200m}}\n")
    flags = ["--attrFile", str(limits), "--force"]
    updated = trimtab("update", "task-resource-attribute", *flags)
    assert updated.exit_code == 0, updated.stderr
    done = trimtab("execute", *doubled, "--dry-run")
    assert done.exit_code == 1
    assert "resources.requests.cpu: 300m (task) is over 200m" in done.stderr


def test_one_node_of_an_execution_can_be_explained(trimtab: Trimtab, doubled: list[str]) -> None:
    execution = trimtab("execute", *doubled).stdout.strip()
    explain = ["explain", "execution", execution]
    explained = json.loads(trimtab(*explain, "n1", "-o", "json").stdout)
    assert list(explained["resolution"]["nodes"]) == ["n1"]
    assert "n1 double succeeded" in trimtab(*explain, "n1").stdout
    wrong = trimtab(*explain, "n7")
    assert wrong.exit_code == 3
    assert "node of the execution 'n7' does not exist" in wrong.stderr


def test_the_pod_of_a_node_is_rendered_without_an_execution(
    trimtab: Trimtab, doubled: list[str]
) -> None:
    flags = ["--env", "LOG=debug", "--label", "team=a"]
    done = trimtab("render", "task", *doubled[:1], "n1", *doubled[1:], *flags)
    assert done.exit_code == 0, done.stderr
    pod = yaml.safe_load(done.stdout)
    assert (pod["kind"], pod["metadata"]["labels"]["team"]) == ("Pod", "a")
    [container] = pod["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"] == "300m"
    assert {"name": "LOG", "value": "debug"} in container["env"]
    mounted = {"volumes": [{"name": "v", "hostPath": {"path": "/etc"}}]}
    override = f"first={json.dumps({'pod_template': {'pod_spec': mounted}})}"
    refused = trimtab("render", "task", *doubled[:1], "n0", *doubled[1:], "--override", override)
    assert (refused.exit_code, "/etc" in refused.stderr) == (2, True), refused.stderr
    wrong = trimtab("render", "task", *doubled[:1], "n7", *doubled[1:])
    assert wrong.exit_code == 3
    assert "node of workflow 'doubled' 'n7' does not exist" in wrong.stderr
