"""The fields of a kind, described for a form or a command line that lacks the kind. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from trimtab.kinds.kind import Kind

Input = Literal["text", "number", "switch", "choice", "list", "map", "object", "group"]


class Field(BaseModel):
    """The description of one field, group or map."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    path: str
    """The dotted path."""
    title: str
    help: str
    input: Input
    """The kind of input; a ``group`` holds other fields, a ``map`` has entries by key."""
    entry: Input | None = None
    """The kind of input of each item of a ``list`` or ``map``."""
    choices: tuple[str, ...] = ()
    """The allowed values of a ``choice``, or of each item."""
    minimum: float | None = None
    maximum: float | None = None
    levels: tuple[str, ...] = ()
    """Levels that the field may be set at; empty where they are those of the kind."""


def of_kind(kind: Kind) -> tuple[Field, ...]:
    """Return every field of the kind in the order of a form, each group before its fields."""
    schema = kind.value.model_json_schema()
    return tuple(_fields(kind, schema, schema.get("$defs", {}), ""))


def sample(kind: Kind) -> dict[str, Any]:
    """Return a document to begin with: the kind's own sample, or a value for each simple field."""
    if kind.sample:
        return dict(kind.sample)
    flat: dict[str, Any] = {}
    for entry in of_kind(kind):
        excluded = entry.path in kind.alternatives and kind.alternatives & flat.keys()
        if not entry.levels and not excluded and (value := _example(entry)) is not None:
            flat[f"{entry.path}.key" if entry.input == "map" else entry.path] = value
    return kind.schema.nest(flat)


def _example(field: Field) -> Any:
    """Return a value of the field, of an entry for a map; ``None`` where it has no simple one."""
    kind_of_input = field.entry if field.input in ("list", "map") else field.input
    examples = {
        "text": "value",
        "number": int(field.minimum or 1),
        "switch": True,
        "choice": field.choices[0] if field.choices else None,
    }
    value = examples.get(kind_of_input or "")
    return [value] if field.input == "list" and value is not None else value


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
            help=_one_line(described.get("description", "")),
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
    """Return the schema of the values of a field, without ``null`` and references."""
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
        # A map whose keys have a pattern describes its values under the pattern.
        inner = next(iter(shape.get("patternProperties", {}).values()), inner)
    return _shape(inner, definitions) if isinstance(inner, dict) else None


def _entry(shape: Mapping[str, Any], definitions: Mapping[str, Any]) -> Input | None:
    inner = _inner(shape, definitions)
    return None if inner is None else _input(inner)


def _choices(shape: Mapping[str, Any], definitions: Mapping[str, Any]) -> tuple[str, ...]:
    return _literals(shape) or _literals(_inner(shape, definitions) or {})


def _literals(shape: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(shape.get("enum", [shape["const"]] if "const" in shape else ()))


def _one_line(text: str) -> str:
    return " ".join(text.split())
