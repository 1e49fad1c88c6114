"""Whether values of one declared type may be values of another one. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from trimtab.workflows.values.checking import Steps, TooCostly, allows
from trimtab.workflows.values.schemas import Schema, branches, members, resolved, types_of

MAX_COMPARISONS = 2_000
"""The most pairs of schemas that one answer compares."""
_MAX_DEPTH = 30
_REFERENCES = frozenset({"file", "directory"})


def may_fit(source: Schema, target: Schema) -> bool:
    """Return false only where no value of the source's type is one of the target's.

    A list of integers may fit a list of strings, because it may be empty. No file is a directory.
    """
    if not source or not target:
        return True
    try:
        return _Comparison(source, target).may_fit(source, target, 0)
    except (TooCostly, RecursionError):
        return True


class _Comparison:
    """The comparison of two types, which gives up after `MAX_COMPARISONS`."""

    def __init__(self, source: Schema, target: Schema) -> None:
        self._source = source
        self._target = target
        self._left = MAX_COMPARISONS
        self._steps = Steps()

    def may_fit(self, source: Schema, target: Schema, depth: int) -> bool:
        self._left -= 1
        if self._left < 0 or depth > _MAX_DEPTH:
            return True
        source, target = resolved(source, self._source), resolved(target, self._target)
        if union := branches(source):
            return any(self.may_fit(each, target, depth + 1) for each in union)
        if union := branches(target):
            return any(self.may_fit(source, each, depth + 1) for each in union)
        if (values := members(source)) is not None:
            return any(allows(target, self._target, value, self._steps) for value in values)
        if (values := members(target)) is not None:
            return any(allows(source, self._source, value, self._steps) for value in values)
        return self._may_types_fit(source, target, depth)

    def _may_types_fit(self, source: Schema, target: Schema, depth: int) -> bool:
        common = set(_types(source)) & set(_types(target))
        if common == {"string"}:
            formats = {source.get("format"), target.get("format")}
            return formats != _REFERENCES
        if common == {"object"}:
            return all(
                self.may_fit(first, second, depth + 1)
                for first, second in _required_pairs(source, target)
            )
        return bool(common)


_NOTHING: Mapping[str, Any] = {"enum": ()}
"""The type of a field that must be absent."""


def _required_pairs(source: Schema, target: Schema) -> Iterator[tuple[Schema, Schema]]:
    """Yield the types of each field that every value of the source, or of the target, has."""
    for name in {*source.get("required", ()), *target.get("required", ())}:
        yield _field(source, name), _field(target, name)


def _field(schema: Schema, name: str) -> Schema:
    others = schema.get("additionalProperties", {})
    others = (_NOTHING if others is False else {}) if isinstance(others, bool) else others
    field: Schema = schema.get("properties", {}).get(name, others)
    return field


def _types(schema: Schema) -> Iterator[str]:
    """Yield the types that a schema allows; a number may be an integer too."""
    for type_ in types_of(schema) or ("null", "boolean", "number", "string", "array", "object"):
        yield type_
        if type_ == "number":
            yield "integer"
