"""Check values of JSON against the schemas that declare their types. Pure.

Schemas come from strangers, so every check ends after `MAX_STEPS`. Numbers and dates are those of
pydantic in strict mode: ``3`` is a number, but ``3.0`` and ``true`` are no integers.
"""

import json
import operator
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from trimtab import names
from trimtab.errors import Invalid
from trimtab.workflows import formats
from trimtab.workflows.json_types import IS_TYPE, are_equal, is_multiple
from trimtab.workflows.schemas import (
    TYPES,
    Schema,
    described,
    members,
    resolved,
    types_of,
)

MAX_STEPS = 200_000
"""The most comparisons of a part of a value with a part of a schema in one check."""
MAX_DEPTH = 200
"""The most schemas that are applied inside each other."""


def check(path: str, value: object, schema: Schema) -> None:
    """Raise `Invalid` with the path of the first part of a value that the schema refuses.

    The schema has passed `schemas.check_schema`.
    """
    if not schema:
        return
    try:
        problem = _Check(schema).problem(value, schema, 0)
    except (_TooCostly, RecursionError) as error:
        kind = type(value).__name__
        allowed = f"a value that can be compared with its type in {MAX_STEPS} steps"
        raise Invalid(path, kind, f"{allowed}, {MAX_DEPTH} levels deep") from error
    if problem is not None:
        at = ".".join((path, *map(str, problem.steps)))
        raise Invalid(at, problem.value, problem.allowed())


class _TooCostly(Exception):
    """The check has taken `MAX_STEPS`."""


class _Problem(NamedTuple):
    """A part of a value that the schema refuses."""

    steps: tuple[str | int, ...]
    value: object
    allowed: Callable[[], str]
    """Returns what is allowed instead. Most problems are those of one branch of a union, which no
    message repeats."""
    is_other_type: bool = False
    """Whether the value as a whole is of another type, or not one of an enumeration."""

    def inside(self, step: str | int) -> "_Problem":
        return _Problem((step, *self.steps), self.value, self.allowed)


class _Check:
    """One check of a value, which counts its steps."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._left = MAX_STEPS

    def problem(self, value: Any, schema: Schema, depth: int) -> _Problem | None:
        self.take(1)
        if depth > MAX_DEPTH:
            raise _TooCostly
        types = types_of(schema)
        if types and not any(IS_TYPE[each](value) for each in types):
            return self._other_type(value, schema)
        for keyword, argument in schema.items():
            rule = _RULES.get(keyword)
            if rule and (problem := rule(self, argument, value, schema, depth + 1)):
                return problem
        return None

    def take(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise _TooCostly

    def _other_type(self, value: Any, schema: Schema) -> _Problem:
        return _Problem((), value, partial(described, schema, self._root), is_other_type=True)

    def reference(self, name: str, value: Any, _schema: Schema, depth: int) -> _Problem | None:
        return self.problem(value, resolved({"$ref": name}, self._root), depth)

    def member(self, _argument: Any, value: Any, schema: Schema, _depth: int) -> _Problem | None:
        allowed = members(schema) or ()
        self.take(len(allowed) // 10)
        if any(are_equal(each, value) for each in allowed):
            return None
        return self._other_type(value, schema)

    def all_of(
        self, schemas: Iterable[Schema], value: Any, _schema: Schema, depth: int
    ) -> _Problem | None:
        return next(filter(None, (self.problem(value, each, depth) for each in schemas)), None)

    def any_of(
        self, schemas: Iterable[Schema], value: Any, schema: Schema, depth: int
    ) -> _Problem | None:
        problems = []
        for each in schemas:
            problem = self.problem(value, each, depth)
            if problem is None:
                return None
            problems.append(problem)
        return self._nearest(problems, value, schema)

    def one_of(
        self, schemas: Iterable[Schema], value: Any, schema: Schema, depth: int
    ) -> _Problem | None:
        if "discriminator" in schema:
            return self._tagged(schema["discriminator"], value, schema, depth)
        problems = [self.problem(value, each, depth) for each in schemas]
        if problems.count(None) > 1:
            return _Problem((), value, partial(_only_one, schema, self._root))
        return self._nearest([p for p in problems if p], value, schema) if all(problems) else None

    def _nearest(self, problems: list[_Problem], value: Any, schema: Schema) -> _Problem:
        """Return what is wrong in the one branch that the value is meant for, or all branches."""
        near = [problem for problem in problems if not problem.is_other_type]
        deepest = max(near, key=lambda problem: len(problem.steps), default=None)
        if deepest and (len(near) == 1 or deepest.steps):
            return deepest
        return self._other_type(value, schema)

    def _tagged(self, tag: Schema, value: Any, schema: Schema, depth: int) -> _Problem | None:
        if not isinstance(value, dict):
            return _Problem((), value, lambda: TYPES["object"], is_other_type=True)
        name, mapping = tag["propertyName"], tag["mapping"]
        given = value.get(name)
        target = mapping.get(given) if isinstance(given, str) else None
        if target is None:
            return _Problem((name,), given, lambda: "one of " + names.listed(list(mapping)))
        return self.reference(target, value, schema, depth)

    def items(self, schema: Schema, value: Any, outer: Schema, depth: int) -> _Problem | None:
        if not isinstance(value, list):
            return None
        start = len(outer.get("prefixItems", ()))
        if schema.keys() == {"type"} and isinstance(schema["type"], str) and not start:
            # The longest values are lists of numbers, and a step for each would take its time.
            is_type = IS_TYPE[schema["type"]]
            index = next((i for i, item in enumerate(value) if not is_type(item)), None)
            return None if index is None else self._item(value[index], schema, index, depth)
        for index in range(start, len(value)):
            if problem := self._item(value[index], schema, index, depth):
                return problem
        return None

    def prefix_items(
        self, schemas: Iterable[Schema], value: Any, _schema: Schema, depth: int
    ) -> _Problem | None:
        if not isinstance(value, list):
            return None
        for index, (item, schema) in enumerate(zip(value, schemas, strict=False)):
            if problem := self._item(item, schema, index, depth):
                return problem
        return None

    def _item(self, item: Any, schema: Schema, index: int, depth: int) -> _Problem | None:
        problem = self.problem(item, schema, depth)
        return problem and problem.inside(index)

    def unique(self, wanted: bool, value: Any, _schema: Schema, _depth: int) -> _Problem | None:
        if not wanted or not isinstance(value, list):
            return None
        self.take(len(value))
        seen = set()
        for index, item in enumerate(value):
            key = json.dumps(item, sort_keys=True)
            if key in seen:
                return _Problem((index,), item, lambda: "each item once")
            seen.add(key)
        return None

    def properties(
        self, schemas: Mapping[str, Schema], value: Any, _schema: Schema, depth: int
    ) -> _Problem | None:
        if not isinstance(value, dict):
            return None
        for name, schema in schemas.items():
            if name in value and (problem := self.problem(value[name], schema, depth)):
                return problem.inside(name)
        return None

    def required(
        self, wanted: Iterable[str], value: Any, schema: Schema, _depth: int
    ) -> _Problem | None:
        if not isinstance(value, dict):
            return None
        for name in wanted:
            if name not in value:
                inner = schema.get("properties", {}).get(name, {})
                allowed = partial(_required, inner, self._root)
                return _Problem((name,), None, allowed)
        return None

    def additional(
        self, argument: bool | Schema, value: Any, schema: Schema, depth: int
    ) -> _Problem | None:
        if not isinstance(value, dict) or argument is True:
            return None
        known = schema.get("properties", {})
        for name in value:
            if name in known:
                continue
            if argument is False:
                return _Problem((name,), value[name], partial(_fields, name, known))
            problem = self.problem(value[name], argument or {}, depth)
            if problem:
                return problem.inside(name)
        return None

    def property_names(
        self, schema: Schema, value: Any, _schema: Schema, depth: int
    ) -> _Problem | None:
        if not isinstance(value, dict):
            return None
        for name in value:
            if problem := self.problem(name, schema, depth):
                return _Problem((name,), name, partial(_as_name, problem.allowed))
        return None


def _required(schema: Schema, root: Schema) -> str:
    return f"{described(schema, root)}: the field is required"


def _only_one(schema: Schema, root: Schema) -> str:
    return f"only one of {described(schema, root)}"


def _as_name(allowed: Callable[[], str]) -> str:
    return f"as a name: {allowed()}"


def _fields(name: str, known: Iterable[str]) -> str:
    listed = names.listed(list(known)) or "(there are none)"
    return f"the fields {listed}{names.question(name, known)}"


_Rule = Callable[[_Check, Any, Any, Schema, int], _Problem | None]


def _rule(
    types: type | tuple[type, ...], fits: Callable[[Any, Any], bool], allowed: Callable[[Any], str]
) -> _Rule:
    """Return the rule of a keyword that compares values of some types with its argument."""

    def rule(
        _check: _Check, argument: Any, value: Any, _schema: Schema, _depth: int
    ) -> _Problem | None:
        is_compared = isinstance(value, types) and not isinstance(value, bool)
        if not is_compared or fits(value, argument):
            return None
        return _Problem((), value, partial(allowed, argument))

    return rule


_NUMBER = (int, float)

_RULES: Mapping[str, _Rule] = {
    "$ref": _Check.reference,
    "enum": _Check.member,
    "const": _Check.member,
    "allOf": _Check.all_of,
    "anyOf": _Check.any_of,
    "oneOf": _Check.one_of,
    "items": _Check.items,
    "prefixItems": _Check.prefix_items,
    "uniqueItems": _Check.unique,
    "properties": _Check.properties,
    "required": _Check.required,
    "additionalProperties": _Check.additional,
    "propertyNames": _Check.property_names,
    "minItems": _rule(list, lambda v, n: len(v) >= n, "at least {} of them".format),
    "maxItems": _rule(list, lambda v, n: len(v) <= n, "at most {} of them".format),
    "minLength": _rule(str, lambda v, n: len(v) >= n, "a string of at least {} characters".format),
    "maxLength": _rule(str, lambda v, n: len(v) <= n, "a string of at most {} characters".format),
    "minimum": _rule(_NUMBER, operator.ge, "at least {}".format),
    "maximum": _rule(_NUMBER, operator.le, "at most {}".format),
    "exclusiveMinimum": _rule(_NUMBER, operator.gt, "more than {}".format),
    "exclusiveMaximum": _rule(_NUMBER, operator.lt, "less than {}".format),
    "multipleOf": _rule(_NUMBER, is_multiple, "a multiple of {}".format),
    "format": _rule(str, lambda v, n: formats.is_of(n, v), lambda n: formats.FORMATS.get(n, n)),
}
"""The rule of each keyword; the others have none."""
