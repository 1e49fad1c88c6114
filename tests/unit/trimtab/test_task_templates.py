"""Templates in commands at registration: an unknown variable or input is named."""

from typing import Any

import pytest

from trimtab.errors import Invalid
from trimtab.testing import workflow
from trimtab.workflows.graphs.graph import Constant, Hook, Interface, Node, Task, Workflow
from trimtab.workflows.graphs.node_overrides import NodeOverrides
from trimtab.workflows.graphs.targets import Container, Function, TaskTarget

ROWS = Interface(inputs={"rows": {}}, required=("rows",))


def pod(text: str, name: str = "logger") -> NodeOverrides:
    containers = [{"name": name, "image": "busybox:1", "command": ["tail", text]}]
    return NodeOverrides.model_validate({"pod_template": {"pod_spec": {"containers": containers}}})


def checked(target: TaskTarget, config: NodeOverrides | None = None, **node: Any) -> Workflow:
    """Return a workflow with one task and one node, which passes rows, after its check."""
    task = Task(name="load", target=target, interface=ROWS, config=config or NodeOverrides())
    only = Node(id="n0", task="load", inputs={"rows": Constant(value=3)}, **node)
    graph = workflow().model_copy(
        update={"tasks": {"load": task}, "nodes": (only,), "output": None}
    )
    graph.check()
    return graph


def test_known_variables_and_inputs_are_accepted_in_any_case() -> None:
    texts = ("{{.inputs.rows}} {{ .OUTPUTPREFIX }}", "{{x}}", "{{$Namespace}}")
    assert checked(Container(command=texts, args=texts), pod("{{.input}}"))


@pytest.mark.parametrize(
    ("target", "fields", "path"),
    [
        (Container(command=("a", "{{.inputs.row}}")), {}, "tasks.load.target.command.1"),
        (Container(args=("{{.outputs}}",)), {}, "tasks.load.target.args.0"),
        (Function(), {"config": pod("{{.outputs}}")}, "tasks.load.config"),
        (Function(), {"overrides": pod("{{.inputs.row}}")}, "nodes.0.overrides"),
        (
            Function(),
            {"hook": Hook(name="load", default=pod("{{.inputs.row}}"))},
            "nodes.0.hook.default",
        ),
    ],
)
def test_an_unknown_name_is_refused_with_its_path(
    target: TaskTarget, fields: Any, path: str
) -> None:
    with pytest.raises(Invalid) as refused:
        checked(target, **fields)
    own = "" if isinstance(target, Container) else ".pod_template.pod_spec.containers.0.command.1"
    assert refused.value.path == path + own


def test_the_command_that_a_task_replaces_is_not_checked() -> None:
    assert checked(Function(), pod("{{.State.Running}}", name="primary"))
