"""The precedence of the sources of values, their placeholders, and sources without a value."""

import pytest

from trimtab.errors import Rejected
from trimtab.levels import Scope
from trimtab.templates.rendering import Source, render
from trimtab.templates.values import ConfiguredValues, TemplateValue, Values, values_of

TARGET = Scope("staging", "shop")
HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


def literal(**texts: str) -> Values:
    return {name: TemplateValue(text) for name, text in texts.items()}


def texts_of(
    template_data: Values, staging: Values, defaults: dict[str, str], **attributes: str
) -> dict[str, str]:
    configured = ConfiguredValues(template_data, {"staging": staging, "other": literal(a="no")})
    found = values_of("shop-staging", TARGET, attributes, configured, defaults)
    return {name: value.text for name, value in found.items() if name not in ("namespace",)}


def test_the_first_source_that_has_a_name_wins() -> None:
    defaults = dict.fromkeys("abcd", "default")
    found = texts_of(
        literal(a="data", b="data", c="data"),
        literal(a="custom", b="custom"),
        defaults,
        a="attribute",
    )
    assert [found[name] for name in "abcd"] == ["attribute", "custom", "data", "default"]


def test_the_names_of_the_system_are_never_overridden() -> None:
    own = {"namespace": "x", "project": "x", "domain": "x"}
    found = values_of(
        "shop-staging",
        TARGET,
        own,
        ConfiguredValues(literal(**own), {"staging": literal(**own)}),
        own,
    )
    assert {name: found[name].text for name in own} == {
        "namespace": "shop-staging",
        "project": "shop",
        "domain": "staging",
    }


def test_a_value_may_contain_placeholders_of_later_groups_once() -> None:
    found = texts_of(
        literal(team="{{ project }}-core", raw="{{ team }}", code="{{ cpu }}"),
        literal(owner="{{ team }}", loop="{{ owner }}"),
        {"role": "arn:{{ domain }}"},
        cpu="{{ owner }} {{ code }}",
        both="{{ role }}/{{ namespace }}/{{ unknown }}",
    )
    assert found["team"] == "shop-core"
    assert found["owner"] == "shop-core"
    assert found["both"] == "arn:staging/shop-staging/{{ unknown }}"
    assert found["raw"] == "{{ team }}"  # of the same group
    assert found["loop"] == "{{ owner }}"  # of the same group
    assert found["cpu"] == "{{ owner }} {{ cpu }}"  # nothing is expanded further


def test_a_source_without_a_value_fails_only_what_uses_it() -> None:
    configured = ConfiguredValues({"bad": TemplateValue("", "templateData.bad: TOKEN is not set")})

    def rendered(data: str, **attributes: str) -> object:
        source = Source("a.yaml", f"{HEAD}data: {{a: '{data}'}}")
        [found] = render([source], "shop-staging", {TARGET: attributes}, configured)
        return found.body["data"]

    assert rendered("x") == {"a": "x"}
    assert rendered("{{ bad }}", bad="an attribute wins") == {"a": "an attribute wins"}
    assert rendered("x", unused="{{ bad }}") == {"a": "x"}
    for data, attributes in (("{{ bad }}", {}), ("{{ own }}", {"own": "{{ bad }}"})):
        with pytest.raises(Rejected, match=r"line 4: \{\{ .* \}\}: templateData.bad: TOKEN is not"):
            rendered(data, **attributes)


def test_what_contains_a_hidden_value_is_hidden() -> None:
    data = {"key": TemplateValue("secret", is_hidden=True)}
    found = values_of("n", TARGET, {"a": "{{ key }}", "b": "x"}, ConfiguredValues(data), {})
    assert [found[name].is_hidden for name in ("a", "b")] == [True, False]


def test_a_value_that_placeholders_make_too_long_has_a_problem() -> None:
    attributes = {"a": "{{ large }}" * 1000}
    found = values_of("n", TARGET, attributes, ConfiguredValues(literal(large="x" * 10_000)), {})
    assert "the value of a has more than 4,194,304 characters" in found["a"].problem
