"""Schemas of pydantic, reduced to the keywords that the checks of values know. Pure."""

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from trimtab.workflows.values.formats import FORMATS
from trimtab.workflows.values.schemas import DEFINITION, KEYWORDS


def reduced(schema: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return a schema that allows the same values, or more: what was left out, the task checks.

    Titles repeat the names of fields and classes, so they are left out too.
    """
    found = _reduced(schema)
    if definitions := schema.get("$defs"):
        found["$defs"] = {name: _reduced(inner) for name, inner in definitions.items()}
    return found


def _reduced(schema: Mapping[str, Any]) -> dict[str, JsonValue]:
    found = {
        keyword: _argument(keyword, argument)
        for keyword, argument in schema.items()
        if keyword in KEYWORDS and not _allows_all(keyword, argument)
    }
    return found


def _argument(keyword: str, argument: Any) -> Any:
    match keyword:
        case "anyOf" | "oneOf" | "allOf" | "prefixItems":
            return [_reduced(each) for each in argument]
        case "properties":
            return {name: _reduced(each) for name, each in argument.items()}
        case "items" | "propertyNames" | "additionalProperties" if isinstance(argument, dict):
            return _reduced(argument)
    return argument


def _allows_all(keyword: str, argument: Any) -> bool:
    match keyword:
        case "title" | "examples":
            return True
        case "format":
            return argument not in FORMATS
        case "items" | "propertyNames" | "additionalProperties":
            return argument is True or argument == {}
        case "discriminator":
            mapping = argument.get("mapping", {})
            return not all(str(target).startswith(DEFINITION) for target in mapping.values())
    return False
