"""The OpenAPI document, with the shape of every registered kind."""

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI

from trimtab import kinds
from trimtab.kinds import Kind
from trimtab_admin.api import answers

_PUT = "/api/v2/records/{kind}"


class Api(FastAPI):
    """Its routes take any kind; its document names those there are."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        answers.describe(document)
        if _PUT in document["paths"]:
            describe(document, kinds.registered().values())
        return document


def describe(document: dict[str, Any], registered: Iterable[Kind]) -> None:
    """Put the kinds in, also a second time."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    names = []
    for kind in registered:
        # Two kinds may have models of one name.
        template = f"#/components/schemas/{kind.name}.{{model}}"
        schema = kind.value.model_json_schema(ref_template=template)
        inner = schema.pop("$defs", {})
        schemas |= {f"{kind.name}.{name}": model for name, model in inner.items()}
        schemas[kind.name] = schema
        names.append(kind.name)
    for operations in document["paths"].values():
        for operation in operations.values():
            _name(operation, names)
    shapes = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    body = document["paths"][_PUT]["put"]["requestBody"]["content"]["application/json"]
    body["schema"] = {"anyOf": shapes, "title": "Document"}


def _name(operation: Any, names: list[str]) -> None:
    parameters = operation.get("parameters", ()) if isinstance(operation, dict) else ()
    for parameter in parameters:
        if (parameter["in"], parameter["name"]) == ("path", "kind"):
            parameter["schema"] = {"type": "string", "enum": names}
