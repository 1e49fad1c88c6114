"""Numbers and booleans of requests are those of JSON, and no integer is too large to be stored."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue, ValidationError, create_model

from trimtab import kinds
from trimtab.api.entities import PoolBody
from trimtab.messages.events import PoolChanged
from trimtab.models import MAX_INTEGER, MAX_UNITS
from trimtab_admin.api.access import AccessOperations
from trimtab_admin.api.entities import EntityOperations
from trimtab_admin.api.executions import ExecutionOperations
from trimtab_admin.api.maintenance import MaintenanceOperations
from trimtab_admin.api.namespaces import NamespaceOperations
from trimtab_admin.api.queues import QueueOperations
from trimtab_admin.api.settings import SettingsOperations
from trimtab_admin.settings.entities import POOLS

INTERFACES: tuple[Any, ...] = (
    AccessOperations,
    EntityOperations,
    ExecutionOperations,
    MaintenanceOperations,
    NamespaceOperations,
    QueueOperations,
    SettingsOperations,
)
WRONG: Mapping[type, tuple[object, ...]] = {
    int: ("3", True, 1.0, 10**30, MAX_INTEGER + 1, -(10**30)),
    float: ("1.5", True, float("inf"), float("nan")),
    bool: ("true", 1, 0.0),
    AwareDatetime: (5, 5.0, "5", "1234567890.5"),
}


def bodies() -> Iterator[Any]:
    """Yield the type of each request's body, and the value of each kind."""
    for interface in INTERFACES:
        # The table of the operations needs none of what they call.
        yield from (operation.body_type for operation in object.__new__(interface).table())
    yield from (kind.value for kind in kinds.registered().values())


def fields(shape: Any, path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the name of each field of the models in a type, and a model of this field alone."""
    if not (isinstance(shape, type) and issubclass(shape, BaseModel)):
        for inner in get_args(shape):
            yield from fields(inner, path)
        return
    config = ConfigDict(strict=shape.model_config.get("strict", False))
    for name, info in shape.model_fields.items():
        field = f"{shape.__name__}.{name}"
        yield field, create_model("Alone", __config__=config, value=(info.annotation, info))
        if field not in path.split():
            yield from fields(info.annotation, f"{path} {field}")


def types(shape: Any) -> set[Any]:
    """Return the types that a value of a field may have, itself or as an item."""
    if get_origin(shape) is Annotated:
        return types(get_args(shape)[0])
    if shape is JsonValue:
        return set()
    return {shape}.union(*map(types, get_args(shape)))


FIELDS = {name: alone for body in bodies() for name, alone in fields(body, "")}
CASES = [
    (name, wrong)
    for name, alone in FIELDS.items()
    for type_, values in WRONG.items()
    if type_ in types(alone.model_fields["value"].annotation)
    for wrong in values
]


def test_the_fields_are_found() -> None:
    assert FIELDS.keys() >= {
        "PoolBody.quota",
        "DocumentBody.version",
        "Task.weight",
        "NodeOverrides.retries",
        "TokenCreate.expires_at",
        "WorkflowExecutionConfig.max_parallelism",
    }


@pytest.mark.parametrize(("name", "wrong"), CASES)
def test_a_value_of_another_type_is_refused(name: str, wrong: object) -> None:
    with pytest.raises(ValidationError):
        FIELDS[name](value=wrong)


def test_the_error_names_the_largest_quota() -> None:
    assert PoolBody(name="a", quota=MAX_UNITS).quota == MAX_UNITS
    with pytest.raises(ValidationError, match=r"less than or equal to 1000000000"):
        PoolBody(name="a", quota=10**30)


def test_a_pool_that_an_earlier_release_stored_is_shown_as_it_is() -> None:
    stored = PoolChanged(name="a", quota=10**30)
    assert POOLS.to_body(stored, 7).model_dump() == {
        "name": "a",
        "quota": 10**30,
        "project_cap": None,
        "project_domain_cap": None,
        "cohort": "default",
        "active": True,
        "max_weight": None,
        "version": 7,
    }
