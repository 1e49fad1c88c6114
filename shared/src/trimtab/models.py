"""The base class of models, types of names, and parsing of values into models. Pure."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, StringConstraints, ValidationError

from trimtab.errors import Invalid

M = TypeVar("M", bound=BaseModel)

Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$"),
]
"""The name of a workflow, launch plan, task, node or hook."""

DnsLabel = Annotated[
    str, StringConstraints(max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
]
"""The name of a project or domain, which becomes part of a namespace's name."""


class Model(BaseModel):
    """Base of every message and request body: frozen, and an unknown field is an error.

    What a service has written is read with `read` instead, because a later one may have more
    fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def read(model: type[M], body: str | bytes) -> M:
    """Parse what a service of any release has published or stored. Raises ``ValidationError``.

    Fields that this release does not know are ignored, at every depth.
    """
    return model.model_validate_json(body, extra="ignore")


def parse_model(model: type[M], content: Mapping[str, object]) -> M:
    """Parse content into a model. Raises `Invalid`, which names the first wrong field."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(str(step) for step in first["loc"])
        allowed = first.get("ctx", {}).get("error") or first["msg"]
        raise Invalid(path, first["input"], str(allowed)) from error


def json_value(path: str, value: Any) -> JsonValue:
    """Return the value after a round trip through JSON. Raises `Invalid`, which names the path."""
    try:
        converted: JsonValue = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise Invalid(path, value, f"a JSON value ({error})") from error
    return converted
