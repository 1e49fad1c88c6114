"""Every text of every request body is checked, unless it is data of a program."""

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest
from pydantic import BaseModel, JsonValue

from trimtab import texts
from trimtab.errors import Invalid
from trimtab_admin.api.access import AccessOperations
from trimtab_admin.api.entities import EntityOperations
from trimtab_admin.api.executions import ExecutionOperations
from trimtab_admin.api.maintenance import MaintenanceOperations
from trimtab_admin.api.namespaces import NamespaceOperations
from trimtab_admin.api.queues import QueueOperations
from trimtab_admin.api.settings import SettingsOperations

OPERATIONS = (
    AccessOperations, EntityOperations, ExecutionOperations, MaintenanceOperations,
    NamespaceOperations, QueueOperations, SettingsOperations,
)  # fmt: skip
BODIES = {
    hints[part]
    for operations in OPERATIONS
    for name, method in vars(operations).items()
    if callable(method) and not name.startswith("_")
    for hints in [get_type_hints(method)]
    for part in ("body", "headers")
    if isinstance(hints.get(part), type) and issubclass(hints[part], BaseModel)
}

GRAPHS = ("WorkflowBody.workflow", "WorkflowBody.workflow.workflows")
INTERFACES = ("WorkflowBody.workflow.tasks.interface", "WorkflowBody.workflow.references.interface")
OVERRIDES = (
    "ExecutionCreate.overrides",
    "LaunchPlanBody.launch_plan.runtime_override",
    "WorkflowBody.workflow.tasks.config",
    *(f"{graph}.nodes.{f}" for graph in GRAPHS for f in ("overrides", "hook.default", "hooks")),
)
DATA = {
    "ApplyBody.documents",  # checked as kinds and entities, one by one
    "ExecutionCreate.inputs",
    "LaunchPlanBody.launch_plan.inputs",
    "WorkflowBody.workflow.module",
    "WorkflowBody.workflow.sources",
    "WorkflowBody.workflow.tasks.target.config",
    *(f"{graph}.{field}" for graph in GRAPHS for field in ("inputs", "schemas", "output_schema")),
    *(f"{graph}.{field}" for graph in GRAPHS for field in ("nodes.inputs.value", "output.value")),
    *(f"{graph}.schemas.value.key" for graph in GRAPHS),
    *(f"{interface}.{field}" for interface in INTERFACES for field in ("inputs", "output")),
    *(f"{interface}.inputs.value.key" for interface in INTERFACES),
    *(f"{config}.{f}" for config in OVERRIDES for f in ("task_config", "pod_template.pod_spec")),
}
MULTILINE = {
    "ExecutionCreate.annotations",
    "ExecutionCreate.environment",
    "LaunchPlanBody.launch_plan.annotations",
    "LaunchPlanBody.launch_plan.environment",
    "ProjectBody.description",
    "ReasonHeader.reason",
    "WorkflowBody.workflow.plans.config.annotations",
    "WorkflowBody.workflow.plans.config.environment",
    "WorkflowBody.workflow.tasks.target.args",
    "WorkflowBody.workflow.tasks.target.command",
    "WriteHeaders.reason",
    *(f"{config}.{f}" for config in OVERRIDES for f in ("environment", "pod_template.annotations")),
}


def values(shape: Any, text: str) -> Iterator[tuple[str, Any]]:
    """Yield values of a type that have the text in one place, and the path of this place."""
    origin, arguments = get_origin(shape), get_args(shape)
    if shape is str or shape is JsonValue:
        yield "", text
    elif origin is Annotated:
        yield from values(arguments[0], text)
    elif origin in (Union, UnionType):
        for member in arguments:
            yield from values(member, text)
    elif origin is tuple:
        yield from ((path, (value,)) for path, value in values(arguments[0], text))
    elif origin is dict:
        yield ".key", {text: None}
        for path, value in values(arguments[1], text):
            yield ".value.key" if path == ".key" else path, {"a": value}
    elif isinstance(shape, type) and issubclass(shape, BaseModel):
        for name, info in shape.model_fields.items():
            for path, value in values(info.annotation, text):
                yield f".{name}{path}", shape.model_construct({name}, **{name: value})


def accepted(text: str) -> set[str]:
    """Return the places where the text is accepted."""
    found = set()
    for body in BODIES:
        for path, value in values(body, text):
            try:
                texts.check(value)
            except Invalid:
                continue
            found.add(body.__name__ + path)
    return {"ApplyBody.documents" if "documents" in place else place for place in found}


@pytest.mark.parametrize("character", ["\0", "\x1b", "\x7f", "\x85", "\ud800"])
def test_only_data_of_programs_may_hold_a_control_character(character: str) -> None:
    assert accepted(character) == DATA


def test_only_texts_of_several_lines_may_have_line_breaks() -> None:
    assert accepted("\n") - DATA == MULTILINE
