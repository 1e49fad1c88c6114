"""The JSON Schemas that declare types of inputs and outputs: keywords, words, comparison. Pure.

`ANNOTATIONS` and the keywords of `_ARGUMENTS` are the subset of JSON Schema 2020-12 that a schema
may have; ``$defs`` stands at its top only. There is no ``pattern``, because a search with the
expression of a stranger may take any time.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from trimtab import names
from trimtab.errors import Invalid
from trimtab.workflows.values.formats import FORMATS

Schema = Mapping[str, Any]

MAX_SCHEMA_BYTES = 100_000
"""The most bytes of one schema, in JSON."""
MAX_SCHEMA_DEPTH = 40
"""The most schemas inside each other."""
_MAX_VISITS = 200
"""The most schemas of unions inside each other that a description mentions."""
_MAX_CHAIN = 10
"""The most references that lead to each other."""
MAX_WORDS = 20
"""The most values and types that one message lists."""

TYPES: Mapping[str, str] = {
    "null": "null",
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
    "string": "a string",
    "array": "a list",
    "object": "an object",
}
"""Describes the values of each type."""

ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated"})
"""Keywords that allow every value."""
DEFINITION = "#/$defs/"
"""Begins each reference to a schema of ``$defs``."""


def resolved(schema: Schema, root: Schema) -> Schema:
    """Return the schema that a ``$ref`` leads to; without keywords where nothing has its name."""
    for _ in range(_MAX_CHAIN + 1):
        reference = schema.get("$ref")
        if reference is None:
            return schema
        schema = root.get("$defs", {}).get(str(reference).removeprefix(DEFINITION), {})
    return {}


def described(schema: Schema, root: Schema | None = None) -> str:
    """Return which values a schema allows, in words, such as ``an integer or null``."""
    words: list[str] = []
    for leaf in leaves(schema, root):
        words += (word for word in _words(leaf) if word not in words)
        if len(words) > MAX_WORDS:
            return " or ".join([*words[:MAX_WORDS], "…"])
    return " or ".join(words)


def leaves(schema: Schema, root: Schema | None = None) -> Iterator[Schema]:
    """Yield the schemas of a union and of unions in it; the schema itself where it is none."""
    root, waiting = (schema if root is None else root), deque([schema])
    for _ in range(_MAX_VISITS):
        if not waiting:
            return
        each = resolved(waiting.popleft(), root)
        if union := branches(each):
            waiting.extendleft(reversed(union))
        else:
            yield each
    yield {}


def branches(schema: Schema) -> Sequence[Schema]:
    """Return the schemas of a union; none where it is no union."""
    found: Sequence[Schema] = schema.get("anyOf") or schema.get("oneOf") or ()
    return found


def members(schema: Schema) -> Sequence[JsonValue] | None:
    """Return the values of an enumeration or a constant; ``None`` for any other schema."""
    if "const" in schema:
        return [schema["const"]]
    found: Sequence[JsonValue] | None = schema.get("enum")
    return found


def types_of(schema: Schema) -> Sequence[str]:
    """Return the types of ``type``; none where it is absent."""
    type_ = schema.get("type", [])
    return [type_] if isinstance(type_, str) else type_


def _words(leaf: Schema) -> Iterable[str]:
    if (values := members(leaf)) is not None:
        return [json.dumps(value) for value in values[: MAX_WORDS + 1]]
    if leaf.get("format") in FORMATS:
        return [FORMATS[leaf["format"]]]
    return [TYPES[each] for each in types_of(leaf)] or ["any value"]


def check_schema(path: str, schema: object) -> None:
    """Raise `Invalid` where a schema is none, has another keyword, or is too large or too deep."""
    if not isinstance(schema, dict):
        raise Invalid(path, schema, "a JSON Schema, which is an object")
    try:
        size = len(json.dumps(schema))
    except (ValueError, TypeError, RecursionError) as error:
        raise Invalid(path, type(schema).__name__, "a JSON Schema of few levels") from error
    if size > MAX_SCHEMA_BYTES:
        raise Invalid(path, f"{size} bytes", f"a schema of at most {MAX_SCHEMA_BYTES} bytes")
    definitions = schema.get("$defs", {})
    if not isinstance(definitions, dict):
        raise Invalid(f"{path}.$defs", definitions, "an object of schemas")
    _check(path, {key: value for key, value in schema.items() if key != "$defs"}, definitions, 0)
    for name, inner in definitions.items():
        _check(f"{path}.$defs.{name}", inner, definitions, 1)
    for name, inner in definitions.items():
        _check_ends(f"{path}.$defs.{name}", inner, definitions)


def _check(path: str, schema: object, definitions: Schema, depth: int) -> None:
    if not isinstance(schema, dict):
        raise Invalid(path, schema, "a JSON Schema, which is an object")
    if depth > MAX_SCHEMA_DEPTH:
        raise Invalid(path, schema, f"at most {MAX_SCHEMA_DEPTH} schemas inside each other")
    for keyword, argument in schema.items():
        at = f"{path}.{keyword}"
        if keyword in _ARGUMENTS:
            is_valid, allowed = _ARGUMENTS[keyword]
            if not is_valid(argument):
                raise Invalid(at, argument, allowed)
        elif keyword not in ANNOTATIONS:
            known = sorted(KEYWORDS)
            question = names.question(keyword, known)
            raise Invalid(at, argument, f"the keywords {', '.join(known)}{question}")
        for step, inner in _inner(keyword, argument):
            _check(at + step, inner, definitions, depth + 1)
    for at, reference in _references(schema):
        if reference.removeprefix(DEFINITION) not in definitions:
            listed = names.listed([DEFINITION + name for name in definitions]) or "(there are none)"
            raise Invalid(f"{path}.{at}", reference, f"one of its own definitions: {listed}")


def _check_ends(path: str, schema: Schema, definitions: Schema) -> None:
    """Raise `Invalid` where a chain of references has no end, or a far one."""
    inner = schema
    for _ in range(_MAX_CHAIN):
        if "$ref" not in inner:
            return
        inner = definitions[inner["$ref"].removeprefix(DEFINITION)]
    allowed = f"a chain of at most {_MAX_CHAIN} references"
    raise Invalid(f"{path}.$ref", schema["$ref"], allowed)


def _inner(keyword: str, argument: Any) -> Iterator[tuple[str, object]]:
    """Yield the schemas in an argument of a keyword, with the rest of their paths."""
    if keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        yield from ((f".{index}", each) for index, each in enumerate(argument))
    elif keyword == "properties":
        yield from ((f".{name}", each) for name, each in argument.items())
    elif keyword in ("items", "propertyNames") or (
        keyword == "additionalProperties" and not isinstance(argument, bool)
    ):
        yield "", argument


def _references(schema: Schema) -> Iterator[tuple[str, str]]:
    if "$ref" in schema:
        yield "$ref", schema["$ref"]
    for tag, reference in schema.get("discriminator", {}).get("mapping", {}).items():
        yield f"discriminator.mapping.{tag}", reference


def _is_count(argument: object) -> bool:
    return type(argument) is int and 0 <= argument < 2**53


def _is_bound(argument: object) -> bool:
    is_number = isinstance(argument, int | float) and not isinstance(argument, bool)
    return is_number and -(2**63) <= argument < 2**64  # type: ignore[operator]  # a number


def _is_factor(argument: object) -> bool:
    return _is_bound(argument) and argument > 1e-300  # type: ignore[operator]  # a number


def _is_type(argument: object) -> bool:
    listed = argument if isinstance(argument, list) else [argument]
    return bool(listed) and all(isinstance(each, str) and each in TYPES for each in listed)


def _is_object(argument: object) -> bool:
    return isinstance(argument, dict)


def _is_schema_list(argument: object) -> bool:
    return isinstance(argument, list) and bool(argument)


def _is_flag_or_object(argument: object) -> bool:
    return isinstance(argument, bool | dict)


def _are_names(argument: object) -> bool:
    return isinstance(argument, list) and all(isinstance(each, str) for each in argument)


def _is_reference(argument: object) -> bool:
    return isinstance(argument, str) and argument.startswith(DEFINITION)


def _is_discriminator(argument: object) -> bool:
    match argument:
        case {"propertyName": str(), "mapping": dict(mapping), **others}:
            return not others and all(map(_is_reference, mapping.values()))
    return False


_COUNT = (_is_count, "an integer of at least 0")
_BOUND = (_is_bound, "a number of 64 bits")
_SCHEMA = (_is_object, "a JSON Schema, which is an object")
_SCHEMAS = (_is_schema_list, "a list of at least one schema")

_ARGUMENTS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "type": (_is_type, "one or a list of " + ", ".join(TYPES)),
    "enum": (_is_schema_list, "a list of at least one value"),
    "const": (lambda _: True, ""),
    "anyOf": _SCHEMAS,
    "oneOf": _SCHEMAS,
    "allOf": _SCHEMAS,
    "items": _SCHEMA,
    "prefixItems": _SCHEMAS,
    "minItems": _COUNT,
    "maxItems": _COUNT,
    "uniqueItems": (lambda argument: isinstance(argument, bool), "true or false"),
    "properties": (_is_object, "an object of schemas"),
    "required": (_are_names, "a list of names"),
    "additionalProperties": (_is_flag_or_object, "true, false or a schema"),
    "propertyNames": _SCHEMA,
    "minimum": _BOUND,
    "maximum": _BOUND,
    "exclusiveMinimum": _BOUND,
    "exclusiveMaximum": _BOUND,
    "multipleOf": (_is_factor, "a number above 0"),
    "minLength": _COUNT,
    "maxLength": _COUNT,
    "format": (lambda argument: argument in [*FORMATS], "one of " + ", ".join(FORMATS)),
    "$ref": (_is_reference, f"{DEFINITION}NAME, a definition of the schema itself"),
    "discriminator": (_is_discriminator, "propertyName, and a mapping to definitions"),
}
"""Keywords, with what their argument has to be."""

KEYWORDS = frozenset({*_ARGUMENTS, *ANNOTATIONS})
"""All keywords of a schema that is no ``$defs``."""
