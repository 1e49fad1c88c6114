"""No value changes the structure of an object, whatever its source is."""

from collections.abc import Iterator

import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import JsonValue

from trimtab.levels import Scope
from trimtab.templates.dumping import dump
from trimtab.templates.rendering import Source, render
from trimtab.templates.values import ConfiguredValues, TemplateValue

TEMPLATE = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
  labels: &labels {team: "{{ a }}", "{{ b }}-key": x}
  annotations:
    <<: *labels
    own: {{ c }}
data:
  plain: {{ a }}
  part: before {{ b }} after
  both: {{ a }}{{ c }}
  literal: |
    {{ a }}
    {{ b }}
  folded: >
    {{ c }}
  list: [{{ a }}, '{{ b }}', "{{ c }}"]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: second}
"""
HOSTILE = [
    "\n  injected: true",
    "x\n---\nkind: Pod",
    "}}",
    "{{ a }}",
    "{{ {{ a }} }}",
    "{{ namespace }}",
    "&a *a",
    "*labels",
    "!!python/object/apply:os.system [x]",
    "!!binary aGk=",
    "{a: 1}",
    "[1, 2]",
    "- x",
    "? x\n: y",
    "<<",
    "<<: *labels",
    "| ",
    ">-\n",
    "'",
    '"',
    "# x",
    ": ",
    "%YAML 1.1",
    "\x00\x07\x1b\x85\u2028\ufeff",
    "\ue000\ue0010\ue000",
    "\ud7ff\U0010ffff",
]
values = st.sampled_from(HOSTILE) | st.text() | st.lists(st.sampled_from(HOSTILE)).map("".join)


def rendered(a: str, b: str, c: str) -> list[JsonValue]:
    configured = ConfiguredValues(
        {"c": TemplateValue(c)}, {"staging": {"b": TemplateValue(b, is_hidden=True)}}
    )
    target = {Scope("staging", "shop"): {"a": a}}
    found = render([Source("a.yaml", TEMPLATE)], "shop-staging", target, configured)
    # As kubectl reads what is written.
    return [body for each in found for body in yaml.safe_load_all(dump(each))]


def shape(value: JsonValue) -> Iterator[object]:
    """Yield the structure: the lengths of lists and mappings, and where they are."""
    match value:
        case dict():
            yield len(value)
            for inner in value.values():
                yield tuple(shape(inner))
        case list():
            yield [tuple(shape(inner)) for inner in value]
        case _:
            yield "scalar"


BENIGN = [tuple(shape(body)) for body in rendered("x", "y", "z")]


# JSON has no infinite number, and no NaN: such a value is refused.
@given(values, values, values)
@example("\n  injected: true", "x\n---\nkind: Pod", "*labels")
def test_no_value_changes_the_structure(a: str, b: str, c: str) -> None:
    assume(not any("inf" in text.lower() or "nan" in text.lower() for text in (a, b, c, a + c)))
    found = rendered(a, b, c)
    assert [tuple(shape(body)) for body in found] == BENIGN
    assert [body["metadata"]["name"] for body in found] == ["settings", "second"]  # type: ignore[index, call-overload]
    assert {body["kind"] for body in found} == {"ConfigMap"}  # type: ignore[index, call-overload]


def test_a_value_of_three_megabytes_is_rendered() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: '{{ a }}'}"
    value = "x: \n" * 750_000
    [found] = render([Source("a.yaml", text)], "ns", {Scope("staging", "shop"): {"a": value}})
    assert found.body["data"] == {"a": value}
