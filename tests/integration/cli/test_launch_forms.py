"""trimtab form, with a real workflow on a running system."""

import json
from pathlib import Path

from tests.integration.cli.conftest import Trimtab

MODULE = """
from trimtab import LaunchPlan, Resources, runtime_override_config, task, workflow

@task(resources=Resources(cpu="300m"), environment={"LOG": "info"})
def greet(name: str) -> str:
    return name

@workflow
def hello(name: str, count: int = 3):
    return greet(name=name).with_runtime_override("greeter", runtime_override_config(retries=2))

LaunchPlan.get_or_create(workflow=hello, name="hello_moon", inputs={"name": "moon"})
"""


def rows(text: str) -> dict[str, list[str]]:
    """Return the words of each line by its first word."""
    return {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}


def test_form_shows_inputs_and_what_each_hook_can_override(
    trimtab: Trimtab, project: str, tmp_path: Path
) -> None:
    file, scope = tmp_path / "hello.py", ["-p", project, "-d", "development"]
    file.write_text(MODULE)
    assert trimtab("register", str(file), *scope).exit_code == 0
    done = trimtab("form", "hello", *scope)
    assert done.exit_code == 0, done.stderr
    shown = rows(done.stdout)
    assert shown["name"][-1] == "required"
    assert shown["count"][-2:] == ["3", "workflow"]
    assert shown["hook"] == ["hook", "greeter:", "task", "greet", "of", "type", "python"]
    assert shown["retries"][4:] == ["100", "2", "hook", "default", "-", "-"]
    assert "300m" in shown["resources.requests.cpu"]
    assert "task_resource.limits.cpu" in shown["resources.requests.cpu"]
    assert shown["max_parallelism"][1:] == ["integer", "1", "to", "2147483647", "-", "-", "-"]
    assert shown["environment.LOG"][2:4] == ["info", "task"]
    planned = json.loads(
        trimtab("form", "hello", *scope, "--launch-plan", "hello_moon", "-o", "json").stdout
    )
    assert planned["inputs"][0]["source"] == "launch plan"
    wrong = trimtab("form", "hello", *scope, "--launch-plan", "hello_mon")
    assert (wrong.exit_code, "hello_moon" in wrong.stderr) == (3, True), wrong.stderr
