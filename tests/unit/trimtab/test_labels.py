"""Labels, annotations and variables, as Kubernetes takes them."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from trimtab import labels

LONG = "a" * 63


def is_valid(kind: Any, text: str) -> bool:
    try:
        return bool(TypeAdapter(kind).validate_python(text) == text)
    except ValidationError:
        return False


@pytest.mark.parametrize(
    "key", ["team", "a", "A.b-c_9", LONG, "example.com/team", f"{'a.' * 126}a/team"]
)
def test_a_key_of_labels_is_a_name_with_a_domain_before_it(key: str) -> None:
    assert is_valid(labels.LabelKey, key)


@pytest.mark.parametrize(
    "key",
    ["", "-a", "a-", "a b", "ä", LONG + "a", "/a", "a/", "a/b/c", "Example.com/a", "a..b/c",
     f"{'a.' * 127}a/team", "a\n"],
)  # fmt: skip
def test_nothing_else_is_a_key(key: str) -> None:
    assert not is_valid(labels.LabelKey, key)


@pytest.mark.parametrize("value", ["", "a", "A.b-c_9", LONG])
def test_a_value_of_a_label_is_a_name_or_nothing(value: str) -> None:
    assert is_valid(labels.LabelValue, value)


@pytest.mark.parametrize("value", ["-", "a ", "a/b", LONG + "a", "a\n"])
def test_nothing_else_is_a_value(value: str) -> None:
    assert not is_valid(labels.LabelValue, value)


def test_a_variable_does_not_begin_with_a_digit() -> None:
    assert all(is_valid(labels.VariableName, name) for name in ("LOG", "_x", "a.b-c"))
    assert not any(is_valid(labels.VariableName, name) for name in ("", "1A", "A=B", "A B"))
    assert is_valid(labels.VariableValue, "any text\n")
    assert not is_valid(labels.VariableValue, "\0")


def test_an_object_is_named_like_a_domain() -> None:
    assert all(is_valid(labels.ObjectName, name) for name in ("demo", "a.b-1"))
    assert not any(is_valid(labels.ObjectName, name) for name in ("", "Demo", "a_b", "a."))


@pytest.mark.parametrize("text", ["{{ project }}", "a-{{ domain }}.{{ execution }}", "a"])
def test_a_label_of_the_settings_may_name_what_an_execution_is_of(text: str) -> None:
    assert is_valid(labels.LabelTemplate, text)


@pytest.mark.parametrize("text", ["{{project}}", "{{ team }}", "-{{ project }}", "{{ project }} a"])
def test_but_for_the_names_it_is_held_to_the_grammar(text: str) -> None:
    assert not is_valid(labels.LabelTemplate, text)
