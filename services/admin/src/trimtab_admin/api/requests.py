"""Strict parsing of requests: parameters, headers, content type and JSON.

An unknown query parameter, and one that occurs twice, is an error: a misspelt scope would be a
broader one. A body must be JSON by its content type, so that no form of a web page can send one.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request

from trimtab import texts
from trimtab.errors import Invalid
from trimtab.wrong_values import allowed_instead
from trimtab_admin import slices, validation
from trimtab_admin.api import json_texts, problems
from trimtab_admin.api.operation import Content, Operation
from trimtab_admin.api.problems import ProblemError

M = TypeVar("M", bound=BaseModel)

_UNKNOWN = "there is no field of this name"

_CONTENT_TYPES = {
    "POST": ("application/json",),
    "PUT": ("application/json",),
    "PATCH": ("application/merge-patch+json", "application/json"),
}

# No form of a web page can send it either.
_BYTES = ("application/octet-stream",)


@dataclass(frozen=True)
class BodyLimit:
    """How large a body may be, and how long its next part may take."""

    bytes: int
    seconds: float


async def arguments(
    operation: Operation, request: Request, body_limit: BodyLimit
) -> dict[str, Any]:
    """Return the keyword arguments of the operation's handler.

    Raises `Invalid` for the first part that is wrong, `ProblemError`, and `ClientDisconnect`.
    """
    _check_content_type(request, operation)
    _check_parameters(request, operation)
    taken: dict[str, Any] = {
        name: _validate(adapter, request.path_params[name], (name,))
        for name, adapter in operation.path_types.items()
    }
    if operation.query is not None:
        taken["query"] = _parse_model(operation.query, dict(request.query_params))
    if operation.headers is not None:
        taken["headers"] = _parse_headers(operation.headers, request)
    if operation.takes_content:
        taken["content"] = Content(_parts(request, body_limit))
    if operation.body is not None:
        document = await slices.run(json_texts.parse(await read(request, body_limit)))
        if operation.takes_documents or operation.takes_workflow:
            prepared = validation.items(operation.body_type, document, _validate_item)
            document = await slices.run(prepared)
        try:
            taken["body"] = operation.body.validate_python(document)
        except ValidationError as error:
            raise _first_error(error, operation.body_type, ()) from error
        # The fields of a document are checked by what it becomes.
        if isinstance(taken["body"], BaseModel):
            await asyncio.to_thread(texts.check, taken["body"])
    return taken


def _validate_item(item_type: type[BaseModel], item: object, path: Sequence[str]) -> BaseModel:
    try:
        return item_type.model_validate(item)
    except ValidationError as error:
        raise _first_error(error, item_type, path) from error


async def read(request: Request, limit: BodyLimit) -> bytes:
    """Return the body. Raises as `_parts`."""
    return b"".join([part async for part in _parts(request, limit)])


async def _parts(request: Request, limit: BodyLimit) -> AsyncIterator[bytes]:
    """Raises `ProblemError` as soon as the body is known to exceed the limit, or pauses too long.

    Raises `ClientDisconnect`.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit.bytes:
        raise _too_large(f"{declared} bytes", limit)
    size, stream = 0, request.stream()
    while True:
        try:
            async with asyncio.timeout(limit.seconds):
                part = await anext(stream, None)
        except TimeoutError as error:
            arrived = f"{size} of {declared} bytes" if declared else f"{size} bytes, and no end"
            allowed = f"a complete body, without a pause of {limit.seconds:g} s"
            raise ProblemError(problems.of_field(408, "body", arrived, allowed)) from error
        if part is None:
            return
        size += len(part)
        if size > limit.bytes:
            raise _too_large(f"more than {limit.bytes} bytes", limit)
        yield part


def _too_large(size: str, limit: BodyLimit) -> ProblemError:
    return ProblemError(problems.of_field(413, "body", size, f"at most {limit.bytes} bytes"))


def _check_content_type(request: Request, operation: Operation) -> None:
    """Raises `ProblemError`."""
    allowed = _BYTES if operation.takes_content else _CONTENT_TYPES.get(request.method, ())
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if allowed and content_type not in allowed:
        problem = problems.of_field(415, "Content-Type", content_type, " or ".join(allowed))
        raise ProblemError(problem)


def _check_parameters(request: Request, operation: Operation) -> None:
    """Raises `Invalid`."""
    known = operation.query.model_fields if operation.query else {}
    for name, value in request.path_params.items():
        _check_text(name, value)
    seen = set()
    for name, value in request.query_params.multi_items():
        if name not in known:
            allowed = ", ".join(sorted(known)) or "no parameter"
            raise Invalid(name, value, f"{allowed}; there is no parameter of this name")
        if name in seen:
            raise Invalid(name, value, "one value")
        _check_text(name, value)
        seen.add(name)


def _check_text(name: str, value: str) -> None:
    if "\0" in value:
        raise Invalid(name, value, "text without NUL")


def _parse_model(model: type[M], values: Mapping[str, object]) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _first_error(error, model, ()) from error


def _parse_headers(model: type[M], request: Request) -> M:
    names = [info.alias or name for name, info in model.model_fields.items()]
    present = {name: _decode(request.headers[name]) for name in names if name in request.headers}
    headers = _parse_model(model, present)
    texts.check(headers)
    return headers


def _decode(header: str) -> str:
    """Return the text of a header, which Starlette reads as Latin-1 although clients send UTF-8."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header


def _validate(adapter: TypeAdapter[Any], value: object, location: Sequence[str]) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise _first_error(error, None, location) from error


def _first_error(error: ValidationError, model: Any, location: Sequence[str]) -> Invalid:
    first = error.errors(include_url=False)[0]
    path = ".".join(map(str, (*location, *first["loc"]))) or "body"
    if first["type"] == "extra_forbidden":
        return Invalid(path, first["input"], f"{_fields(model, first['loc'])}; {_UNKNOWN}")
    # For a field that is missing, pydantic has the object without it as the input.
    value = None if first["type"] == "missing" else first["input"]
    return Invalid(path, value, allowed_instead(first))


def _fields(model: Any, location: Sequence[int | str]) -> str:
    """Return the fields of the object that has the unknown field, as far as a model names them."""
    annotation: Any = model
    for step in location[:-1]:
        annotation = _model_in(annotation)
        if isinstance(step, str) and annotation is not None and step in annotation.model_fields:
            annotation = annotation.model_fields[step].annotation
    innermost = _model_in(annotation)
    return ", ".join(innermost.model_fields) if innermost else "known fields"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model itself, or that of a list's items, a map's values, or an optional value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
