"""Documents that are validated in slices become what they become as a whole."""

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from trimtab import models
from trimtab.api.executions import WorkflowBody
from trimtab.workflows.graphs.graph import Graph, Hook, Node, Task, Workflow
from trimtab_admin import validation
from trimtab_admin.steps import at_once

NODES = tuple(Node(id=f"n{n}", task="a", inputs={}, hook=Hook(name=f"h{n}")) for n in range(1000))
WORKFLOW = Workflow(
    name="large",
    version="1",
    tasks={"a": Task(name="a")},
    workflows={"inner": Graph(nodes=NODES)},
    nodes=NODES,
)


def test_a_stored_workflow_is_read_as_a_whole_one_with_what_a_later_release_has_added() -> None:
    stored = json.loads(WORKFLOW.model_dump_json())
    for part in (stored, stored["nodes"][7], stored["tasks"]["a"], stored["workflows"]["inner"]):
        part["added"] = {"later": 1}
    read = at_once(validation.read(Workflow, stored))
    assert read == WORKFLOW == models.read(Workflow, json.dumps(stored))


def test_nodes_are_validated_in_slices() -> None:
    assert sum(1 for _ in validation.read(Workflow, WORKFLOW.model_dump(mode="json"))) >= 20


@pytest.mark.parametrize(
    "document", [None, [], {}, {"nodes": 1, "tasks": [], "workflows": {"": 1}}]
)
def test_what_has_another_shape_is_wrong_as_a_whole(document: Any) -> None:
    with pytest.raises(ValidationError):
        at_once(validation.read(Workflow, document))


def test_an_item_is_named_by_its_path() -> None:
    def validate(model: type[BaseModel], item: Any, path: validation.Path) -> BaseModel:
        paths.append(".".join(path))
        return model.model_validate(item)

    paths: list[str] = []
    body = {"project": "shop", "domain": "d", "workflow": WORKFLOW.model_dump(mode="json")}
    assert WorkflowBody.model_validate(at_once(validation.items(WorkflowBody, body, validate)))
    assert {"workflow.nodes.999", "workflow.workflows.inner.nodes.0", "workflow.tasks.a"} < {*paths}
