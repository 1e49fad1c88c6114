"""Check values of JSON against the schemas that declare their types. Pure.

Schemas come from strangers, so every check ends after `MAX_STEPS`. Numbers and dates are those of
pydantic in strict mode: ``3`` is a number, but ``3.0`` and ``true`` are no integers.
"""

import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from trimtab import names
from trimtab.errors import Invalid
from trimtab.workflows.values import formats
from trimtab.workflows.values.json_types import IS_TYPE, are_equal, is_multiple
from trimtab.workflows.values.problems import (
    Problem,
    as_name,
    known_fields,
    only_one,
    required_field,
)
from trimtab.workflows.values.schemas import (
    TYPES,
    Schema,
    described,
    members,
    resolved,
    types_of,
)

MAX_STEPS = 200_000
"""The most comparisons of a part of a value with a part of a schema in one request: some tenths
of a second."""
_QUICK = 10
"""How many of the smallest comparisons, and how many characters, are one step."""
MAX_DEPTH = 200
"""The most schemas that are applied inside each other."""


class TooCostly(Exception):
    """The checks have taken all their steps."""


class Steps:
    """The steps that the checks of one request may still take together."""

    def __init__(self) -> None:
        self._left = MAX_STEPS

    def take(self, steps: int) -> None:
        """Raises `TooCostly`."""
        self._left -= steps
        if self._left < 0:
            raise TooCostly


def check(path: str, value: object, schema: Schema, steps: Steps | None = None) -> None:
    """Raise `Invalid` with the path of the first part of a value that the schema refuses.

    The schema has passed `schemas.check_schema`.
    """
    if not schema:
        return
    try:
        problem = _Check(schema, steps or Steps()).problem(value, schema, 0)
    except (TooCostly, RecursionError) as error:
        allowed = f"values that can be compared with their types in {MAX_STEPS} steps"
        raise Invalid(path, type(value).__name__, f"{allowed}, {MAX_DEPTH} levels deep") from error
    if problem is not None:
        at = ".".join((path, *map(str, problem.steps)))
        raise Invalid(at, problem.value, problem.allowed())


def allows(schema: Schema, root: Schema, value: object, steps: Steps) -> bool:
    """Return whether a value is of a type, which is a part of ``root``. Raises `TooCostly`."""
    return _Check(root, steps).problem(value, schema, 0) is None


class _Check:
    """One check of a value, which counts its steps."""

    def __init__(self, root: Schema, steps: Steps) -> None:
        self._root = root
        self._take = steps.take

    def problem(self, value: Any, schema: Schema, depth: int) -> Problem | None:
        self._take(1)
        if depth > MAX_DEPTH:
            raise TooCostly
        types = types_of(schema)
        if types and not any(IS_TYPE[each](value) for each in types):
            return self._other_type(value, schema)
        for keyword, argument in schema.items():
            rule = _RULES.get(keyword)
            if rule and (problem := rule(self, argument, value, schema, depth + 1)):
                return problem
        return None

    def _other_type(self, value: Any, schema: Schema) -> Problem:
        return Problem((), value, partial(described, schema, self._root), is_other_type=True)

    def reference(self, name: str, value: Any, _schema: Schema, depth: int) -> Problem | None:
        return self.problem(value, resolved({"$ref": name}, self._root), depth)

    def member(self, _argument: Any, value: Any, schema: Schema, _depth: int) -> Problem | None:
        allowed = members(schema) or ()
        self._take(len(allowed) // _QUICK)
        if any(are_equal(each, value, self._take) for each in allowed):
            return None
        return self._other_type(value, schema)

    def all_of(
        self, schemas: Iterable[Schema], value: Any, _schema: Schema, depth: int
    ) -> Problem | None:
        return next(filter(None, (self.problem(value, each, depth) for each in schemas)), None)

    def any_of(
        self, schemas: Iterable[Schema], value: Any, schema: Schema, depth: int
    ) -> Problem | None:
        problems = []
        for each in schemas:
            problem = self.problem(value, each, depth)
            if problem is None:
                return None
            problems.append(problem)
        return self._nearest(problems, value, schema)

    def one_of(
        self, schemas: Iterable[Schema], value: Any, schema: Schema, depth: int
    ) -> Problem | None:
        if "discriminator" in schema:
            return self._tagged(schema["discriminator"], value, schema, depth)
        problems = [self.problem(value, each, depth) for each in schemas]
        if problems.count(None) > 1:
            return Problem((), value, partial(only_one, schema, self._root))
        return self._nearest([p for p in problems if p], value, schema) if all(problems) else None

    def _nearest(self, problems: list[Problem], value: Any, schema: Schema) -> Problem:
        """Return what is wrong in the one branch that the value is meant for, or all branches."""
        near = [problem for problem in problems if not problem.is_other_type]
        deepest = max(near, key=lambda problem: len(problem.steps), default=None)
        if deepest and (len(near) == 1 or deepest.steps):
            return deepest
        return self._other_type(value, schema)

    def _tagged(self, tag: Schema, value: Any, schema: Schema, depth: int) -> Problem | None:
        if not isinstance(value, dict):
            return Problem((), value, lambda: TYPES["object"], is_other_type=True)
        name, mapping = tag["propertyName"], tag["mapping"]
        given = value.get(name)
        target = mapping.get(given) if isinstance(given, str) else None
        if target is None:
            return Problem((name,), given, lambda: "one of " + names.listed(list(mapping)))
        return self.reference(target, value, schema, depth)

    def format(self, name: str, value: Any, _schema: Schema, _depth: int) -> Problem | None:
        if not isinstance(value, str):
            return None
        self._take(len(value) // _QUICK)
        if formats.is_of(name, value):
            return None
        return Problem((), value, lambda: formats.FORMATS.get(name, name))

    def items(self, schema: Schema, value: Any, outer: Schema, depth: int) -> Problem | None:
        if not isinstance(value, list):
            return None
        start = len(outer.get("prefixItems", ()))
        if schema.keys() == {"type"} and isinstance(schema["type"], str) and not start:
            # The longest values are lists of numbers, and a step for each would take its time.
            self._take(len(value) // _QUICK)
            is_type = IS_TYPE[schema["type"]]
            index = next((i for i, item in enumerate(value) if not is_type(item)), None)
            return None if index is None else self._item(value[index], schema, index, depth)
        for index in range(start, len(value)):
            if problem := self._item(value[index], schema, index, depth):
                return problem
        return None

    def prefix_items(
        self, schemas: Iterable[Schema], value: Any, _schema: Schema, depth: int
    ) -> Problem | None:
        if not isinstance(value, list):
            return None
        for index, (item, schema) in enumerate(zip(value, schemas, strict=False)):
            if problem := self._item(item, schema, index, depth):
                return problem
        return None

    def _item(self, item: Any, schema: Schema, index: int, depth: int) -> Problem | None:
        problem = self.problem(item, schema, depth)
        return problem and problem.inside(index)

    def unique(self, wanted: bool, value: Any, _schema: Schema, _depth: int) -> Problem | None:
        if not wanted or not isinstance(value, list):
            return None
        seen = set()
        for index, item in enumerate(value):
            key = json.dumps(item, sort_keys=True)
            self._take(1 + len(key) // _QUICK)
            if key in seen:
                return Problem((index,), item, lambda: "each item once")
            seen.add(key)
        return None

    def properties(
        self, schemas: Mapping[str, Schema], value: Any, _schema: Schema, depth: int
    ) -> Problem | None:
        if not isinstance(value, dict):
            return None
        self._take(min(len(value), len(schemas)) // _QUICK)
        for name in value if len(value) < len(schemas) else schemas:
            if name not in value or name not in schemas:
                continue
            if problem := self.problem(value[name], schemas[name], depth):
                return problem.inside(name)
        return None

    def required(
        self, wanted: Sequence[str], value: Any, schema: Schema, _depth: int
    ) -> Problem | None:
        if not isinstance(value, dict):
            return None
        self._take(len(wanted) // _QUICK)
        for name in wanted:
            if name not in value:
                inner = schema.get("properties", {}).get(name, {})
                allowed = partial(required_field, inner, self._root)
                return Problem((name,), None, allowed)
        return None

    def additional(
        self, argument: bool | Schema, value: Any, schema: Schema, depth: int
    ) -> Problem | None:
        if not isinstance(value, dict) or argument is True:
            return None
        known = schema.get("properties", {})
        self._take(len(value) // _QUICK)
        for name in value:
            if name in known:
                continue
            if argument is False:
                return Problem((name,), value[name], partial(known_fields, name, known))
            problem = self.problem(value[name], argument or {}, depth)
            if problem:
                return problem.inside(name)
        return None

    def property_names(
        self, schema: Schema, value: Any, _schema: Schema, depth: int
    ) -> Problem | None:
        if not isinstance(value, dict):
            return None
        for name in value:
            if problem := self.problem(name, schema, depth):
                return Problem((name,), name, partial(as_name, problem.allowed))
        return None


_Rule = Callable[[_Check, Any, Any, Schema, int], Problem | None]


def _rule(
    types: type | tuple[type, ...], fits: Callable[[Any, Any], bool], allowed: Callable[[Any], str]
) -> _Rule:
    """Return the rule of a keyword that compares values of some types with its argument."""

    def rule(
        _check: _Check, argument: Any, value: Any, _schema: Schema, _depth: int
    ) -> Problem | None:
        is_compared = isinstance(value, types) and not isinstance(value, bool)
        if not is_compared or fits(value, argument):
            return None
        return Problem((), value, partial(allowed, argument))

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
    "format": _Check.format,
}
"""The rule of each keyword; the others have none."""
