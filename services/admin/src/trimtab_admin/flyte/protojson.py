"""Messages from JSON, as strict or lenient as the parser of Flyte's gateway, with its errors. Pure.

Python's parser of protobuf's JSON accepts other texts, and its errors have no place in the text.
"""

import base64
import binascii
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from trimtab_admin.flyte.json_scanning import JsonError, Scanner, Token, unquote, value_in

_MAX_DEPTH = 100
"""The deepest nesting of messages that protobuf's libraries parse."""

_KINDS = {
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_ENUM: "enum",
    FieldDescriptor.TYPE_FIXED32: "fixed32",
    FieldDescriptor.TYPE_FIXED64: "fixed64",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_SFIXED32: "sfixed32",
    FieldDescriptor.TYPE_SFIXED64: "sfixed64",
    FieldDescriptor.TYPE_SINT32: "sint32",
    FieldDescriptor.TYPE_SINT64: "sint64",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
}
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
}
_LARGEST_FLOAT = 3.4028235677973366e38
"""The numbers from here on round to none that 4 bytes can hold."""
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![-+._a-zA-Z0-9])")
_DURATION = re.compile(r"([+-]?)(?=[0-9.])(0|[1-9][0-9]*|)(?:\.([0-9]{0,9}))?s")
_MAX_SECONDS = 315_576_000_000
"""The longest duration that protobuf has, about 10,000 years."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_SPECIAL_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_ANY = "google.protobuf.Any"
_TIMESTAMP = "google.protobuf.Timestamp"
_VALUE = "google.protobuf.Value"
_NULL = "google.protobuf.NullValue"
_WELL_KNOWN = (_ANY, _TIMESTAMP, "google.protobuf.FieldMask")
_WRAPPERS = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
)
_UNKNOWN = object()
"""The value of an enum that has no such name, where what is unknown is ignored."""


def read(text: str, message: Message, *, ignore_unknown: bool) -> None:
    """Fill an empty message from the first JSON value of a text; blanks alone leave it empty.

    Raises `JsonError`, and then the message may have some fields.
    """
    value = value_in(text)
    if value is not None:
        _Reader(Scanner(value), ignore_unknown).read(message, 1)


@cache
def fields_of(descriptor: Descriptor) -> Mapping[str, FieldDescriptor]:
    """Return the fields of a message by each name that JSON may have for them."""
    by_name = {field.name: field for field in descriptor.fields}
    return by_name | {field.json_name: field for field in descriptor.fields}


@dataclass
class _Reader:
    scanner: Scanner
    ignore_unknown: bool

    def read(self, message: Message, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise JsonError("proto: exceeded max recursion depth")
        name = message.DESCRIPTOR.full_name
        if field := wrapped(message.DESCRIPTOR):
            setattr(message, field.name, self._scalar(field))
        elif name == _VALUE:
            self._value(message, depth)
        elif name == "google.protobuf.Struct":
            self._map(message, message.DESCRIPTOR.fields_by_name["fields"], depth + 1)
        elif name == "google.protobuf.ListValue":
            self._list(message, message.DESCRIPTOR.fields_by_name["values"], depth)
        elif name == "google.protobuf.Duration":
            self._duration(message)
        elif name in _WELL_KNOWN:
            self._well_known(message, name)
        else:
            self._fields(message, depth)

    def _fields(self, message: Message, depth: int) -> None:
        self._expect("{")
        seen, seen_oneofs = set(), set()
        fields = fields_of(message.DESCRIPTOR)
        while (token := self.scanner.read()).kind != "}":
            field = fields.get(unquote(token.raw))
            if field is None:
                self._unknown(token)
                continue
            if field.number in seen:
                raise self.scanner.error(token.at, f"duplicate field {token.raw}")
            seen.add(field.number)
            if self.scanner.peek() == "n" and not _takes_null(field):
                self.scanner.read()
            elif is_map(field):
                self._map(message, field, depth + 1)
            elif field.is_repeated:
                self._list(message, field, depth)
            else:
                oneof = field.containing_oneof
                if oneof is not None:
                    if oneof.name in seen_oneofs:
                        message_text = (
                            f"error parsing {token.raw}, oneof {oneof.full_name} is already set"
                        )
                        raise self.scanner.error(token.at, message_text)
                    seen_oneofs.add(oneof.name)
                self._singular(message, field, depth)

    def _unknown(self, name: Token) -> None:
        if not self.ignore_unknown:
            raise self.scanner.error(name.at, f"unknown field {name.raw}")
        self.scanner.read_value()

    def _singular(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        if field.message_type is not None:
            part = getattr(message, field.name)
            part.SetInParent()
            self.read(part, depth + 1)
        elif (value := self._scalar(field)) is not _UNKNOWN:
            setattr(message, field.name, value)

    def _list(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        self._expect("[")
        items = getattr(message, field.name)
        while self.scanner.peek() != "]":
            if field.message_type is not None:
                self.read(items.add(), depth + 1)
            elif (value := self._scalar(field)) is not _UNKNOWN:
                items.append(value)
        self.scanner.read()

    def _map(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        """Fill a map, each of whose entries is a message at the given depth."""
        self._expect("{")
        entries = getattr(message, field.name)
        key_field = field.message_type.fields_by_name["key"]
        value_field = field.message_type.fields_by_name["value"]
        while (token := self.scanner.read()).kind != "}":
            key = _map_key(key_field, unquote(token.raw))
            if key is None:
                kind = _KINDS[key_field.type]
                raise self.scanner.error(token.at, f"invalid value for {kind} key: {token.raw}")
            if key in entries:
                raise self.scanner.error(token.at, f"duplicate map key {token.raw}")
            if value_field.message_type is not None:
                self.read(entries[key], depth + 1)
            elif (value := self._scalar(value_field)) is not _UNKNOWN:
                entries[key] = value

    def _value(self, message: Any, depth: int) -> None:
        """Fill a ``google.protobuf.Value``, which may be any JSON."""
        match self.scanner.peek():
            case "{":
                message.struct_value.SetInParent()
                self.read(message.struct_value, depth + 1)
                return
            case "[":
                message.list_value.SetInParent()
                self.read(message.list_value, depth + 1)
                return
        token = self.scanner.read()
        match token.kind:
            case "null":
                message.null_value = 0
            case "true" | "false":
                message.bool_value = token.kind == "true"
            case "string":
                message.string_value = unquote(token.raw)
            case _:
                number = _float(token, math.inf)
                if number is None:
                    raise self.scanner.error(token.at, f"invalid {_VALUE}: {token.raw}")
                message.number_value = number

    def _duration(self, message: Any) -> None:
        token = self._expect("string")
        name = message.DESCRIPTOR.full_name
        match = _DURATION.fullmatch(unquote(token.raw))
        if match is None or len(match[2]) > 18:
            raise self.scanner.error(token.at, f"invalid {name} value {token.raw}")
        sign = -1 if match[1] == "-" else 1
        seconds = int(match[2] or 0)
        if seconds > _MAX_SECONDS:
            raise self.scanner.error(token.at, f"{name} value out of range: {token.raw}")
        message.seconds = sign * seconds
        message.nanos = sign * int((match[3] or "").ljust(9, "0"))

    def _well_known(self, message: Message, name: str) -> None:
        """Fill a message that JSON has in a form of its own."""
        if self.scanner.peek() != ("{" if name == _ANY else '"'):
            raise self.scanner.unexpected(self.scanner.read())
        start = self.scanner.place()
        raw = self.scanner.read_value()
        try:
            if name == _TIMESTAMP and not _TIME.fullmatch(unquote(raw)):
                raise json_format.ParseError
            json_format.Parse(raw, message, ignore_unknown_fields=self.ignore_unknown)
        except (json_format.ParseError, ValueError, RecursionError) as error:
            raise self.scanner.error(start, f"invalid {name} value {raw}") from error

    def _expect(self, kind: str) -> Token:
        token = self.scanner.read()
        if token.kind != kind:
            raise self.scanner.unexpected(token)
        return token

    def _scalar(self, field: FieldDescriptor) -> Any:
        """Read the value of a field that is no message, or an item of a list of them."""
        token = self.scanner.read()
        value = _PARSERS[field.cpp_type](token, field)
        if value is None and field.enum_type and token.kind == "string" and self.ignore_unknown:
            return _UNKNOWN
        if value is None:
            kind, shown = _KINDS[field.type], token.raw
            text = f"invalid value for {kind} field {field.json_name}: {shown}"
            raise self.scanner.error(token.at, text)
        return value


def _takes_null(field: FieldDescriptor) -> bool:
    named = field.message_type or field.enum_type
    return named is not None and named.full_name in (_VALUE, _NULL)


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def wrapped(descriptor: Descriptor) -> FieldDescriptor | None:
    """Return the only field of a message such as ``google.protobuf.BoolValue``."""
    return descriptor.fields_by_name["value"] if descriptor.full_name in _WRAPPERS else None


def _map_key(field: FieldDescriptor, name: str) -> str | int | bool | None:
    """Return the key of a map; ``None`` where the name is none of its type."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return name
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return {"true": True, "false": False}.get(name)
    return _within(int(name), field) if re.fullmatch(r"[+-]?[0-9]{1,30}", name) else None


def _bool(token: Token, _field: FieldDescriptor) -> bool | None:
    return {"true": True, "false": False}.get(token.kind)


def _string(token: Token, field: FieldDescriptor) -> str | bytes | None:
    if token.kind != "string":
        return None
    text = unquote(token.raw)
    return bytes_of(text) if field.type == FieldDescriptor.TYPE_BYTES else text


def bytes_of(text: str) -> bytes | None:
    alternative = b"-_" if "-" in text or "_" in text else None
    if len(text) % 4 and text.endswith("="):
        return None
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), alternative, validate=True)
    except (binascii.Error, ValueError):
        return None


def _enum(token: Token, field: FieldDescriptor) -> int | None:
    if token.kind == "string":
        found = field.enum_type.values_by_name.get(unquote(token.raw))
        return None if found is None else int(found.number)
    if token.kind == "null" and field.enum_type.full_name == _NULL:
        return 0
    return _integer_of(token.raw, field) if token.kind == "number" else None


def _integer(token: Token, field: FieldDescriptor) -> int | None:
    number = _number(token)
    return None if number is None else _integer_of(number, field)


def _number(token: Token) -> str | None:
    """Return the number that a token is, or that the text of a string begins with."""
    if token.kind == "number":
        return token.raw
    if token.kind != "string":
        return None
    text = unquote(token.raw)
    match = _NUMBER.match(text) if text == text.strip() else None
    return match[0] if match else None


def _integer_of(number: str, field: FieldDescriptor) -> int | None:
    try:
        value = Decimal(number)
    except InvalidOperation:
        return None
    if not value:
        return 0
    if value.adjusted() > 20 or value != value.to_integral_value():
        return None
    return _within(int(value), field)


def _within(value: int, field: FieldDescriptor) -> int | None:
    lowest, highest = _INTEGERS[field.cpp_type]
    return value if lowest <= value <= highest else None


def _double(token: Token, _field: FieldDescriptor) -> float | None:
    return _float(token, math.inf)


def _single(token: Token, _field: FieldDescriptor) -> float | None:
    return _float(token, _LARGEST_FLOAT)


def _float(token: Token, limit: float) -> float | None:
    if token.kind == "string" and (special := _SPECIAL_FLOATS.get(unquote(token.raw))) is not None:
        return special
    number = _number(token)
    value = math.inf if number is None else float(number)
    return value if abs(value) < limit else None


_PARSERS: Mapping[int, Callable[[Token, FieldDescriptor], Any]] = {
    FieldDescriptor.CPPTYPE_BOOL: _bool,
    FieldDescriptor.CPPTYPE_DOUBLE: _double,
    FieldDescriptor.CPPTYPE_ENUM: _enum,
    FieldDescriptor.CPPTYPE_FLOAT: _single,
    FieldDescriptor.CPPTYPE_INT32: _integer,
    FieldDescriptor.CPPTYPE_INT64: _integer,
    FieldDescriptor.CPPTYPE_STRING: _string,
    FieldDescriptor.CPPTYPE_UINT32: _integer,
    FieldDescriptor.CPPTYPE_UINT64: _integer,
}
