"""Validate documents in slices: the items of long lists and maps, then the whole. Pure.

A model whose validation takes long is one with lists or maps of models, such as a workflow with
thousands of nodes. The validation of the whole takes the validated items as they are.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

from pydantic import BaseModel

from trimtab_admin import steps
from trimtab_admin.steps import Steps

M = TypeVar("M", bound=BaseModel)

Path = tuple[str, ...]
Validate = Callable[[type[BaseModel], Any, Path], BaseModel]
"""Returns the model of a document, which has a path in the whole."""


def read(model: type[M], document: object) -> Steps[M]:
    """Validate what a service of any release has stored. Raises ``ValidationError``.

    Fields that this release does not know are ignored, as by `trimtab.models.read`.
    """

    def validate(item_type: type[BaseModel], item: Any, _path: Path) -> BaseModel:
        return item_type.model_validate(item, extra="ignore")

    prepared = yield from items(model, document, validate)
    return model.model_validate(prepared, extra="ignore")


def items(
    model: type[BaseModel], document: object, validate: Validate, path: Path = ()
) -> Steps[Any]:
    """Return the document of a model with the items of its lists and maps validated.

    Raises what ``validate`` raises. What is wrong otherwise is left to the validation of the whole.
    """
    if not isinstance(document, dict):
        return document
    found = dict(document)
    for name, shape in _fields(model).items():
        value, at = document.get(name), (*path, name)
        check = partial(_validate_item, validate, shape.model, at)
        if shape.origin is None and isinstance(value, dict):
            found[name] = yield from items(shape.model, value, validate, at)
        elif shape.origin is dict and isinstance(value, dict):
            inner = {}
            for key, item in value.items():
                inner[key] = yield from items(shape.model, item, validate, (*at, str(key)))
            validated = yield from steps.each(check, inner.items())
            found[name] = dict(zip(inner, validated, strict=True))
        elif shape.origin is list and isinstance(value, list):
            found[name] = yield from steps.each(check, enumerate(value))
    return found


def _validate_item(
    validate: Validate, model: type[BaseModel], path: Path, item: tuple[object, Any]
) -> BaseModel:
    return validate(model, item[1], (*path, str(item[0])))


class _Shape(NamedTuple):
    model: type[BaseModel]
    origin: type | None
    """``list`` or ``dict`` of the model, or ``None`` for the model itself."""


@cache
def _fields(model: type[BaseModel]) -> Mapping[str, _Shape]:
    """Return the fields that may be long, by name."""
    shapes = ((name, _shape(info.annotation)) for name, info in model.model_fields.items())
    return {
        name: shape
        for name, shape in shapes
        if shape is not None and (shape.origin is not None or _fields(shape.model))
    }


def _shape(annotation: Any) -> _Shape | None:
    if _is_model(annotation):
        return _Shape(annotation, None)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is dict and _is_model(arguments[1]):
        return _Shape(arguments[1], dict)
    if isinstance(origin, type) and issubclass(origin, Sequence) and _is_model(arguments[0]):
        return _Shape(arguments[0], list)
    return None


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
