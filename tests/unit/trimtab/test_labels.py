"""Labels, annotations, variables and object names obey the grammars of Kubernetes."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from trimtab import labels

LONG = "a" * 63


def is_valid(text_type: Any, text: str) -> bool:
    try:
        return bool(TypeAdapter(text_type).validate_python(text) == text)
    except ValidationError:
        return False


@pytest.mark.parametrize(
    "key", ["team", "a", "A.b-c_9", LONG, "example.com/team", f"{'a.' * 126}a/team"]
)
def test_the_key_of_a_label_is_a_name_with_an_optional_domain_before_it(key: str) -> None:
    assert is_valid(labels.LabelKey, key)


@pytest.mark.parametrize(
    "key",
    ["", "-a", "a-", "a b", "ä", LONG + "a", "/a", "a/", "a/b/c", "Example.com/a", "a..b/c",
     f"{'a.' * 127}a/team", "a\n"],
)  # fmt: skip
def test_other_text_is_not_the_key_of_a_label(key: str) -> None:
    assert not is_valid(labels.LabelKey, key)


@pytest.mark.parametrize("value", ["", "a", "A.b-c_9", LONG])
def test_the_value_of_a_label_is_a_name_or_empty(value: str) -> None:
    assert is_valid(labels.LabelValue, value)


@pytest.mark.parametrize("value", ["-", "a ", "a/b", LONG + "a", "a\n"])
def test_other_text_is_not_the_value_of_a_label(value: str) -> None:
    assert not is_valid(labels.LabelValue, value)


def test_a_variable_does_not_begin_with_a_digit() -> None:
    assert all(is_valid(labels.VariableName, name) for name in ("LOG", "_x", "a.b-c"))
    assert not any(is_valid(labels.VariableName, name) for name in ("", "1A", "A=B", "A B"))
    assert is_valid(labels.VariableValue, "any text\n")
    assert not is_valid(labels.VariableValue, "\0")


def test_the_name_of_an_object_is_a_domain_name() -> None:
    assert all(is_valid(labels.ObjectName, name) for name in ("demo", "a.b-1"))
    assert not any(is_valid(labels.ObjectName, name) for name in ("", "Demo", "a_b", "a."))


@pytest.mark.parametrize("text", ["{{ project }}", "a-{{ domain }}.{{ execution }}", "a"])
def test_a_label_may_contain_placeholders(text: str) -> None:
    assert is_valid(labels.LabelTemplate, text)


@pytest.mark.parametrize("text", ["{{project}}", "{{ team }}", "-{{ project }}", "{{ project }} a"])
def test_a_label_with_placeholders_obeys_the_grammar_once_they_are_filled(text: str) -> None:
    assert not is_valid(labels.LabelTemplate, text)
