"""The base class of models, types of names, and parsing of values into models. Pure."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    JsonValue,
    Strict,
    StringConstraints,
    ValidationError,
)
from pydantic_core import ErrorDetails

from trimtab import names
from trimtab.errors import Invalid
from trimtab.wrong_values import allowed_instead

M = TypeVar("M", bound=BaseModel)

Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$"),
]
"""The name of a workflow, launch plan, task, node or hook."""

NewPoolName = Annotated[
    str, StringConstraints(max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:\-]*$")
]
"""The name of a pool that is declared; a colon separates a plugin from its pool."""

DnsLabel = Annotated[
    str, StringConstraints(max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
]
"""The name of a project or domain, which becomes part of a namespace's name."""

Integer = Annotated[int, Strict()]
"""An integer of JSON: no text, no boolean, no fraction. Its field has a maximum, at most
`MAX_INTEGER`."""
Number = Annotated[float, Strict()]
"""A number of JSON: no text and no boolean."""
Switch = Annotated[bool, Strict()]
"""A boolean of JSON: no text and no number."""


def _check_time(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and value[4:5] == "-"):
        return value
    raise ValueError("a time with its offset, such as 2026-01-31T12:00:00Z")


Time = Annotated[AwareDatetime, BeforeValidator(_check_time)]
"""A time as RFC 3339 writes it: no number, which could be seconds or milliseconds."""

MAX_INTEGER = 2**53 - 1
"""The largest integer up to which a double, of JSON or of Lua, holds each exactly."""
MAX_UNITS = 1_000_000_000
"""The most units of one token or limit of a pool. resmgr counts in doubles, which hold sums of so
many units exactly for nine million tokens."""


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
        first = first_error(error)
        path = ".".join(str(step) for step in first["loc"] if step != "[key]")
        expected = unknown_field(model, first) or allowed_instead(first)
        raise Invalid(path, first["input"], expected) from error


def first_error(error: ValidationError) -> ErrorDetails:
    """Return the first unknown field, or else the first error: a misspelt field is missing too."""
    errors = error.errors(include_url=False)
    return next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])


def unknown_field(model: Any, error: ErrorDetails) -> str:
    """Return what is allowed instead of an unknown field; empty where the error is another one.

    ``model`` is what the value was validated as: a model, or a type that contains models.
    """
    if error["type"] != "extra_forbidden":
        return ""
    *outer, name = error["loc"]
    known = _field_names(model, outer)
    listed = f"one of {', '.join(known)}" if known else "a known field"
    return listed + names.question(str(name), known)


def _field_names(shape: Any, steps: Sequence[int | str]) -> list[str]:
    """Return the names of the fields of an inner model, as its texts have them."""
    for step in steps:
        model = _model_in(shape)
        fields = {} if model is None else _by_name(model)
        # Any other step is the key of a map, the index of a list, or a marker of pydantic.
        shape = fields.get(str(step), shape)
    innermost = _model_in(shape)
    return [] if innermost is None else list(_by_name(innermost))


def _by_name(model: type[BaseModel]) -> dict[str, Any]:
    fields = model.model_fields.items()
    return {info.alias or name: info.annotation for name, info in fields}


def _model_in(shape: Any) -> type[BaseModel] | None:
    """Return the model itself, or that of a list's items, a map's values, or an optional value."""
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        return shape
    return next(filter(None, map(_model_in, get_args(shape))), None)


class RepeatedKey(ValueError):
    """An object of a JSON text repeats a key; of its values Python's parser would use the last."""


def unique_members(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of its members, for ``object_pairs_hook``. Raises `RepeatedKey`."""
    found = dict(members)
    if len(found) < len(members):
        raise RepeatedKey("an object has a key more than once")
    return found


def json_value(path: str, value: Any) -> JsonValue:
    """Return the value after a round trip through JSON. Raises `Invalid`, which names the path."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        # Half of a surrogate pair has no form in UTF-8, in which JSON is stored and sent.
        converted: JsonValue = json.loads(text.encode())
    except (TypeError, ValueError) as error:
        raise Invalid(path, value, f"a JSON value ({error})") from error
    return converted
