"""What every operation may answer beside what its route says: the same problems everywhere."""

from typing import Any

from pydantic.json_schema import models_json_schema

from trimtab.api.problems import Problem

_PREFIX = "#/components/schemas/"
_CONTENT = {"application/problem+json": {"schema": {"$ref": f"{_PREFIX}Problem"}}}
_RETRY_AFTER = {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}
_PROBLEMS = {
    "400": "A part of the request is wrong: `path` names it, `allowed` says what would be right",
    "401": "No token, or one that is not known",
    "403": "The token may not do this",
    "404": "There is nothing of this name",
    "405": "The path has no such method",
    "409": "What is stored forbids it",
    "410": "It is no longer kept",
    "412": "Another version is stored",
    "413": "The body is too large",
    "415": "Bodies are JSON, by their content type",
    "428": "It is not said which version is replaced",
    "429": "Too many calls were refused",
    "503": "The database or the server of messages does not answer",
}
_WAITING = frozenset({"429", "503"})


def describe(document: dict[str, Any]) -> None:
    """Say it in an OpenAPI document, also a second time."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    # The framework's own form of an error, which is not used.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    _, problem = models_json_schema([(Problem, "serialization")], ref_template=_PREFIX + "{model}")
    schemas |= problem["$defs"]
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"] |= {status: _answer(status) for status in _PROBLEMS}


def _answer(status: str) -> dict[str, Any]:
    headers = {"headers": {"Retry-After": _RETRY_AFTER}} if status in _WAITING else {}
    return {"description": _PROBLEMS[status], "content": _CONTENT, **headers}
