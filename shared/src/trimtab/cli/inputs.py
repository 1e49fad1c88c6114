"""Inputs of ``trimtab execute``: texts, read by the types that the workflow declares."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import JsonValue

from trimtab.client import Client
from trimtab.errors import Invalid
from trimtab.models import RepeatedKey, unique_members
from trimtab.workflows.files import File
from trimtab.workflows.graphs.graph import Workflow
from trimtab.workflows.values.checking import check
from trimtab.workflows.values.schemas import TYPES, Schema, described, leaves, members, types_of

_EXAMPLES: Mapping[str, str] = {
    "integer": "an integer, such as 3",
    "number": "a number, such as 0.5",
    "array": "a JSON list, such as [1, 2]",
    "object": """a JSON object, such as {"key": 1}""",
}
_ANY = """JSON, such as 3, true, "text" or {"key": 1}"""


class ChosenVersion(NamedTuple):
    """The workflow that an execution would run, and the inputs that its launch plan sets."""

    workflow: Workflow
    plan_inputs: Mapping[str, JsonValue]


async def choose_version(
    client: Client,
    *,
    project: str,
    domain: str,
    workflow: str,
    version: str | None,
    launch_plan: str | None,
    **_others: Any,
) -> ChosenVersion:
    """Return the version that an execution would run. Raises `trimtab.errors.NotFound`."""
    plan_inputs: Mapping[str, JsonValue] = {}
    if launch_plan is not None and launch_plan != workflow:
        plans = [body.launch_plan for body in await client.launch_plans.list(project, domain)]
        found = [p for p in plans if (p.name, p.workflow) == (launch_plan, workflow)]
        if version is not None:
            # The list has the newest version of each launch plan.
            form = await client.launch_plans.form(project, domain, launch_plan, version)
            plan_inputs = {i.name: i.default for i in form.inputs if i.source == "launch plan"}
        elif found:
            version, plan_inputs = found[0].version, found[0].inputs
    registered = await client.workflows.get(project, domain, workflow, version)
    return ChosenVersion(registered.workflow, plan_inputs)


def read(workflow: Workflow, texts: Mapping[str, str]) -> dict[str, JsonValue]:
    """Return the values of inputs by name. The text of a string is its value, without quotes.

    Raises `Invalid`.
    """
    for name, text in texts.items():
        workflow.check_input(name, text)
    return {
        name: read_value(f"input {name}", text, workflow.schema_of(name))
        for name, text in texts.items()
    }


def read_value(path: str, text: str, schema: Schema) -> JsonValue:
    """Return the value of a text by its declared type. Raises `Invalid`."""
    value = _parsed(path, text, schema)
    try:
        check(path, value, schema)
    except Invalid as error:
        if error.path != path:
            raise
        allowed = allowed_texts(schema) if error.allowed == described(schema) else error.allowed
        raise Invalid(path, text, allowed) from error
    return value


def allowed_texts(schema: Schema) -> str:
    """Return which texts stand for values of the type, in words, with an example where it helps."""
    found = (_leaf_texts(leaf) for leaf in leaves(schema) if leaf.get("type") != "null")
    return " or ".join(dict.fromkeys(found)) or described(schema)


def _leaf_texts(leaf: Schema) -> str:
    if members(leaf) is not None or "format" in leaf:
        return described(leaf)
    types = [each for each in types_of(leaf) if each != "null"]
    return " or ".join(_EXAMPLES.get(each, TYPES[each]) for each in types) or _ANY


def _parsed(path: str, text: str, schema: Schema) -> JsonValue:
    found = [leaf for leaf in leaves(schema) if leaf.get("type") != "null"]
    if any(text in (members(leaf) or ()) for leaf in found):
        return text
    if not all(map(_is_text, found)):
        return parse_json(path, text, allowed_texts(schema))
    is_reference = any(leaf.get("format") in ("file", "directory") for leaf in found)
    # A task on another machine, or in another directory, would look for a path elsewhere.
    return File(text).uri if is_reference and text else text


def _is_text(leaf: Schema) -> bool:
    if (values := members(leaf)) is not None:
        return all(isinstance(value, str) for value in values)
    return {*types_of(leaf)} - {"null"} == {"string"}


def parse_json(path: str, text: str, allowed: str = _ANY) -> JsonValue:
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
