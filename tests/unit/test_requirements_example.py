"""The code of the proposal for overrides, and of the guide to execution environments, runs."""

import subprocess
import sys
from pathlib import Path

import pytest

from trimtab import load_module, runtime_override_config
from trimtab.workflows.code.loader import Module
from trimtab.workflows.graphs import targets
from trimtab.workflows.graphs.expansion import expand
from trimtab.workflows.graphs.node_overrides import NodeOverrides

EXAMPLE = Path(__file__).parents[2] / "examples" / "overrides_and_environments.py"
OUTPUT = """\
CPU Request: 500m
Memory Limit: 1
Container Image: python:3.9-slim-buster
Container CPU Request: 250m
Container Environment: {'MY_ENV_VAR': 'some_value', 'DEBUG_MODE': 'true'}
Pod Labels: {'environment': 'production', 'app': 'my-ml-task'}
Pod Spec Node Selector: {'kubernetes.io/hostname': 'my-specific-node'}
"""


@pytest.fixture(scope="module")
def module() -> Module:
    return load_module(EXAMPLE)


def test_it_is_a_program_that_prints_what_it_defines() -> None:
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, check=True)
    assert done.stdout == OUTPUT
    line = EXAMPLE.read_text().splitlines().index("my_k8s_pod = K8sPod(") + 1
    assert f"{EXAMPLE}:{line}: ImageWarning: image 'busybox' has no tag" in done.stderr


def test_it_is_registered_with_a_warning_about_the_image_that_has_no_version(
    module: Module,
) -> None:
    assert [each.name for each in module.workflows] == ["sub_wf", "wf", "processing"]
    [warning] = module.warnings
    assert "'busybox' has no tag" in warning


def test_each_hook_has_the_default_that_the_workflow_gives_it(module: Module) -> None:
    wf = expand(module.workflows[1])
    hooks = {node.id: (node.hook.full_name, node.hook.default) for node in wf.nodes if node.hook}
    assert hooks == {
        "n1": ("task-yee", NodeOverrides()),
        "n2": ("task-ketan", NodeOverrides()),
        "n4": ("model_1_resources", runtime_override_config(cpu=1, mem="1Gi")),
        "n5.n0": ("n5/extractor", runtime_override_config(retries=3)),
        "n5.n1": ("n5/trainer", runtime_override_config(mem=("256Mi", "512Mi"))),
        "n5.n2": ("n5/evaluator", runtime_override_config(cache=False)),
    }


def test_the_launch_plan_has_false_zero_and_empty_text(module: Module) -> None:
    [plan] = module.launch_plans
    assert (plan.name, plan.workflow) == ("your_lp_name_5", "wf")
    assert {
        hook: given.model_dump(exclude_none=True, exclude={"resources"})
        for hook, given in plan.runtime_override.items()
    } == {
        "task-yee": {"cache": False, "retries": 0, "interruptible": False},
        "task-ketan": {
            "container_image": "ketan:v2",
            "environment": {"MODE": "fast"},
            "cache_version": "",
        },
    }


def test_the_task_of_a_container_has_its_values(module: Module) -> None:
    task = module.workflows[2].tasks["my_data_processing_task"]
    assert task.target == targets.Container(command=("python",), args=("{{.inputs.script_path}}",))
    assert task.config == runtime_override_config(
        container_image="my-custom-python-image:v1.0",
        cpu=("1", "2"),
        mem=("4Gi", "8Gi"),
        environment={"TASK_MODE": "production"},
    )
