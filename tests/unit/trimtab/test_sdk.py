"""The SDK: tasks, graphs, hooks, launch plans, modules, and the program of one attempt."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trimtab import (
    BadModule,
    LaunchPlan,
    Pool,
    Resources,
    load_module,
    runtime_override_config,
    task,
    workflow,
)
from trimtab.errors import Invalid, Rejected
from trimtab.workflows.graphs.graph import Constant, FromInput, FromNode
from trimtab.workflows.graphs.images import ImageWarning
from trimtab.workflows.graphs.node_overrides import NodeOverrides

EXAMPLE = Path(__file__).parents[3] / "examples" / "nightly.py"


@task
def double(x: int) -> int:
    return 2 * x


@task(resources=Resources(cpu=1, mem=("64Mi", "128Mi")), retries=2, environment={"A": "1"})
def add(x: int, y: int = 1) -> int:
    return x + y


def write_module(directory: Path, source: str) -> Path:
    path = directory / "module.py"
    path.write_text(source)
    return path


def nodes(body: Any) -> Any:
    return workflow(body).graph("v", "").nodes


def test_a_task_outside_a_workflow_is_the_function() -> None:
    assert add(1, y=2) == 3


def test_one_resource_value_is_the_request_and_a_pair_is_request_and_limit() -> None:
    resources = add.graph.config.resources
    assert resources is not None
    assert resources.requests.model_dump(exclude_none=True) == {"cpu": "1", "memory": "64Mi"}
    assert resources.limits.model_dump(exclude_none=True) == {"memory": "128Mi"}


@pytest.mark.parametrize("wrong", ["1 Gi", -1, True, ("1", "2", "3"), [1]])
def test_a_wrong_quantity_is_refused_where_the_user_wrote_it(wrong: Any) -> None:
    with pytest.raises(Invalid):
        Resources(cpu=wrong)


def test_an_amount_of_gpus_is_a_whole_number() -> None:
    with pytest.raises(Invalid, match="whole number"):
        Resources(gpu=0.5)


def test_zero_and_false_are_values_and_absent_fields_are_not() -> None:
    config = runtime_override_config(retries=0, interruptible=False)
    assert config.model_dump(exclude_none=True) == {"retries": 0, "interruptible": False}


def test_calls_become_nodes_and_promises_become_bindings() -> None:
    def chained(start: int) -> Any:
        return add(x=double(x=start), y=3)

    first, second = nodes(chained)
    assert first.inputs == {"x": FromInput(name="start")}
    assert second.inputs == {"x": FromNode(node="n0"), "y": Constant(value=3)}


def test_inputs_without_a_default_are_required() -> None:
    @workflow
    def needs(a: int, b: int = 2) -> Any:
        return add(x=a, y=b)

    registered = needs.graph("v", "")
    assert (registered.required, registered.inputs) == (("a",), {"a": None, "b": 2})


def test_calling_a_workflow_runs_its_graph() -> None:
    @workflow
    def chained(start: int = 1) -> Any:
        return add(x=double(x=start), y=3).with_runtime_override("adder")

    assert (chained(), chained(start=4)) == (5, 11)


def test_chained_overrides_are_merged_by_field_and_key() -> None:
    def body() -> None:
        double(x=1).with_overrides(
            resources=Resources(cpu=1), environment={"A": "1", "B": "1"}
        ).with_overrides(resources=Resources(mem="1Gi"), environment={"B": "2"}, retries=0)

    [node] = nodes(body)
    assert node.overrides == runtime_override_config(
        cpu=1, mem="1Gi", environment={"A": "1", "B": "2"}, retries=0
    )


def test_a_hook_has_its_default() -> None:
    def body() -> None:
        double(x=1).with_runtime_override("trainer", runtime_override_config(cpu=2))

    [node] = nodes(body)
    assert (node.hook.name, node.hook.default) == ("trainer", runtime_override_config(cpu=2))


def test_two_hooks_of_the_same_name_are_refused() -> None:
    def body() -> None:
        double(x=1).with_runtime_override("same")
        double(x=2).with_runtime_override("same")

    with pytest.raises(Rejected, match="'same'"):
        nodes(body)


def test_a_second_hook_on_a_node_is_refused() -> None:
    def body() -> None:
        double(x=1).with_runtime_override("one").with_runtime_override("two")

    with pytest.raises(Invalid, match="it has 'one'"):
        nodes(body)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: double(3), "keyword arguments"),
        (lambda: double(y=3), "double called in"),  # type: ignore[call-arg]
        (lambda: double(x={1, 2}), "double: x"),  # type: ignore[arg-type]
        (lambda: double(x=[double(x=1)]), "double: x"),  # type: ignore[arg-type]
        (lambda: double(x=1) or 1, "a promise has no value"),
        (lambda: double(x=1)[0], "a promise has no value"),
        (lambda: None, "calls no task"),
    ],
)
def test_a_body_that_cannot_be_a_graph_is_refused_with_a_reason(call: Any, message: str) -> None:
    call.__name__ = "body"
    with pytest.raises(Rejected, match=message):
        workflow(call).graph("v", "")


def test_a_launch_plan_is_created_once_and_never_changed() -> None:
    @workflow
    def planned(x: int) -> Any:
        return double(x=x)

    def plan(x: int) -> LaunchPlan:
        return LaunchPlan.get_or_create(workflow=planned, name="plan", inputs={"x": x})

    assert plan(1) is plan(1)
    with pytest.raises(Invalid, match="'plan'"):
        plan(2)


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"runtime_override": {"typo": NodeOverrides()}}, "'typo'"),
        ({"inputs": {"typo": 1}}, "inputs.typo: 1"),
        ({"inputs": {"x": "one"}}, "inputs.x: 'one' is not valid; allowed: an integer"),
        ({"max_parallelism": 0}, "max_parallelism: 0"),
        ({"labels": {"team": "no value"}}, "labels.team: 'no value'"),
    ],
)
def test_a_wrong_launch_plan_is_refused_with_the_field(values: Any, wrong: str) -> None:
    @workflow
    def planned(x: int) -> Any:
        return double(x=x).with_runtime_override("trainer")

    with pytest.raises(Invalid, match=wrong):
        LaunchPlan.get_or_create(workflow=planned, name="plan", **values)


def test_the_example_defines_a_workflow_a_hook_a_pool_and_a_launch_plan() -> None:
    module = load_module(EXAMPLE)
    nightly, weekly = module.workflows
    assert list(nightly.hooks) == ["trainer"]
    assert list(weekly.workflows) == ["nightly"]
    assert module.pools == (Pool("warehouse", quota=2),)
    assert [plan.name for plan in module.launch_plans] == ["nightly_large"]
    assert (len(nightly.version), nightly.module) == (12, EXAMPLE.read_text())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = (\n", "line 1: is not Python"),
        ("\n1 / 0\n", "line 2: ZeroDivisionError"),
        ("import sys\nsys.exit(3)\n", "line 2: SystemExit"),
        ("x = 1\n", "defines no workflow"),
        (
            "from trimtab import *\n@workflow\ndef w():\n    def a(): ...\n    task(a)()\n",
            "'a'.*top level",
        ),
        (
            "from trimtab import *\n@task(pool=Pool('p', quota=1))\ndef a(): ...\n"
            "@task(pool=Pool('p', quota=2))\ndef b(): ...\n@workflow\ndef w():\n    a(); b()\n",
            "pool p: quota",
        ),
    ],
)
def test_a_bad_file_is_refused_with_the_line(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(BadModule, match=message):
        load_module(write_module(tmp_path, source))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadModule, match=r"gone\.py: cannot be read: No such file"):
        load_module(tmp_path / "gone.py")


def test_the_same_text_has_the_same_version(tmp_path: Path) -> None:
    copy = write_module(tmp_path, EXAMPLE.read_text())
    assert load_module(copy).workflows == load_module(EXAMPLE).workflows


MODULE = """
from trimtab import task
@task
def double(x): return 2 * x
@task
def fails(): raise ValueError("no rows")
@task
def odd(): return {1, 2}
@task
def large(): return "x" * 300_000
@task
def leaves(): raise SystemExit(0)
"""


def run_task(
    directory: Path, name: str, module: str = MODULE, /, **inputs: Any
) -> "subprocess.CompletedProcess[str]":
    write_module(directory, module)
    (directory / "task.json").write_text(json.dumps({"task": name, "inputs": inputs}))
    command = [sys.executable, "-m", "trimtab.workflows.entrypoint", str(directory)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_attempt_does_not_repeat_the_warnings_of_the_registration(tmp_path: Path) -> None:
    module = MODULE.replace("@task", '@task(container_image="double:latest")', 1)
    with pytest.warns(ImageWarning):
        exec(module, {})
    done = run_task(tmp_path, "double", module, x=21)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "result"), [("double", b'o{"output":42}\0'), ("fails", b"eTypeError: ")]
)
def test_the_program_of_an_attempt_hands_its_result_over_through_a_pipe(
    tmp_path: Path, name: str, result: bytes
) -> None:
    write_module(tmp_path, MODULE)
    (tmp_path / "task.json").write_text(json.dumps({"task": name, "inputs": {"x": 21}}))
    ours, theirs = os.pipe()
    command = [sys.executable, "-m", "trimtab.workflows.entrypoint", str(tmp_path), str(theirs)]
    subprocess.run(command, pass_fds=[theirs], stderr=subprocess.DEVNULL, check=False)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        found = pipe.read()
    assert found.startswith(result)
    assert found.endswith(b"\0")
    assert not (tmp_path / "output.json").exists()


TYPED = """
from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from trimtab import task

@dataclass
class Day:
    date: date
    later: list[Day]

@task
def next_day(day: Day, step: timedelta = timedelta(days=1)) -> Day:
    return Day(day.date + step, [day])
"""


def test_the_program_of_an_attempt_converts_values_by_the_types_of_the_task(tmp_path: Path) -> None:
    day = {"date": "2030-01-31", "later": []}
    assert run_task(tmp_path, "next_day", TYPED, day=day).returncode == 0
    output = json.loads((tmp_path / "output.json").read_text())["output"]
    assert output == {"date": "2030-02-01", "later": [day]}
    assert run_task(tmp_path, "next_day", TYPED, day={**day, "later": [1]}).returncode == 1
    assert "next_day: day.later.0: 1 is not valid" in (tmp_path / "error.txt").read_text()


def test_the_program_of_an_attempt_writes_the_output_of_the_task(tmp_path: Path) -> None:
    assert run_task(tmp_path, "double", x=21).returncode == 0
    assert json.loads((tmp_path / "output.json").read_text()) == {"output": 42}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fails", "ValueError: no rows (module.py, line 6)"),
        ("odd", "odd: return: {1, 2} is not valid"),
        ("large", "at most 262144 bytes"),
        ("leaves", "SystemExit: 0"),
        ("typo", "defines no task 'typo'"),
    ],
)
def test_the_program_of_an_attempt_writes_a_readable_reason_for_a_failure(
    tmp_path: Path, name: str, message: str
) -> None:
    assert run_task(tmp_path, name).returncode == 1
    assert message in (tmp_path / "error.txt").read_text()
    assert not (tmp_path / "output.json").exists()
