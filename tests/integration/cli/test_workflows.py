"""register, execute and explain, with real workflows on a running system."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Trimtab
from tests.terminals import run_in_terminal
from trimtab.release import VERSION

MODULE = """
import os
from trimtab import LaunchPlan, Pool, runtime_override_config, task, workflow

@task(pool=Pool("press", quota=3))
def greet(name: str) -> str:
    if name == "no one":
        raise ValueError("there is no one to greet")
    return f"{os.environ.get('GREETING', 'Hello')}, {name}!"

@workflow
def hello(name: str = "world"):
    return greet(name=name).with_runtime_override("greeter")

LaunchPlan.get_or_create(
    workflow=hello,
    name="hello_moon",
    inputs={"name": "moon"},
    runtime_override={"greeter": runtime_override_config(cpu="300m")},
    max_parallelism=5,
    labels={"team": "a", "tier": "1"},
)
"""


GREETER = """
from trimtab import task, workflow

@task(environment={"API_KEY": "hunter2"})
def greet():
    pass

@workflow
def greeting():
    greet()
"""


@pytest.fixture
def scope(project: str) -> list[str]:
    """Return the flags for the project in development."""
    return ["-p", project, "-d", "development"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "hello.py"
    path.write_text(MODULE)
    return path


@pytest.fixture
def hello(trimtab: Trimtab, file: Path, scope: list[str]) -> list[str]:
    """Register the file, and return a command that executes its workflow."""
    assert trimtab("register", str(file), *scope).exit_code == 0
    return ["execute", "hello", *scope]


def test_a_file_is_registered_with_its_pools_and_plans(
    trimtab: Trimtab, file: Path, scope: list[str]
) -> None:
    done = trimtab("register", str(file), *scope, "--version", "v1")
    lines = done.stdout.splitlines()
    assert lines[-2:] == [
        "Registered workflow hello version v1",
        "Registered launch plan hello_moon",
    ]
    assert json.loads(trimtab("get", "pools", "press", "-o", "json").stdout)[0]["quota"] == 3
    listed = trimtab("get", "workflows", *scope).stdout
    fields = listed.splitlines()[1].split()
    assert fields[:5] == [scope[1], "development", "hello", "v1", "greeter"]
    assert fields[5:] == ["TRIMTAB_SDK", "Python", VERSION]


def test_the_same_file_can_be_registered_again(
    trimtab: Trimtab, file: Path, scope: list[str]
) -> None:
    for _ in range(2):
        assert trimtab("register", "files", str(file), *scope).exit_code == 0
        assert trimtab("register", *scope, str(file)).exit_code == 0


def test_a_version_cannot_be_registered_with_another_content(
    trimtab: Trimtab, file: Path, scope: list[str]
) -> None:
    assert trimtab("register", str(file), *scope, "--version", "v1").exit_code == 0
    file.write_text(MODULE.replace("Hello", "Good day"))
    done = trimtab("register", str(file), *scope, "--version", "v1")
    assert (done.exit_code, "'v1'" in done.stderr) == (4, True), done.stderr


def test_a_file_does_not_change_the_quota_of_a_pool(
    trimtab: Trimtab, hello: list[str], file: Path, scope: list[str]
) -> None:
    file.write_text(MODULE.replace("quota=3", "quota=5"))
    done = trimtab("register", str(file), *scope)
    assert done.exit_code == 4
    assert "pool press already has a quota of 3; the code sets 5" in done.stderr


def test_execute_prints_the_id_on_stdout_and_progress_on_stderr(
    trimtab: Trimtab, hello: list[str]
) -> None:
    done = trimtab(*hello, "--input", "name=moon", "--env", "GREETING=Good night")
    [execution] = done.stdout.splitlines()
    assert "n0 greet succeeded" in done.stderr
    assert f'execution {execution} succeeded: "Good night, moon!"' in done.stderr
    assert done.exit_code == 0


def test_a_terminal_prompts_for_inputs_that_no_launch_plan_sets(
    trimtab: Trimtab, data: Path, file: Path, scope: list[str]
) -> None:
    file.write_text(MODULE.replace('name: str = "world"', "name: str"))
    assert trimtab("register", str(file), *scope, "--version", "v1").exit_code == 0
    env = {"TRIMTAB_DATA": str(data), "TRIMTAB_CONFIG": os.devnull}
    command = ["execute", "hello", *scope, "--dry-run"]
    code, shown = run_in_terminal("Mars\n", *command, env=env)
    assert (code, "name (a string): " in shown, '{"name": "Mars"}' in shown) == (0, True, True)
    planned = [*command, "--launch-plan", "hello_moon", "--version", "v1"]
    code, shown = run_in_terminal("", *planned, env=env)
    assert (code, '{"name": "moon"}' in shown) == (0, True), shown
    assert "requires name" in trimtab(*command).stderr


def test_no_wait_returns_before_the_execution_starts(trimtab: Trimtab, hello: list[str]) -> None:
    done = trimtab(*hello, "--no-wait", "-o", "json")
    assert json.loads(done.stdout)["phase"] == "requested"


def test_the_exit_code_is_1_when_a_task_raises(trimtab: Trimtab, hello: list[str]) -> None:
    done = trimtab(*hello, "--input", "name=no one", "-o", "json")
    assert done.exit_code == 1
    assert "ValueError: there is no one to greet" in done.stderr.splitlines()[-1]
    assert json.loads(done.stdout)["phase"] == "failed"


def test_a_launch_plan_sets_inputs_and_overrides(trimtab: Trimtab, hello: list[str]) -> None:
    done = trimtab(*hello, "--launch-plan", "hello_moon")
    assert '"Hello, moon!"' in done.stderr
    explained = trimtab("explain", "execution", done.stdout.strip()).stdout
    row = next(line for line in explained.splitlines() if "resources.requests.cpu" in line)
    assert row.split()[1:4] == ["300m", "launch", "plan"]


def test_options_of_an_execution_take_precedence_over_its_launch_plan(
    trimtab: Trimtab, hello: list[str]
) -> None:
    options = ["--max-parallelism", "2", "--label", "team=b", "--no-overwrite-cache"]
    options += ["--cluster-label", "mycluster"]
    done = trimtab(*hello, "--launch-plan", "hello_moon", *options)
    execution = done.stdout.strip()
    explained = json.loads(trimtab("explain", "execution", execution, "-o", "json").stdout)
    values = {v["path"]: (v["value"], v["source"]) for v in explained["resolution"]["execution"]}
    assert values == {
        "labels.team": ("b", "execution"),
        "labels.tier": ("1", "launch plan"),
        "max_parallelism": (2, "execution"),
        "overwrite_cache": (False, "execution"),
    }
    of_node = {v["path"]: v for v in explained["resolution"]["nodes"]["n0"]}
    assert of_node["execution_cluster_label"]["source"] == "execution"


def test_explain_names_field_value_source_scope_and_revision(
    trimtab: Trimtab, hello: list[str], project: str, tmp_path: Path
) -> None:
    limits = tmp_path / "tra.yaml"
    limits.write_text(f"project: {project}\ndefaults: {{memory: 222Mi}}\n")
    update = ("update", "task-resource-attribute", "--attrFile", str(limits), "--force")
    assert trimtab(*update).exit_code == 0
    execution = trimtab(*hello).stdout.strip()
    explained = json.loads(trimtab("explain", "execution", execution, "-o", "json").stdout)
    [memory] = [
        value
        for value in explained["resolution"]["nodes"]["n0"]
        if value["path"] == "resources.requests.memory"
    ]
    assert memory["value"] == "222Mi"
    assert memory["source"] == "task_resource.defaults.memory"
    assert memory["scope"] == f"project {project}"
    assert memory["revision"] > 0


def test_an_override_above_the_limit_is_refused_with_field_and_limit(
    trimtab: Trimtab, hello: list[str]
) -> None:
    override = 'greeter={"resources": {"requests": {"cpu": "3"}}}'
    done = trimtab(*hello, "--override", override)
    assert (done.exit_code, done.stdout) == (2, "")
    error = done.stderr.splitlines()[-1]
    assert "overrides.greeter.resources.requests.cpu: '3' is not valid" in error
    assert "at most 2, the task_resource.limits.cpu of settings" in error


def test_the_examples_can_be_registered(trimtab: Trimtab, scope: list[str]) -> None:
    examples = Path(__file__).parents[3] / "examples"
    assert trimtab("register", str(examples / "nightly.py"), *scope).exit_code == 0
    done = trimtab("register", str(examples / "overrides_and_environments.py"), *scope)
    assert done.stdout.splitlines()[-1] == "Registered launch plan your_lp_name_5"
    assert "image 'busybox' has no tag" in done.stderr
    executed = trimtab("execute", "wf", *scope)
    assert "n5.n2 t2 succeeded" in executed.stderr, executed.stderr
    refused = trimtab("execute", "processing", *scope)
    assert refused.exit_code == 1
    assert "container" in refused.stderr


def test_the_command_works_without_an_activated_venv(data: Path, tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "TRIMTAB_DATA": str(data)}
    trimtab = Path(sys.executable).with_name("trimtab")
    done = subprocess.run(
        [str(trimtab), "get", "projects"], cwd=tmp_path, env=environment, capture_output=True
    )
    assert done.returncode == 0


def test_likely_credentials_are_sent_with_a_warning_that_does_not_repeat_them(
    trimtab: Trimtab, scope: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "greeting.py"
    file.write_text(GREETER)
    registered = trimtab("register", "files", str(file), *scope)
    variable = ("--env", "DB_PASSWORD=hunter2", "--env", "A=b")
    executed = trimtab("execute", "greeting", *scope, *variable)
    assert (registered.exit_code, executed.exit_code) == (0, 0)
    expected = "looks like a credential, which every viewer can read"
    assert (
        f"warning: greeting: tasks.greet.config.environment.API_KEY {expected}" in registered.stderr
    )
    assert f"warning: environment.DB_PASSWORD {expected}" in executed.stderr
    assert "hunter2" not in registered.output + executed.output
    assert executed.stderr.count("warning") == 1
