"""The types that functions declare: their JSON Schemas, and conversion of values. Pure.

A value is JSON wherever it is stored or passed between tasks, and of the annotated type inside a
function. pydantic describes the types and converts the values, in its strict mode.
"""

import functools
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, get_type_hints

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import PydanticSerializationError, core_schema, to_json

from trimtab.errors import Invalid
from trimtab.models import first_error, json_value
from trimtab.workflows.definitions.functions import place_of
from trimtab.workflows.graphs.graph import Interface
from trimtab.workflows.values.checking import check
from trimtab.workflows.values.reduction import reduced
from trimtab.workflows.values.schemas import Schema, check_schema, described
from trimtab.wrong_values import allowed_instead

MAX_OUTPUT_BYTES = 256 * 1024
"""Outputs are part of events and of the inputs of later tasks, so they must be small."""
_RETURN = "return"
_DESCRIBED = (
    "a type whose values have a form in JSON: str, int, float, bool, None, list, dict, tuple, an "
    "enum, a dataclass, a pydantic model, datetime, date, time, timedelta, trimtab.File, "
    "trimtab.Directory, or Any without a check"
)


class _Schemas(GenerateJsonSchema):
    """The schemas of pydantic, but stricter where a wrong value would be ignored."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> dict[str, Any]:
        # The constructor of a dataclass refuses unknown fields, and they are mostly misspelt.
        return {"additionalProperties": False, **super().dataclass_schema(schema)}

    def is_subclass_schema(self, schema: core_schema.IsSubclassSchema) -> dict[str, Any]:
        return self.handle_invalid_for_json_schema(schema, "a class")


@dataclass(frozen=True)
class DeclaredType:
    """The type of one parameter or result; without an adapter, every value of JSON."""

    adapter: TypeAdapter[Any] | None
    schema: dict[str, JsonValue]
    """Describes inputs of the type in JSON."""
    output_schema: dict[str, JsonValue]
    """Describes outputs of the type in JSON."""

    def to_python(self, path: str, value: JsonValue) -> Any:
        """Return the Python value of a value of JSON. Raises `Invalid`."""
        check(path, value, self.schema)
        if self.adapter is None:
            return value
        try:
            return self.adapter.validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            first = first_error(error)
            steps = ".".join(map(str, (path, *first["loc"])))
            raise Invalid(steps, first["input"], allowed_instead(first)) from error

    @property
    def as_output(self) -> "DeclaredType":
        """The type that checks values as outputs, whose form may differ from that of inputs."""
        return replace(self, schema=self.output_schema)

    def to_json(self, path: str, value: object) -> JsonValue:
        """Return the form in JSON of a value, which may be given in this form. Raises `Invalid`."""
        schema = self.schema
        if self.adapter is not None and not _is_scalar_of(value, schema):
            try:
                value = self._dumped(self.adapter.validate_python(value, strict=True))
            except (ValidationError, PydanticSerializationError, ValueError) as error:
                value = _json_form(path, value, schema, error)
        converted = json_value(path, value)
        check(path, converted, schema)
        return converted

    def _dumped(self, value: object) -> object:
        """Raises ``ValueError`` on NaN, which pydantic would write as null."""
        assert self.adapter is not None
        plain = self.adapter.dump_python(value, warnings=False)
        text = to_json(plain, inf_nan_mode="constants", serialize_unknown=True)
        json.loads(text, parse_constant=_refuse_constant)
        return self.adapter.dump_python(value, mode="json", by_alias=True, warnings=False)


ANY = DeclaredType(None, {}, {})


def _is_scalar_of(value: object, schema: Schema) -> bool:
    """Return whether a value is its own form in JSON; this is quick for most constants."""
    return type(value) in (str, int, bool) and schema.keys() == {"type"}


def _json_form(path: str, value: object, schema: Schema, error: Exception) -> JsonValue:
    """Return a value that is given in JSON. Raises `Invalid` with why it is no Python value."""
    try:
        return json_value(path, value)
    except Invalid:
        if not isinstance(error, ValidationError):
            raise Invalid(path, value, f"{described(schema)} ({error})") from error
        at, part = _part(value, first_error(error)["loc"])
        allowed = allowed_instead(first_error(error)) if at else described(schema)
        kind = f"{type(part).__module__}.{type(part).__qualname__}".removeprefix("builtins.")
        where = ".".join((path, *map(str, at)))
        raise Invalid(where, part, f"{allowed}; it is of the type {kind}") from error


def _part(value: Any, steps: Sequence[int | str]) -> tuple[Sequence[int | str], Any]:
    """Return the part that an error is about, and its path; pydantic also counts types as steps."""
    for index, step in enumerate(steps):
        is_inside = isinstance(value, Mapping) and step in value
        if isinstance(value, list | tuple) and isinstance(step, int):
            is_inside = step < len(value)
        if not is_inside:
            return steps[:index], value
        value = value[step]
    return steps, value


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number of JSON")


def declared_type(hint: Any) -> DeclaredType:
    """Return the type of an annotation. Raises ``TypeError`` where it has no form in JSON."""
    if hint is Any or hint is inspect.Parameter.empty:
        return ANY
    try:
        return _cached_type(hint)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return _declared_type(hint)


def _declared_type(hint: Any) -> DeclaredType:
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint)
        schema, output_schema = _schema(adapter, "validation"), _schema(adapter, "serialization")
        for each in (schema, output_schema):
            check_schema("its schema", each)
    except Invalid as error:
        # More of it, or with more levels, than can be registered.
        raise TypeError(str(error)) from error
    except (PydanticUserError, PydanticUndefinedAnnotation, AttributeError) as error:
        # Its first sentence is the reason; the next ones are advice on settings of pydantic.
        raise TypeError(re.split(r"\n|\. ", str(error))[0]) from error
    return DeclaredType(adapter, schema, output_schema)


_cached_type = functools.lru_cache(maxsize=1000)(_declared_type)


def _schema(adapter: TypeAdapter[Any], mode: JsonSchemaMode) -> dict[str, JsonValue]:
    return reduced(adapter.json_schema(mode=mode, schema_generator=_Schemas))


class FunctionTypes:
    """The types of the parameters and of the result of a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        """Raises `Invalid` with the parameter, file and line."""
        self._function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        self._parameters = inspect.signature(function).parameters
        self.is_complete = True
        """Whether every name in the annotations was defined when they were read."""
        types = {name: self._declared(name) for name in (*self._parameters, _RETURN)}
        self.output = types.pop(_RETURN)
        self.inputs: Mapping[str, DeclaredType] = types

    @functools.cached_property
    def interface(self) -> Interface:
        """Raises `Invalid` where the default of a parameter is not of its type."""
        for name in self.inputs:
            self.default(name)
        return Interface(
            inputs={name: each.schema for name, each in self.inputs.items()},
            required=tuple(n for n, p in self._parameters.items() if p.default is p.empty),
            output=self.output.output_schema,
        )

    def default(self, name: str) -> JsonValue:
        """Return the default of a parameter; null where it has none, or one without a type."""
        default = self._parameters[name].default
        if default is inspect.Parameter.empty or self.inputs[name] is ANY:
            return None
        try:
            return self.inputs[name].to_json(f"{self.name}: {name}", default)
        except Invalid as error:
            allowed = f"{error.allowed}, as the default of {name}; {place_of(self._function)}"
            raise Invalid(error.path, error.value, allowed) from error

    def inputs_in_json(self, path: str, inputs: Mapping[str, object]) -> dict[str, JsonValue]:
        """Return inputs in JSON, which are given so or as Python values. Raises `Invalid`."""
        return {
            name: self.inputs.get(name, ANY).to_json(f"{path}.{name}", value)
            for name, value in inputs.items()
        }

    def call(self, inputs: Mapping[str, JsonValue]) -> JsonValue:
        """Call the function with inputs in JSON, and return its output in JSON.

        Raises `Invalid`, and any error of the function.
        """
        converted = {
            name: self.inputs.get(name, ANY).to_python(f"{self.name}: {name}", value)
            for name, value in inputs.items()
        }
        output = self._function(**converted)
        converted_output = self.output.as_output.to_json(f"{self.name}: {_RETURN}", output)
        size = len(json.dumps(converted_output))
        if size > MAX_OUTPUT_BYTES:
            raise Invalid(
                f"{self.name}: {_RETURN}", f"{size} bytes", f"at most {MAX_OUTPUT_BYTES} bytes"
            )
        return converted_output

    def _declared(self, name: str) -> DeclaredType:
        annotation = self._function.__annotations__.get(name, Any)
        if annotation is Any:
            return ANY
        try:
            hint = get_type_hints(
                SimpleNamespace(__annotations__={name: annotation}),
                globalns=getattr(inspect.unwrap(self._function), "__globals__", {}),
                include_extras=True,
            )[name]
        except NameError:
            # A name that is imported for the type checker only.
            self.is_complete = False
            return ANY
        except (AttributeError, TypeError, SyntaxError) as error:
            raise self._no_type(name, annotation, error) from error
        try:
            return declared_type(hint)
        except TypeError as error:
            raise self._no_type(name, hint, error) from error

    def _no_type(self, name: str, hint: object, error: Exception) -> Invalid:
        shown = hint.__name__ if isinstance(hint, type) else str(hint)
        allowed = f"{_DESCRIBED} ({error}); {place_of(self._function)}"
        return Invalid(f"{self.name}: {name}", shown, allowed)
