"""Messages as JSON, with every field, as Flyte's gateway writes them. Pure.

Python's writer of protobuf's JSON omits messages that are not set, where the gateway writes null.
"""

import base64
import json
import math
import struct
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from google.protobuf import any_pb2, json_format, symbol_database
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_INT64 = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
_OF_OWN_FORM = frozenset(
    f"google.protobuf.{name}"
    for name in (
        "BoolValue",
        "BytesValue",
        "DoubleValue",
        "Duration",
        "FieldMask",
        "FloatValue",
        "Int32Value",
        "Int64Value",
        "ListValue",
        "StringValue",
        "Struct",
        "Timestamp",
        "UInt32Value",
        "UInt64Value",
        "Value",
    )
)
"""Messages that JSON does not have as an object of their fields."""


class _Field(NamedTuple):
    key: str
    name: str
    is_repeated: bool
    is_map: bool
    is_omitted: bool
    """Whether JSON has no such key while the field is not set; otherwise null, or the default."""
    has_presence: bool
    convert: Callable[[Any], Any]


def write(message: Message, *, snake_case: bool) -> bytes:
    """Return the JSON text of a message, whose fields have the names of the protos, or camelCase.

    A member of a oneof that is not set is the only field that is omitted.
    """
    value = _value(message, snake_case)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _value(message: Message, snake_case: bool) -> Any:
    descriptor = message.DESCRIPTOR
    if descriptor.full_name in _OF_OWN_FORM:
        return json_format.MessageToDict(message)
    if isinstance(message, any_pb2.Any):
        return _any(message, snake_case)
    fields: dict[str, Any] = {}
    for field in _fields(descriptor, snake_case):
        if field.has_presence and not message.HasField(field.name):
            if not field.is_omitted:
                fields[field.key] = None
            continue
        value = getattr(message, field.name)
        if field.is_map:
            value = {_map_key(key): field.convert(value[key]) for key in sorted(value)}
        elif field.is_repeated:
            value = [field.convert(item) for item in value]
        else:
            value = field.convert(value)
        fields[field.key] = value
    return fields


def _any(message: any_pb2.Any, snake_case: bool) -> Any:
    if not message.type_url:
        return {}
    message_type = symbol_database.Default().GetSymbol(message.TypeName())
    inner = message_type.FromString(message.value)
    value = _value(inner, snake_case)
    if inner.DESCRIPTOR.full_name in _OF_OWN_FORM:
        value = {"value": value}
    return {"@type": message.type_url, **value}


@cache
def _fields(descriptor: Descriptor, snake_case: bool) -> tuple[_Field, ...]:
    return tuple(_field(field, snake_case) for field in descriptor.fields)


def _field(field: FieldDescriptor, snake_case: bool) -> _Field:
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    value = field.message_type.fields_by_name["value"] if is_map else field
    return _Field(
        key=field.name if snake_case else field.json_name,
        name=field.name,
        is_repeated=field.is_repeated,
        is_map=is_map,
        is_omitted=field.containing_oneof is not None,
        has_presence=field.has_presence,
        convert=_converter(value, snake_case),
    )


def _converter(field: FieldDescriptor, snake_case: bool) -> Callable[[Any], Any]:
    if field.message_type is not None:
        return lambda message: _value(message, snake_case)
    if field.enum_type is not None:
        names = {value.number: value.name for value in field.enum_type.values}
        if field.enum_type.full_name == "google.protobuf.NullValue":
            return lambda _number: None
        return lambda number: names.get(number, number)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda content: base64.b64encode(content).decode()
    if field.cpp_type in _INT64:
        return str
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return _number
    if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
        return lambda number: _number(_shortest(number))
    return lambda value: value


def _map_key(key: Any) -> str:
    return json.dumps(key) if isinstance(key, bool) else str(key)


def _number(number: float) -> float | str:
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return number


def _shortest(number: float) -> float:
    """Return the number with the fewest digits that 4 bytes round to the given one."""
    if not math.isfinite(number):
        return number
    texts = (f"{number:.{digits}g}" for digits in range(1, 10))
    return next(
        float(t) for t in texts if struct.unpack("f", struct.pack("f", float(t)))[0] == number
    )
