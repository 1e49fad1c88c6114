"""Values of JSON, checked against the schemas of their declared types."""

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cpu_time import cpu_seconds
from trimtab.errors import Invalid
from trimtab.workflows.values.checking import MAX_STEPS, Steps, check
from trimtab.workflows.values.fitting import may_fit
from trimtab.workflows.values.schemas import (
    KEYWORDS,
    MAX_SCHEMA_BYTES,
    MAX_SCHEMA_DEPTH,
    TYPES,
    check_schema,
    described,
)

INTEGER = {"type": "integer"}
LAYERS = {"type": "object", "properties": {"layers": {"type": "array", "items": INTEGER}}}
NULLABLE = {"anyOf": [INTEGER, {"type": "null"}]}
TREE = {"$ref": "#/$defs/Tree", "$defs": {"Tree": {"items": {"$ref": "#/$defs/Tree"}}}}
TAGGED = {
    "oneOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}],
    "discriminator": {
        "propertyName": "kind",
        "mapping": {"a": "#/$defs/A", "b": "#/$defs/B"},
    },
    "$defs": {"A": {"type": "object"}, "B": {"properties": {"n": INTEGER}}},
}


def problem(value: object, schema: dict[str, Any]) -> tuple[str, str]:
    """Return the path and what is allowed instead; two empty texts where the value fits."""
    check_schema("schema", schema)
    try:
        check("x", value, schema)
    except Invalid as error:
        return error.path, error.allowed
    return "", ""


@pytest.mark.parametrize(
    ("value", "schema", "path", "allowed"),
    [
        ("abc", INTEGER, "x", "an integer"),
        (3.0, INTEGER, "x", "an integer"),
        (True, INTEGER, "x", "an integer"),
        (None, INTEGER, "x", "an integer"),
        (True, {"type": "number"}, "x", "a number"),
        (math.nan, {"type": "number"}, "x", "a number"),
        (10**400, {"type": "number"}, "x", "a number"),
        (10**400, {"maximum": 5}, "x", "at most 5"),
        (0, {"exclusiveMinimum": 0}, "x", "more than 0"),
        (0.25, {"multipleOf": 0.1}, "x", "a multiple of 0.1"),
        (10**400, {"multipleOf": 0.5}, "x", "a multiple of 0.5"),
        (1, {"enum": [True, "a"]}, "x", 'true or "a"'),
        ([True], {"const": [1]}, "x", "[1]"),
        ("", {"minLength": 1}, "x", "a string of at least 1 characters"),
        ({"layers": [1, 2, "3"]}, LAYERS, "x.layers.2", "an integer"),
        ({"layers": [1, "2"]}, {"anyOf": [LAYERS, {"type": "null"}]}, "x.layers.1", "an integer"),
        ([1, "2"], {"items": {"minimum": 0, "type": "integer"}}, "x.1", "an integer"),
        ("3", NULLABLE, "x", "an integer or null"),
        (2, {"anyOf": [{"type": "integer", "minimum": 3}, {"type": "null"}]}, "x", "at least 3"),
        ([1, 1], {"uniqueItems": True}, "x.1", "each item once"),
        ([1, "b", "c"], {"prefixItems": [INTEGER], "items": INTEGER}, "x.1", "an integer"),
        (["a"], {"prefixItems": [INTEGER]}, "x.0", "an integer"),
        ([], {"minItems": 1}, "x", "at least 1 of them"),
        ({}, {"required": ["n"], "properties": {"n": INTEGER}}, "x.n", "an integer"),
        ({"lr": 1}, {"properties": {"rate": {}}, "additionalProperties": False}, "x.lr", "rate"),
        ({"a": 1, "b": "c"}, {"additionalProperties": INTEGER}, "x.b", "an integer"),
        ({"c": 1}, {"propertyNames": {"enum": ["a", "b"]}}, "x.c", '"a" or "b"'),
        ("1700000000", {"format": "date-time"}, "x", "a time such as 2030-01-31T12:00:00Z"),
        ("2030-02-30", {"format": "date"}, "x", "a date such as"),
        ("soon", {"format": "duration"}, "x", "a duration such as PT1H30M"),
        ("", {"format": "file"}, "x", "a file: its path, or a URI"),
        ({"kind": "c"}, TAGGED, "x.kind", "one of a, b"),
        ({"kind": "b", "n": "1"}, TAGGED, "x.n", "an integer"),
        (1, {"oneOf": [INTEGER, {"type": "number"}]}, "x", "only one of an integer or a number"),
        (1, {"allOf": [INTEGER, {"minimum": 2}]}, "x", "at least 2"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_path_and_what_is_allowed(
    value: object, schema: dict[str, Any], path: str, allowed: str
) -> None:
    at, instead = problem(value, schema)
    assert (at, allowed in instead) == (path, True), instead


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (3, {"type": "number"}),
        (2**70, INTEGER),
        (0.3, {"multipleOf": 0.1}),
        (1.0, {"enum": [1]}),
        (None, NULLABLE),
        ({"layers": []}, LAYERS),
        ("2030-01-31T12:00:00", {"format": "date-time"}),
        ([True, 1], {"uniqueItems": True}),
        ({"kind": "a"}, TAGGED),
        ([[[]], []], TREE),
        ("anything", {}),
    ],
)
def test_a_value_of_the_type_is_accepted(value: object, schema: dict[str, Any]) -> None:
    assert problem(value, schema) == ("", "")


def doubling(keyword: str) -> dict[str, Any]:
    """Return a schema whose evaluation takes twice as long at each level."""
    inner = {keyword: [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A"}]}
    return {"$ref": "#/$defs/A", "$defs": {"A": inner}}


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "schema"),
    [(1, doubling("anyOf")), (1, doubling("allOf")), (1, doubling("oneOf")), (nested(900), TREE)],
)
def test_a_check_without_an_end_is_given_up(value: object, schema: dict[str, Any]) -> None:
    path, allowed = problem(value, schema)
    assert (path, "steps" in allowed) == ("x", True)


def test_the_checks_of_one_request_are_given_up_together() -> None:
    steps, schema = Steps(), {"items": {"minimum": 0}}
    check("x", [1] * (MAX_STEPS - 1), schema, steps)
    with pytest.raises(Invalid, match=r"^y: 'int' .* steps"):
        check("y", 1, INTEGER, steps)


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ([{}] * 100_000, {"items": {"properties": {f"p{i}": {} for i in range(3000)}}}),
        ([1] * 10_000, {"anyOf": [{"items": {"type": "null"}}] * 1000}),
        ([{"a": 1}] * 30, {"anyOf": [{"uniqueItems": True}] * 3000}),
        ([[1] * 100] * 100, {"items": {"enum": [[1] * 99 + [2]] * 100}}),
        (["a" * 9000] * 300, {"items": {"anyOf": [{"format": "uri"}] * 100}}),
        ({"a" * i: 1 for i in range(500)}, {"anyOf": [{"required": ["b"] * 9}] * 1000}),
    ],
)
def test_a_hostile_schema_costs_no_more_than_all_steps(
    value: object, schema: dict[str, Any]
) -> None:
    steps = cpu_seconds(lambda: problem([1] * (MAX_STEPS - 1), {"items": {"minimum": 0}}))
    assert cpu_seconds(lambda: problem(value, schema)) < 5 * steps  # usually 0.03 to 0.8 times


def deep(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ([], "s"),
        ({"pattern": "(a+)+$"}, "s.pattern"),
        ({"properties": {"a": {"maxLenght": 1}}}, "s.properties.a.maxLenght"),
        ({"type": "float"}, "s.type"),
        ({"type": []}, "s.type"),
        ({"enum": []}, "s.enum"),
        ({"anyOf": [{}, 1]}, "s.anyOf.1"),
        ({"items": [{}]}, "s.items"),
        ({"minLength": -1}, "s.minLength"),
        ({"minimum": True}, "s.minimum"),
        ({"multipleOf": 0}, "s.multipleOf"),
        ({"required": "a"}, "s.required"),
        ({"format": "regex"}, "s.format"),
        ({"format": []}, "s.format"),
        ({"items": {"$defs": {}}}, "s.items.$defs"),
        ({"$defs": []}, "s.$defs"),
        ({"$ref": "https://example.com/schema"}, "s.$ref"),
        ({"$ref": "#/$defs/A"}, "s.$ref"),
        ({"$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}}, "s.$defs.A.$ref"),
        ({"$defs": {"A": {"$ref": "#/$defs/B"}, "B": 1}}, "s.$defs.B"),
        ({"discriminator": {"propertyName": "kind"}}, "s.discriminator"),
        ({"discriminator": {"propertyName": "k", "mapping": {"a": "#/$defs/A"}}}, None),
        (deep(MAX_SCHEMA_DEPTH + 1), None),
        (deep(5000), "s"),
        ({"description": "a" * MAX_SCHEMA_BYTES}, "s"),
        ({"minimum": 10**5000}, "s"),
    ],
)
def test_a_schema_with_anything_else_is_refused(schema: Any, path: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        check_schema("s", schema)
    assert path in (None, caught.value.path)


def test_a_description_of_a_hostile_union_is_short() -> None:
    union: dict[str, Any] = {"enum": ["a"]}
    for letter in "bcdefghijklm":
        union = {"anyOf": [{"enum": [letter * 9]}, union, union]}
    assert len(described(union)) < 500


KEYWORD_ARGUMENTS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 3),
    st.just(0.5),
    st.sampled_from([*TYPES, "a", "date"]),
)
SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    st.dictionaries(st.sampled_from(sorted(KEYWORDS)), KEYWORD_ARGUMENTS, max_size=2),
    lambda inner: st.one_of(
        st.dictionaries(
            st.sampled_from(sorted(KEYWORDS)),
            st.one_of(
                inner,
                st.lists(inner, min_size=1, max_size=2),
                st.dictionaries(st.sampled_from("ab"), inner),
                st.just("#/$defs/A"),
                st.just({"propertyName": "a", "mapping": {"a": "#/$defs/A"}}),
            ),
            max_size=2,
        ),
        st.tuples(inner, inner).map(lambda pair: {**pair[0], "$defs": {"A": pair[1]}}),
    ),
    max_leaves=6,
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from("ab")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("ab"), inner)
    ),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(SCHEMAS, SCHEMAS, VALUES)
def test_no_schema_that_is_accepted_breaks_a_check(schema: Any, other: Any, value: Any) -> None:
    with contextlib.suppress(Invalid):
        check_schema("schema", schema)
        described(schema)
        with contextlib.suppress(Invalid):
            check_schema("other", other)
            may_fit(schema, other)
            may_fit(other, schema)
        check("x", value, schema)
