"""Values are filled into a template without changing its structure."""

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from trimtab.templates import parsing
from trimtab.templates.parsing import BLANKS, BadTemplate, Unresolved, parse

EVERYWHERE = """\
# {{ unset }} in a comment is no placeholder
plain: is {{ v }}
double: "{{ v }}"
single: 'a {{ v }} b'
literal: |
  first
  {{ v }}
  last
folded: >-
  {{ v }}
key {{ v }}: key
flow: {list: [one, "{{ v }}", '{{ v }}{{ v }}']}
tagged: !!str {{ v }}
"""


def filled(text: str, **values: str) -> object:
    """Return the only object of a template with these values."""
    [found] = parse("a.yaml", text).objects(values)
    return found


@given(st.text())
@example("x\n  injected: true")
@example("a: b")
@example("'\"}]# &a *a !!int |")
@example("{{ v }}")
@example("\ue0000\ue000")
def test_a_value_fills_its_scalars_and_changes_nothing_else(value: str) -> None:
    assert filled(EVERYWHERE, v=value) == {
        "plain": f"is {value}".rstrip(BLANKS),
        "double": value,
        "single": f"a {value} b",
        "literal": f"first\n{value}\nlast\n",
        "folded": value,
        f"key {value}".rstrip(BLANKS): "key",
        "flow": {"list": ["one", value, value + value]},
        "tagged": value.strip(BLANKS),
    }


@given(st.text().filter(lambda text: text.lstrip("+-").lower() not in {".inf", ".nan"}))
def test_a_lone_placeholder_without_quotes_is_one_scalar(value: str) -> None:
    found = filled("a: {{ v }}\nb: 1", v=value)
    assert isinstance(found, dict)
    assert list(found) == ["a", "b"]
    assert isinstance(found["a"], str | int | float | bool | None)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1000", 1000), ("5Ti", "5Ti"), ("true", True), ("", None), ("0.5", 0.5), ("[1]", "[1]")],
)
def test_a_placeholder_without_quotes_takes_its_type_from_the_value(
    text: str, value: object
) -> None:
    assert filled("a: {{ v }}\nb: '{{ v }}'\nc: |-\n  {{ v }}", v=text) == {
        "a": value,
        "b": text,
        "c": text,
    }


@pytest.mark.parametrize(("text", "value"), [("5\n", 5), (" yes\r\n", True), (" \t", None)])
def test_blanks_around_a_value_without_quotes_are_no_part_of_it(text: str, value: object) -> None:
    assert filled("a: {{ v }}\nb: '{{ v }}'", v=text) == {"a": value, "b": text}


def test_a_scalar_that_is_partly_placeholder_is_typed_as_a_whole() -> None:
    assert filled("a: 80{{ n }}\nb: {{ n }}m\nc: v{{ n }}", n="10") == {
        "a": 8010,
        "b": "10m",
        "c": "v10",
    }


def test_keys_are_text_whatever_they_look_like() -> None:
    assert filled("{{ a }}: 1\non: 2", a="5") == {"5": 1, "on": 2}


def test_a_value_cannot_become_a_merge_key() -> None:
    assert filled("{{ k }}: {a: 1}", k="<<") == {"<<": {"a": 1}}


def test_anchors_and_merge_keys_of_the_template_work() -> None:
    text = "base: &base {a: 1, b: {{ b }}}\nfull:\n  b: 3\n  <<: *base\nagain: *base"
    assert filled(text, b="2") == {
        "base": {"a": 1, "b": 2},
        "full": {"a": 1, "b": 3},
        "again": {"a": 1, "b": 2},
    }


def test_of_several_merged_mappings_the_first_wins() -> None:
    text = "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b]}"
    assert filled(text) == {"a": {"x": 1}, "b": {"x": 2, "y": 2}, "c": {"x": 1, "y": 2}}


def test_every_document_of_a_file_is_rendered_and_empty_ones_are_skipped() -> None:
    text = "# first\n---\nv: {{ v }}\n---\n---\nv: 2\n..."
    assert list(parse("a.yaml", text).objects({"v": "1"})) == [{"v": 1}, {"v": 2}]


@pytest.mark.parametrize(
    "text", ["{{v}}", "{{  v  }}", "{{ .Values.v }}", "{{ $labels.v }}", "{{ a b }}", "{ { v } }"]
)
def test_other_text_in_braces_is_no_placeholder(text: str) -> None:
    assert filled(f"a: '{text}'", v="1") == {"a": text}


def test_tabs_after_a_value_are_ignored() -> None:
    text = "a: {{ v }}\t\nb:\t'x' \t# comment\nc: [1,\t2\t]\nd: |\n  x\t\n"
    assert filled(text, v="1") == {"a": 1, "b": "x", "c": [1, 2], "d": "x\t\n"}
    for indented in ("\ta: b", "a:\n\tb: c", "-\tb"):
        with pytest.raises(BadTemplate, match="cannot start any token"):
            parse("a.yaml", indented)


def test_every_placeholder_without_a_value_is_named() -> None:
    with pytest.raises(Unresolved) as caught:
        filled("a: {{ x }}\n{{ y }}: [{{ v }}, {{ x }}]", v="1")
    assert (caught.value.file, caught.value.lines) == ("a.yaml", {"x": 1, "y": 2})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [1", r"template a.yaml line 1: not YAML: "),
        ("a: 1\nb: {{ v }}: 2", r"line 2: not YAML: mapping values"),
        ("a: {{v}}", r"line 1: .*\{\{ name \}\}, one blank on each side"),
        ("- 1", r"line 1: an object is a mapping"),
        ("just text", r"an object is a mapping"),
        ("# nothing\n---\n", r"template a.yaml: contains no object"),
        ("a: 1\na: 2", r"line 2: the key 'a' occurs twice"),
        ("a: .inf", r"infinite number or NaN"),
        ("a: !!int '5'", r"the tag 'tag:yaml.org,2002:int' is not supported"),
        ("a: !!python/name:os.system x", r"is not supported"),
        ("a: \x00", r"not YAML: .*special characters are not allowed"),
        ('a: "\\UFFFFFFFF"', r"not YAML: "),
        ("[" * 3000, r"values are nested more than 100 levels deep"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
            "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]",
            r"the aliases of a document may stand for at most 10,000 values",
        ),
        ("a: &a [*a]", r"an alias contains itself"),
        ("kind: {{ v }}", r"line 1: kind cannot contain a placeholder"),
        ("a: 1\napiVersion: apps/{{ v }}", r"line 2: apiVersion cannot contain a placeholder"),
        ("a: &a {kind: x{{ v }}}\n<<: [*a]", r"line 1: kind cannot contain a placeholder"),
        ("{{ kind }}: Pod", r"line 1: a placeholder cannot make the key 'kind'"),
        ("a{{ v }}: 1\na{{ v }}: 1", r"line 2: the key 'a\{\{ v \}\}' occurs twice"),
        ("a: *{{ v }}", r"line 1: not YAML: .* found '\{\{'"),
        ("a: &{{ v }} 1", r"line 1: not YAML: .* found '\{\{'"),
        ("a: !<{{ v }}> 1", r"line 1: not YAML: .*"),
        ("".join(map(chr, range(0xE000, 0xF900))), r"every character of private use"),
    ],
)
def test_a_wrong_template_is_rejected_with_its_file_and_reason(text: str, reason: str) -> None:
    with pytest.raises(BadTemplate, match=reason) as caught:
        filled(text, v="1", kind="kind")
    assert "ue000" not in ascii(str(caught.value))
    assert len(str(caught.value)) < 1000


def test_two_keys_that_a_value_makes_equal_are_rejected() -> None:
    with pytest.raises(BadTemplate, match="occurs twice"):
        filled("{{ a }}: 1\n{{ b }}: 2", a="same", b="same")


TEN = "[1,1,1,1,1,1,1,1,1,1]"
BOMBS = {
    "many documents with aliases": ("a: &a " + TEN + "\nb: [" + "*a," * 9 + "]\n---\n") * 20,
    "many values": "a: [" + "[]," * 500 + "]\n",
    "aliases of a long text": "a: &a '" + "x" * 100 + "'\nb: [" + "*a," * 90 + "]\n",
    "aliases of a value": "a: &a '{{ v }}'\nb: [" + "*a," * 90 + "]\n",
    "a value many times": "a: '" + "{{ v }}" * 90 + "'\n",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_objects_that_grow_beyond_their_file_end_in_a_sentence(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsing, "MAX_NODES", 500)
    monkeypatch.setattr(parsing, "MAX_VALUES", 1000)
    monkeypatch.setattr(parsing, "MAX_CHARACTERS", 5000)
    with pytest.raises(BadTemplate, match=r"(at most|more than) [0-9,]+ (values|characters)"):
        list(parse("a.yaml", text).objects({"v": "x" * 100}))


def test_an_error_about_a_long_name_or_value_is_short() -> None:
    for text in ("{{ a }}: 1\n{{ a }}: 2", "a: {{ " + "x" * 600_000 + " }}"):
        with pytest.raises(BadTemplate) as caught:
            filled(text, a="same" * 200_000)
        assert len(str(caught.value)) < 1000


def test_the_kinds_of_all_objects_are_known_without_values() -> None:
    text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ project }}'}\n"
        "---\nkind: Role\napiVersion: rbac.authorization.k8s.io/v1\n---\nkind: Incomplete\n"
    )
    assert parse("t.yaml", text).kinds == {
        ("v1", "ConfigMap"),
        ("rbac.authorization.k8s.io/v1", "Role"),
    }


def test_a_file_is_parsed_once_whether_it_is_right_or_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed = []
    compose = yaml.compose_all

    def counted(text: str, **options: Any) -> Any:
        parsed.append(text)
        return compose(text, **options)

    monkeypatch.setattr(yaml, "compose_all", counted)
    for _ in range(3):
        parse("once.yaml", "right: 1")
        with pytest.raises(BadTemplate, match=r"once.yaml line 1"):
            parse("once.yaml", "wrong: [")
    assert parsed == ["right: 1", "wrong: ["]
