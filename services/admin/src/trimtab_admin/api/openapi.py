"""The OpenAPI 3.1 document of operations, with the schema of every registered kind. Pure."""

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel, TypeAdapter

from trimtab.api.problems import WARNING_HEADER, Problem
from trimtab.kinds import Kind
from trimtab_admin.api.operation import PREFIX, Operation

_SCHEMAS = "#/components/schemas/"
_WRITES_RECORD = ("PUT", "/records/{kind}")
_PROBLEM = {"application/problem+json": {"schema": {"$ref": f"{_SCHEMAS}Problem"}}}
_WARNING = {
    WARNING_HEADER: {
        "description": "A warning, where the body has no `warnings`; the header may be repeated",
        "schema": {"type": "string"},
    }
}
_RETRY_AFTER = {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}
_PROBLEMS = {
    "400": "A part of the request is wrong: `path` names it, `allowed` describes valid values",
    "401": "No API token, or one that is unknown or not valid any more",
    "403": "The API token has no grant for this",
    "404": "Nothing of this name exists: `path` names the parameter, `allowed` the nearest names",
    "405": "The path has no such method",
    "408": "The body did not arrive in time",
    "409": "The stored state does not allow it",
    "410": "The requested data is no longer kept",
    "412": "Another version is stored",
    "413": "The body is too large",
    "415": "The content type is not the one of the operation: bodies are JSON, and contents bytes",
    "428": "The request does not name the version that it replaces",
    "429": "Too many calls were refused",
    "503": "The database or NATS does not answer",
}
"""Every operation may return these."""
_WITH_RETRY_AFTER = frozenset({"429", "503"})

Json = dict[str, Any]


def document(operations: Sequence[Operation], kinds: Iterable[Kind]) -> Json:
    """Return the document. Operations take any kind; the document names the registered ones."""
    schemas = _Schemas(operations)
    known = {kind.name: kind for kind in kinds}
    components = schemas.components | _kind_schemas(known.values())
    paths: dict[str, Json] = {}
    for operation in operations:
        described = _describe(operation, schemas, list(known))
        path = PREFIX + operation.path_template
        paths.setdefault(path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "Trimtab", "version": "2"},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


class _Schemas:
    """The JSON schemas of all bodies, which share their components."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        inputs: list[tuple[Any, Any, TypeAdapter[Any]]] = [
            (Problem, "serialization", TypeAdapter(Problem))
        ]
        for operation in operations:
            if operation.body is not None:
                inputs.append((id(operation), "validation", operation.body))
            if operation.response is not None:
                inputs.append((id(operation), "serialization", operation.response))
        self._schemas, definitions = TypeAdapter.json_schemas(
            inputs, ref_template=_SCHEMAS + "{model}"
        )
        self.components: Json = definitions["$defs"]

    def body(self, operation: Operation) -> Json:
        return self._schemas[id(operation), "validation"]

    def response(self, operation: Operation) -> Json:
        return self._schemas[id(operation), "serialization"]


def _kind_schemas(kinds: Iterable[Kind]) -> Json:
    """Return the schema of each kind's value, and of the models in it."""
    schemas: Json = {}
    for kind in kinds:
        # Two kinds may have models of the same name.
        template = f"{_SCHEMAS}{kind.name}.{{model}}"
        schema = kind.value.model_json_schema(ref_template=template)
        inner = schema.pop("$defs", {})
        schemas |= {f"{kind.name}.{name}": model for name, model in inner.items()}
        schemas[kind.name] = schema
    return schemas


def _describe(operation: Operation, schemas: _Schemas, kinds: list[str]) -> Json:
    described: Json = {"tags": [operation.tag], "summary": _title(operation.name)}
    if operation.handler.__doc__:
        described["description"] = inspect.cleandoc(operation.handler.__doc__)
    described["operationId"] = _operation_id(operation)
    if parameters := list(_parameters(operation, kinds)):
        described["parameters"] = parameters
    if operation.body is not None:
        schema = schemas.body(operation)
        if (operation.method, operation.path) == _WRITES_RECORD:
            schema = {"anyOf": [{"$ref": _SCHEMAS + kind} for kind in kinds], "title": "Document"}
        content = {"application/json": {"schema": schema}}
        described["requestBody"] = {"required": True, "content": content}
    if operation.takes_content:
        binary = {"schema": {"type": "string", "format": "binary"}}
        content = {"application/octet-stream": binary}
        described["requestBody"] = {"required": True, "content": content}
    described["responses"] = _successes(operation, schemas) | _problems()
    return described


def _operation_id(operation: Operation) -> str:
    """Return an id that is unique and stays, because generated clients name methods by it."""
    path = re.sub(r"\W", "_", PREFIX + operation.path_template)
    return f"{operation.name}{path}_{operation.method.lower()}"


def _title(name: str) -> str:
    return name.replace("_", " ").title()


def _parameters(operation: Operation, kinds: list[str]) -> Iterator[Json]:
    for name, adapter in operation.path_types.items():
        schema = adapter.json_schema() | {"title": _title(name)}
        if name == "kind":
            schema = {"type": "string", "enum": kinds}
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    for model, location in ((operation.query, "query"), (operation.headers, "header")):
        if model is not None:
            yield from _fields(model, location)


def _fields(model: type[BaseModel], location: str) -> Iterator[Json]:
    for name, schema in model.model_json_schema()["properties"].items():
        parameter = {"name": name, "in": location, "required": False, "schema": schema}
        if "description" in schema:
            parameter["description"] = schema["description"]
        yield parameter


def _successes(operation: Operation, schemas: _Schemas) -> Json:
    content: Json = {}
    if operation.is_stream:
        content = {"text/event-stream": {"schema": {"type": "string"}}}
    elif operation.response is not None:
        content = {"application/json": {"schema": schemas.response(operation)}}
    responses: Json = {str(operation.status): {"description": "Success", "content": content}}
    if operation.other_status is not None:
        status, description = operation.other_status
        responses[str(status)] = {"description": description, "content": content}
    responses.get("204", {}).pop("content", None)
    of_names = operation.query is not None and "workflow" in operation.query.model_fields
    if of_names or operation.may_warn:
        for response in responses.values():
            response["headers"] = _WARNING
    return responses


def _problems() -> Json:
    def response(status: str) -> Json:
        headers = {"headers": {"Retry-After": _RETRY_AFTER}} if status in _WITH_RETRY_AFTER else {}
        return {"description": _PROBLEMS[status], "content": _PROBLEM, **headers}

    return {status: response(status) for status in _PROBLEMS}
