"""HTTP methods and paths of RPCs, as the ``google.api.http`` annotations of a service have them.
Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

_VARIABLE = re.compile(r"\{([a-z0-9_.]+)\}")
_LITERAL = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Binding:
    """One HTTP method of one path for an RPC."""

    service: str
    rpc: str
    method: str
    path: str
    """The template of the path, such as ``/api/v1/projects/{id}``."""
    body: str
    """The field that is the body, ``*`` for the whole message, or empty where there is no body."""
    variables: tuple[tuple[str, ...], ...]
    """For each variable of the path the names that lead to its field."""


@dataclass
class _Node:
    """The paths that have the same first segments."""

    literals: "dict[str, _Node]" = field(default_factory=dict)
    variable: "_Node | None" = None
    bindings: dict[str, Binding] = field(default_factory=dict)
    """By method, for the paths that end here."""


class Bindings:
    """The bindings of services, found by path."""

    def __init__(self, services: Sequence[ServiceDescriptor]) -> None:
        """Raises `TypeError` for an annotation with patterns that no service of Flyte has."""
        self._root = _Node()
        for service in services:
            for method in service.methods:
                for binding in _bindings(service, method):
                    self._add(binding)

    def _add(self, binding: Binding) -> None:
        node = self._root
        for segment in binding.path.split("/")[1:]:
            if segment.startswith("{"):
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                node = node.literals.setdefault(segment, _Node())
        node.bindings[binding.method] = binding

    def methods(self, path: str) -> dict[str, tuple[Binding, tuple[str, ...]]]:
        """Return the bindings of a path by method, each with the values of its variables.

        A variable is one segment, and may be empty.
        """
        found: dict[str, tuple[Binding, tuple[str, ...]]] = {}
        _find(self._root, path.split("/"), 1, (), found)
        return found

    def __iter__(self) -> Iterator[Binding]:
        return _all(self._root)


def _find(
    node: _Node,
    segments: list[str],
    at: int,
    values: tuple[str, ...],
    found: dict[str, tuple[Binding, tuple[str, ...]]],
) -> None:
    if at == len(segments):
        for method, binding in node.bindings.items():
            found.setdefault(method, (binding, values))
        return
    literal = node.literals.get(segments[at])
    if literal is not None:
        _find(literal, segments, at + 1, values, found)
    if node.variable is not None:
        _find(node.variable, segments, at + 1, (*values, segments[at]), found)


def _all(node: _Node) -> Iterator[Binding]:
    yield from node.bindings.values()
    for following in (*node.literals.values(), *filter(None, [node.variable])):
        yield from _all(following)


def _bindings(service: ServiceDescriptor, method: MethodDescriptor) -> Iterator[Binding]:
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    for each in (rule, *rule.additional_bindings):
        verb = each.WhichOneof("pattern")
        if verb is None:
            continue
        path = getattr(each, verb)
        segments = path.split("/")[1:]
        variables = [_VARIABLE.fullmatch(segment) for segment in segments]
        for segment, variable in zip(segments, variables, strict=True):
            if not (variable or _LITERAL.fullmatch(segment)):
                raise TypeError(f"{method.full_name}: {path} has the segment {segment}")
        yield Binding(
            service=service.full_name,
            rpc=method.name,
            method=verb.upper(),
            path=path,
            body=each.body,
            variables=tuple(tuple(v[1].split(".")) for v in variables if v),
        )
