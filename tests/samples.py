"""Values of every field of a model, made from its JSON Schema."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

B = TypeVar("B", bound=BaseModel)
_DEPTH = 6


def sample(model: type[B], text: str) -> B:
    """Return an instance in which each free text is ``text``, and each list and map has one item.

    A text with a pattern is ``a`` instead. A field that refuses the text in another way is omitted.
    """
    schema = model.model_json_schema()
    content = _value(schema, schema.get("$defs", {}), text, _DEPTH)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        refused = {details["loc"][0] for details in error.errors()}
        return model.model_validate({name: content[name] for name in content.keys() - refused})


def _value(schema: Mapping[str, Any], models: Mapping[str, Any], text: str, depth: int) -> Any:
    match schema:
        case {"$ref": str(reference)}:
            return _value(models[reference.rpartition("/")[2]], models, text, depth)
        case {"anyOf": [first, *_]} | {"oneOf": [first, *_]} | {"allOf": [first]}:
            return _value(first, models, text, depth)
        case {"const": value} | {"enum": [value, *_]}:
            return value
        case {"format": "date-time"}:
            return "2026-01-01T00:00:00Z"
        case {"pattern": _}:
            return "a"
        case {"type": "string"}:
            return text
        case {"type": "integer" | "number"}:
            return schema.get("minimum", 1)
        case {"type": "boolean"}:
            return True
        case {"type": "null"}:
            return None
        case {"type": "array", "items": items}:
            return [_value(items, models, text, depth - 1)] if depth else []
        case {"type": "object", "properties": fields}:
            return {name: _value(field, models, text, depth - 1) for name, field in fields.items()}
        case {"type": "object", "additionalProperties": dict(item)}:
            return {text: _value(item, models, text, depth - 1)} if depth else {}
        case {"type": "object"}:
            return {text: text}
        case _:
            return text
