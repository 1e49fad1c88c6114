"""The forms of messages in Flyte's REST API: two of JSON, and protobuf; headers choose. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from google.protobuf.message import DecodeError, Message

from trimtab_admin.flyte import json_writing, protojson
from trimtab_admin.flyte.json_scanning import JsonError, decode

_MAX_CACHED_BYTES = 8192


class Unreadable(ValueError):
    """A body is not the message that is due."""


class Marshaler(Protocol):
    """One form of messages."""

    @property
    def content_type(self) -> str: ...

    def read(self, body: bytes, message: Message) -> None:
        """Fill an empty message from a body. Raises `Unreadable`."""

    def write(self, message: Message) -> bytes: ...


@dataclass(frozen=True)
class _Json:
    snake_case: bool
    """Whether fields have the names of the protos, and unknown ones are errors."""
    content_type = "application/json"

    def read(self, body: bytes, message: Message) -> None:
        try:
            protojson.read(decode(body), message, ignore_unknown=not self.snake_case)
        except JsonError as error:
            raise Unreadable(str(error)) from error

    def write(self, message: Message) -> bytes:
        content = message.SerializeToString()
        if len(content) > _MAX_CACHED_BYTES:
            return json_writing.write(message, snake_case=self.snake_case)
        message_type: Any = type(message)
        return _json_of(message_type, content, self.snake_case)


@lru_cache(maxsize=4096)
def _json_of(message_type: Any, content: bytes, snake_case: bool) -> bytes:
    return json_writing.write(message_type.FromString(content), snake_case=snake_case)


@dataclass(frozen=True)
class _Protobuf:
    content_type = "application/octet-stream"

    def read(self, body: bytes, message: Message) -> None:
        try:
            message.ParseFromString(body)
        except DecodeError as error:
            raise Unreadable("proto: cannot parse invalid wire-format data") from error

    def write(self, message: Message) -> bytes:
        content: bytes = message.SerializeToString()
        return content


_DEFAULT = _Json(snake_case=False)
_BY_MEDIA_TYPE: dict[str, Marshaler] = {
    "application/json": _Json(snake_case=True),
    "application/octet-stream": _Protobuf(),
    "*": _DEFAULT,
}


class Choice(NamedTuple):
    """The forms of one request and its response."""

    request: Marshaler
    response: Marshaler


def choose(content_types: Sequence[str], accepted: Sequence[str]) -> Choice:
    """Return the forms that the headers ``Content-Type`` and ``Accept`` choose.

    Only an ``Accept`` that is exactly one of the media types has an effect.
    """
    media_types = (value.partition(";")[0].strip().lower() for value in content_types)
    request = next(filter(None, map(_BY_MEDIA_TYPE.get, media_types)), _DEFAULT)
    response = next(filter(None, map(_BY_MEDIA_TYPE.get, accepted)), request)
    return Choice(request, response)
