"""Readers of a part of a pod, which find in it what a pod policy has to allow. Pure.

A reader gets the path and the value of a part, and yields each `Access` that the part requires. It
raises `Invalid` where the part has no shape that Kubernetes accepts, because what cannot be read
cannot be allowed.
"""

import posixpath
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Literal, NamedTuple

from pydantic import JsonValue

from trimtab.errors import Invalid

PolicyField = Literal["privileged", "host_path", "host_network", "service_accounts"]


class Access(NamedTuple):
    """A part of a pod that its policy has to allow."""

    path: str
    value: JsonValue
    field: PolicyField
    """The field of `pod_policy` that may allow it."""
    name: str = ""
    """For a field with a list, the service account or the normalised path."""
    without: str = ""
    """The values that need no policy, in words; empty where only absence does."""


Reader = Callable[[str, JsonValue], Iterator[Access]]


def free(_path: str, _value: JsonValue) -> Iterator[Access]:
    """Read a part that no policy restricts."""
    yield from ()


def fields(known: Mapping[str, Reader], required: str = "") -> Reader:
    """Return the reader of an object, which may have a field that no valid one is without.

    A field that is not known here may give any right in a later release of Kubernetes, so it counts
    as privileged. Null is no value, as in Kubernetes.
    """

    def read(path: str, value: JsonValue) -> Iterator[Access]:
        if not isinstance(value, dict):
            raise Invalid(path, value, "an object")
        if required and value.get(required) is None:
            raise Invalid(f"{path}.{required}", None, "a value")
        for name, inner in value.items():
            at = f"{path}.{name}"
            reader = known.get(name)
            if reader is None:
                yield Access(at, inner, "privileged", without="no field that is not known here")
            elif inner is not None:
                yield from reader(at, inner)

    return read


def free_fields(*names: str) -> dict[str, Reader]:
    return dict.fromkeys(names, free)


def items(reader: Reader) -> Reader:
    """Return the reader of a list."""

    def read(path: str, value: JsonValue) -> Iterator[Access]:
        if not isinstance(value, list):
            raise Invalid(path, value, "a list")
        for index, item in enumerate(value):
            yield from reader(f"{path}.{index}", item)

    return read


def switch(field: PolicyField) -> Reader:
    """Return the reader of a switch that gives a right where it is true."""

    def read(path: str, value: JsonValue) -> Iterator[Access]:
        if not isinstance(value, bool):
            raise Invalid(path, value, "true or false")
        if value:
            yield Access(path, value, field, without="false")

    return read


def one_of(allowed: Collection[str], prefixes: tuple[str, ...] = ()) -> Reader:
    """Return the reader of a text that needs no privileges where it is one of the allowed ones."""
    without = ", ".join([*allowed, *(f"{prefix}…" for prefix in prefixes)])

    def read(path: str, value: JsonValue) -> Iterator[Access]:
        text = _text(path, value)
        if text and text not in allowed and not (prefixes and text.startswith(prefixes)):
            yield Access(path, value, "privileged", without=without)

    return read


def any_text(field: PolicyField) -> Reader:
    """Return the reader of a text that gives a right whatever it is, unless it is empty."""

    def read(path: str, value: JsonValue) -> Iterator[Access]:
        if _text(path, value):
            yield Access(path, value, field)

    return read


def anything(field: PolicyField) -> Reader:
    """Return the reader of a part that gives a right whatever it holds."""

    def read(path: str, value: JsonValue) -> Iterator[Access]:
        yield Access(path, value, field)

    return read


def host_port(path: str, value: JsonValue) -> Iterator[Access]:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid(path, value, "an integer")
    if value != 0:
        yield Access(path, value, "host_network", without="0")


def service_account(path: str, value: JsonValue) -> Iterator[Access]:
    if name := _text(path, value):
        yield Access(path, value, "service_accounts", name)


def host_path(path: str, value: JsonValue) -> Iterator[Access]:
    """Read the path of the node that a volume mounts; read-only or not makes no difference.

    A process that may write below an allowed prefix can put a link there, whose target is then
    reached without ``..``. No text shows that.
    """
    text = _text(path, value)
    if not text.startswith("/") or ".." in text.split("/"):
        raise Invalid(path, value, "an absolute path without ..")
    # POSIX gives two leading slashes a meaning of their own, so normpath keeps them.
    yield Access(path, value, "host_path", posixpath.normpath("/" + text.lstrip("/")))


def _text(path: str, value: JsonValue) -> str:
    if not isinstance(value, str):
        raise Invalid(path, value, "text")
    return value
