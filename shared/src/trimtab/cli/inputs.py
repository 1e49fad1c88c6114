"""Inputs of ``trimtab execute``: texts, read by the types that the workflow declares."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from trimtab.client import Client
from trimtab.errors import Invalid
from trimtab.models import RepeatedKey, unique_members
from trimtab.workflows.graph import InputType, Workflow

_EXAMPLES: Mapping[InputType | None, str] = {
    "integer": "an integer, such as 3",
    "number": "a number, such as 0.5",
    "boolean": "true or false",
    "array": "a JSON list, such as [1, 2]",
    "object": """a JSON object, such as {"key": 1}""",
    None: """JSON, such as 3, true, "text" or {"key": 1}""",
}
_PYTHON_TYPES: Mapping[InputType | None, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    None: (object,),
}


async def find_workflow(
    client: Client,
    *,
    project: str,
    domain: str,
    workflow: str,
    version: str | None,
    launch_plan: str | None,
    **_others: Any,
) -> Workflow:
    """Return the version that an execution would run. Raises `trimtab.errors.NotFound`."""
    if version is None and launch_plan not in (None, workflow):
        plans = await client.launch_plans.list(project, domain)
        found = (
            body.launch_plan.version
            for body in plans
            if (body.launch_plan.name, body.launch_plan.workflow) == (launch_plan, workflow)
        )
        version = next(found, None)
    return (await client.workflows.get(project, domain, workflow, version)).workflow


def read(workflow: Workflow, texts: Mapping[str, str]) -> dict[str, JsonValue]:
    """Return the values of inputs by name. The text of a string is its value, without quotes.

    Raises `Invalid`.
    """
    for name, text in texts.items():
        workflow.check_input(name, text)
    return {
        name: _value(name, text, workflow.input_types.get(name)) for name, text in texts.items()
    }


def _value(name: str, text: str, type_: InputType | None) -> JsonValue:
    if type_ == "string":
        return text
    allowed = _EXAMPLES[type_]
    value = parse_json(f"input {name}", text, allowed)
    is_boolean = isinstance(value, bool)
    fits = isinstance(value, _PYTHON_TYPES[type_]) and (
        not is_boolean or type_ in ("boolean", None)
    )
    # The declared type leaves open whether the input may be null.
    if value is not None and not fits:
        raise Invalid(f"input {name}", text, allowed)
    return value


def parse_json(path: str, text: str, allowed: str = _EXAMPLES[None]) -> JsonValue:
    """Raises `Invalid` with the path and what is allowed instead."""
    try:
        value: JsonValue = json.loads(text, object_pairs_hook=unique_members)
        # Python also reads NaN, and numbers that only infinity stands for.
        json.dumps(value, allow_nan=False)
    except RepeatedKey as error:
        raise Invalid(path, text, "each key once in an object") from error
    except (ValueError, RecursionError) as error:
        raise Invalid(path, text, allowed) from error
    return value
