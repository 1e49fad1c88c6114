"""Fields of messages from texts of paths and queries, with the errors of Flyte's gateway. Pure."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from trimtab_admin.flyte import protojson
from trimtab_admin.flyte.json_scanning import quoted

Path = tuple[str, ...]
"""The names of fields that lead from a message to one within it."""

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_BITS = {
    FieldDescriptor.CPPTYPE_INT32: 32,
    FieldDescriptor.CPPTYPE_INT64: 64,
    FieldDescriptor.CPPTYPE_UINT32: 32,
    FieldDescriptor.CPPTYPE_UINT64: 64,
}
_UNSIGNED = (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


class FieldError(ValueError):
    """A parameter does not fit the message."""


def parameters(query: bytes) -> Mapping[str, Sequence[str]]:
    """Return the values of each parameter of a query or a form. Raises `FieldError`."""
    found: dict[str, list[str]] = {}
    for pair in filter(None, query.split(b"&")):
        if b";" in pair:
            raise FieldError("invalid semicolon separator in query")
        name, _, value = pair.partition(b"=")
        found.setdefault(_unescape(name), []).append(_unescape(value))
    return found


def _unescape(text: bytes) -> str:
    if bad := _BAD_ESCAPE.search(text):
        raise FieldError(f"invalid URL escape {quoted(bad[0].decode('utf-8', 'surrogateescape'))}")
    try:
        return unquote_to_bytes(text.replace(b"+", b" ")).decode()
    except UnicodeDecodeError as error:
        raise FieldError("the query is not UTF-8") from error


def set_parameters(
    message: Message, given: Mapping[str, Sequence[str]], of_path: Collection[Path]
) -> None:
    """Set the fields that parameters name, except for those below the paths ``of_path``.

    An unknown parameter is ignored. Raises `FieldError`.
    """
    for name, values in given.items():
        if name.endswith("]") and "[" in name:
            # One entry of a map.
            name, _, key = name.removesuffix("]").rpartition("[")
            values = (key, *values)
        path = _normal(message, tuple(name.split(".")))
        if not any(path[: len(other)] == other for other in of_path):
            set_field(message, path, values)


def _normal(message: Message, path: Path) -> Path:
    """Return the path with the names of the protos; as given where it leads to no field."""
    descriptor, names = message.DESCRIPTOR, []
    for name in path:
        field = protojson.fields_of(descriptor).get(name) if descriptor else None
        if field is None:
            return path
        names.append(field.name)
        descriptor = None if field.is_repeated else field.message_type
    return tuple(names)


def set_field(message: Any, path: Path, values: Sequence[str]) -> None:
    """Set the field that a path leads to; one that does not exist is ignored.

    Raises `FieldError`.
    """
    *outer, last = path
    for name in outer:
        field = _field(message, name)
        if field is None:
            return
        if field.message_type is None or field.is_repeated:
            raise FieldError(f"invalid path: {quoted(name)} is not a message")
        message = getattr(message, field.name)
        message.SetInParent()
    field = _field(message, last)
    if field is None:
        return
    if protojson.is_map(field):
        _set_entry(getattr(message, field.name), field, values)
    elif field.is_repeated:
        items = [_parse(field, value, "list") for value in values]
        getattr(message, field.name).extend(items)
    elif len(values) > 1:
        name = quoted(field.name)
        raise FieldError(f"too many values for field {name}: {', '.join(values)}")
    elif field.message_type is not None and (wrapped := protojson.wrapped(field.message_type)):
        getattr(message, field.name).value = _parse(field, values[0], "field", of=wrapped)
    else:
        setattr(message, field.name, _parse(field, values[0], "field"))


def _field(message: Message, name: str) -> FieldDescriptor | None:
    field = protojson.fields_of(message.DESCRIPTOR).get(name)
    oneof = field.containing_oneof if field else None
    if field is None or oneof is None or (len(oneof.fields) == 1 and field.has_presence):
        return field
    other = message.WhichOneof(oneof.name)
    if other and (other != field.name or field.message_type is None):
        raise FieldError(f"field already set for oneof {quoted(oneof.name)}")
    return field


def _set_entry(entries: Any, field: FieldDescriptor, values: Sequence[str]) -> None:
    if len(values) != 2:
        where = f"key {quoted(values[0])} in map {quoted(field.full_name)}"
        raise FieldError(f"more than one value provided for {where}")
    key_field, value_field = (field.message_type.fields_by_name[name] for name in ("key", "value"))
    key = _parse(field, values[0], "map key", of=key_field)
    entries[key] = _parse(field, values[1], "map value", of=value_field)


def _parse(
    field: FieldDescriptor, text: str, what: str, *, of: FieldDescriptor | None = None
) -> Any:
    """Return the value that a text is for a field, or for the part ``of`` one. Raises `FieldError`.

    ``what`` names the part in the error.
    """
    part = of or field
    parse = _PARSERS.get(part.cpp_type)
    try:
        if part.type == FieldDescriptor.TYPE_BYTES:
            return _bytes(text)
        if parse is None:
            raise FieldError(f"unsupported message type: {quoted(part.message_type.full_name)}")
        return parse(part, text)
    except FieldError as error:
        raise FieldError(f"parsing {what} {quoted(field.name)}: {error}") from error


def _bool(_field: FieldDescriptor, text: str) -> bool:
    if text not in _BOOLEANS:
        raise _not_a("ParseBool", text)
    return _BOOLEANS[text]


def _bytes(text: str) -> bytes:
    content = protojson.bytes_of(text)
    if content is None:
        raise FieldError("illegal base64 data")
    return content


def _enum(field: FieldDescriptor, text: str) -> int:
    named = field.enum_type.values_by_name.get(text)
    if named is not None:
        return int(named.number)
    number = int(text) if re.fullmatch(r"[+-]?[0-9]{1,20}", text) else None
    if number not in field.enum_type.values_by_number:
        raise FieldError(f"{quoted(text)} is not a valid value")
    return int(field.enum_type.values_by_number[number].number)


def _integer(field: FieldDescriptor, text: str) -> int:
    bits, is_unsigned = _BITS[field.cpp_type], field.cpp_type in _UNSIGNED
    function = "ParseUint" if is_unsigned else "ParseInt"
    if not re.fullmatch(r"[0-9]+" if is_unsigned else r"[+-]?[0-9]+", text):
        raise _not_a(function, text)
    lowest, highest = (0, 2**bits - 1) if is_unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    # Python parses no more than 4300 digits.
    digits = text.lstrip("+-").lstrip("0")[:21] or "0"
    number = -int(digits) if text.startswith("-") else int(digits)
    if not lowest <= number <= highest:
        raise _not_a(function, text, "value out of range")
    return number


def _number(field: FieldDescriptor, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise _not_a("ParseFloat", text) from error


def _not_a(function: str, text: str, why: str = "invalid syntax") -> FieldError:
    return FieldError(f"strconv.{function}: parsing {quoted(text)}: {why}")


_PARSERS: Mapping[int, Callable[[FieldDescriptor, str], Any]] = {
    FieldDescriptor.CPPTYPE_BOOL: _bool,
    FieldDescriptor.CPPTYPE_DOUBLE: _number,
    FieldDescriptor.CPPTYPE_ENUM: _enum,
    FieldDescriptor.CPPTYPE_FLOAT: _number,
    FieldDescriptor.CPPTYPE_STRING: lambda _field, text: text,
    **dict.fromkeys(_BITS, _integer),
}
