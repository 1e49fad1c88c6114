"""Templates declare the types and defaults of their variables."""

import pytest

from trimtab.errors import Rejected
from trimtab.levels import Scope
from trimtab.templates.rendering import Source, render
from trimtab.templates.values import ConfiguredValues, TemplateValue
from trimtab.templates.variables import Variable, declared_in

HEADER = """\
# Quotas of a namespace.
---
# trimtab:variables
# cpu:
#   type: quantity
#   default: "4"
#   help: CPU of all pods.
# tier: {type: enum, allowed: [small, large]}
#
# count: {type: integer}
"""
OBJECT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"
TARGET = Scope("staging", "shop")


def rendered(*texts: str, **attributes: str) -> list[object]:
    sources = [Source(f"{number}.yaml", text) for number, text in enumerate(texts)]
    return [found.body.get("data") for found in render(sources, "ns", {TARGET: attributes})]


def test_the_first_comment_of_a_file_declares_variables() -> None:
    assert declared_in("a.yaml", HEADER + OBJECT) == {
        "cpu": Variable(type="quantity", default="4", help="CPU of all pods."),
        "tier": Variable(type="enum", allowed=("small", "large")),
        "count": Variable(type="integer"),
    }


@pytest.mark.parametrize(
    "text", [OBJECT, OBJECT + HEADER, "a: |\n  # trimtab:variables\n  # x: {}"]
)
def test_another_comment_declares_nothing(text: str) -> None:
    assert declared_in("a.yaml", text) == {}


def test_a_default_is_used_in_all_files_where_no_source_has_a_value() -> None:
    other = OBJECT.replace("settings", "other") + "data: {a: {{ cpu }}}"
    texts = (HEADER + OBJECT + "data: {b: '{{ cpu }}'}", other)
    assert rendered(*texts) == [{"b": "4"}, {"a": 4}]
    assert rendered(*texts, cpu="500m") == [{"b": "500m"}, {"a": "500m"}]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("cpu", "lots", "0.yaml: variable cpu is 'lots'; allowed: a quantity: a number, then"),
        ("tier", "medium", "variable tier is 'medium'; allowed: one of small, large"),
        ("count", "1.5", "variable count is '1.5'; allowed: an integer"),
    ],
)
def test_a_value_that_its_type_does_not_allow_is_an_error(
    name: str, value: str, reason: str
) -> None:
    with pytest.raises(Rejected, match=reason):
        rendered(HEADER + OBJECT, **{name: value})


def test_an_error_does_not_show_the_value_of_a_file() -> None:
    configured = ConfiguredValues({"count": TemplateValue("hunter2", is_hidden=True)})
    with pytest.raises(Rejected, match=r"variable count is \(not shown\)"):
        render([Source("a.yaml", HEADER + OBJECT)], "ns", {TARGET: {}}, configured)


@pytest.mark.parametrize(
    ("variable", "good", "bad"),
    [
        (Variable(), ["", "anything"], []),
        (Variable(type="integer"), ["5", "-1", " 5\n"], ["", "5.0", "1e3", "x"]),
        (Variable(type="quantity"), ["5Gi", "0.5", "1e3"], ["", "5GB", "x"]),
        (Variable(type="boolean"), ["true", "false"], ["", "yes", "True"]),
        (Variable(type="enum", allowed=("a", "b c")), ["a", "b c"], ["", "A", "c"]),
    ],
)
def test_types_allow(variable: Variable, good: list[str], bad: list[str]) -> None:
    assert [text for text in (*good, *bad) if variable.accepts(text)] == good


@pytest.mark.parametrize(
    ("declaration", "reason"),
    [
        ("cpu: {type: number}", r"a.yaml: variable cpu.type: 'number' is not valid"),
        ("cpu: {type: integer, default: x}", r"variable cpu: .* allowed: as default an integer"),
        ("cpu: {type: enum}", r"variable cpu: .* allowed: `allowed` with the type enum"),
        ("cpu: {kind: integer}", r"variable cpu.kind: .* one of type, default"),
        ("cpu: integer", r"variable cpu: 'integer' is not valid; allowed: a mapping such as"),
        ("cpu: {default: 4}", r"variable cpu.default: 4 is not valid; allowed: a string"),
        ("project: {}", r"'project' is not valid; allowed: a name that a placeholder can have"),
        ("a b: {}", r"'a b' is not valid"),
        ("[cpu]", r"allowed: a mapping of names to declarations"),
        ("a: {help: " + "x" * 70_000 + "}", r"declares variables in more than 65,536 characters"),
        ("cpu: [", r"a.yaml: trimtab:variables is not YAML"),
    ],
)
def test_a_wrong_declaration_is_an_error(declaration: str, reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        declared_in("a.yaml", f"# trimtab:variables\n# {declaration}\n")


def test_two_files_cannot_declare_a_variable_differently() -> None:
    text = "# trimtab:variables\n# a: {{type: {}}}\n" + OBJECT.replace("{", "{{").replace("}", "}}")
    with pytest.raises(Rejected, match=r"1.yaml: variable a is declared differently in 0.yaml"):
        rendered(text.format("string"), text.format("integer"))
