"""What a form or a command line needs to know of a kind's fields, without the kind itself. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from trimtab.kinds.kind import Kind

Input = Literal["text", "number", "switch", "choice", "list", "map", "object", "group"]


class Field(BaseModel):
    """One field, group or map, in the order in which a form shows them."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    path: str
    """Dotted."""
    title: str
    help: str
    input: Input
    """``group`` holds other fields and ``map`` has entries by key; all others are folded as one."""
    entry: Input | None = None
    """What each entry of a ``list`` or ``map`` is."""
    choices: tuple[str, ...] = ()
    """Of a ``choice``, or of each entry."""
    minimum: float | None = None
    maximum: float | None = None
    levels: tuple[str, ...] = ()
    """Where it may be set; empty where the kind may be."""


def of_kind(kind: Kind) -> tuple[Field, ...]:
    """Every field of the kind, a group before what it holds."""
    schema = kind.value.model_json_schema()
    return tuple(_fields(kind, schema, schema.get("$defs", {}), ""))


def _fields(
    kind: Kind, model: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str
) -> Iterator[Field]:
    for name, described in model["properties"].items():
        if not prefix and name == "unset":
            continue
        path, shape = prefix + name, _shape(described, definitions)
        is_group = path in kind.schema.groups
        yield Field(
            path=path,
            title=name.replace("_", " ").capitalize(),
            help=_line(described.get("description", "")),
            input="group" if is_group else _input(shape),
            entry=_entry(shape, definitions),
            choices=_choices(shape, definitions),
            minimum=shape.get("minimum"),
            maximum=shape.get("maximum"),
            levels=tuple(level.label for level in sorted(kind.field_levels.get(path, ()))),
        )
        if is_group:
            yield from _fields(kind, shape, definitions, path + ".")


def _shape(described: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a field holds, apart from ``null``."""
    for choice in described.get("anyOf", ()):
        if choice.get("type") != "null":
            return _shape(choice, definitions)
    reference = described.get("$ref", "").removeprefix("#/$defs/")
    return _shape(definitions[reference], definitions) if reference else described


def _input(shape: Mapping[str, Any]) -> Input:
    match shape.get("type"):
        case "string":
            return "choice" if _literals(shape) else "text"
        case "integer" | "number":
            return "number"
        case "boolean":
            return "switch"
        case "array":
            return "list"
        case "object" if "properties" not in shape:
            return "map"
        case _:
            return "object"


def _inner(shape: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any] | None:
    inner = shape.get("items")
    if inner is None and "properties" not in shape:
        inner = shape.get("additionalProperties")
        # With a rule for its keys, a map describes its entries by the rule.
        inner = next(iter(shape.get("patternProperties", {}).values()), inner)
    return _shape(inner, definitions) if isinstance(inner, dict) else None


def _entry(shape: Mapping[str, Any], definitions: Mapping[str, Any]) -> Input | None:
    inner = _inner(shape, definitions)
    return None if inner is None else _input(inner)


def _choices(shape: Mapping[str, Any], definitions: Mapping[str, Any]) -> tuple[str, ...]:
    return _literals(shape) or _literals(_inner(shape, definitions) or {})


def _literals(shape: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(shape.get("enum", [shape["const"]] if "const" in shape else ()))


def _line(text: str) -> str:
    return " ".join(text.split())
