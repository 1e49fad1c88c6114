"""Propeller relies on the id of each node of an expanded workflow, and on where its code is."""

import pytest

from trimtab.errors import Invalid
from trimtab.workflows.graphs.expansion import Referenced, ReferenceKey, expand
from trimtab.workflows.graphs.graph import Graph, Node, Reference, Task, Workflow
from trimtab.workflows.graphs.targets import IN_IMAGE, Function

TRAIN = {"train": Task(name="train")}


def call(id_: str = "n0", **callee: str) -> Node:
    return Node(id=id_, inputs={}, **callee)


def test_an_id_that_is_too_long_with_those_of_the_calls_around_it_is_refused() -> None:
    inner = Graph(nodes=(call(100 * "b", task="train"),))

    def outer(id_: str) -> Workflow:
        nodes = (call(id_, workflow="inner"),)
        return Workflow(name="w", version="1", tasks=TRAIN, workflows={"inner": inner}, nodes=nodes)

    [node] = expand(outer(99 * "a")).nodes
    assert Node.model_validate_json(node.model_dump_json()).id == f"{99 * 'a'}.{100 * 'b'}"
    with pytest.raises(Invalid, match="at most 200 characters"):
        expand(outer(100 * "a"))


def test_a_task_whose_code_is_in_its_image_does_not_get_the_code_of_the_caller() -> None:
    elsewhere = Workflow(name="other", version="1", tasks=TRAIN, nodes=(call(task="train"),))
    reference = Reference(
        type="task", project="shop", domain="development", name="train", version="1"
    )
    caller = Workflow(
        name="w",
        version="1",
        tasks={},
        references={"theirs": reference},
        nodes=(call(reference="theirs"),),
        module="text",
    )
    expanded = expand(caller, {ReferenceKey.of(reference): Referenced(elsewhere)})
    target = expanded.tasks["train"].target
    assert target == Function(code=IN_IMAGE, name="train")
