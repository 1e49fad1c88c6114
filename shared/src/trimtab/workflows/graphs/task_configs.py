"""The configuration of a task's type: its JSON, and what an override of it may change. Pure."""

from collections.abc import Mapping
from dataclasses import is_dataclass

from pydantic import BaseModel, JsonValue
from pydantic_core import PydanticSerializationError, to_jsonable_python

from trimtab.errors import Invalid
from trimtab.models import json_value
from trimtab.workflows.graphs.node_overrides import NodeOverrides

_ALLOWED = "a dict, a dataclass or a pydantic model, with values of JSON"


def task_config_fields(task_config: object) -> dict[str, JsonValue]:
    """Return the fields ``task_config`` and ``task_config_type`` of overrides. Raises `Invalid`.

    A dict has no class, so it changes keys of a configuration of any class.
    """
    is_object = is_dataclass(task_config) and not isinstance(task_config, type)
    if not is_object and not isinstance(task_config, Mapping | BaseModel):
        raise Invalid("task_config", task_config, _ALLOWED)
    try:
        content = json_value("task_config", to_jsonable_python(task_config))
    except PydanticSerializationError as error:
        raise Invalid("task_config", task_config, f"{_ALLOWED} ({error})") from error
    if isinstance(task_config, Mapping):
        return {"task_config": content}
    class_ = type(task_config)
    return {
        "task_config": content,
        "task_config_type": f"{class_.__module__}.{class_.__qualname__}",
    }


def check_task_config(path: str, own: NodeOverrides, override: NodeOverrides) -> None:
    """Check that an override keeps the types of what the task has already. Raises `Invalid`.

    ``own`` are the merged values of all sources below the override. The class of the configuration
    stays, and so does the JSON type of each key, at every depth; other keys may be added.
    """
    class_ = override.task_config_type
    if class_ is not None and class_ != own.task_config_type:
        kept = own.task_config_type or "no class, because the task's configuration has none"
        raise Invalid(f"{path}.task_config_type", class_, kept)
    if own.task_config and override.task_config:
        _check_types(f"{path}.task_config", own.task_config, override.task_config)


def _check_types(
    path: str, own: Mapping[str, JsonValue], override: Mapping[str, JsonValue]
) -> None:
    for name, later in override.items():
        earlier = own.get(name)
        if earlier is None:
            continue
        if _type(earlier) != _type(later):
            raise Invalid(f"{path}.{name}", later, f"{_type(earlier)}, as the task has there")
        if isinstance(earlier, dict) and isinstance(later, dict):
            _check_types(f"{path}.{name}", earlier, later)


def _type(value: JsonValue) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
