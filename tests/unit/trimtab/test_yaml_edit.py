"""Changes of one value in a YAML text."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trimtab import yaml_texts
from trimtab.cli.yaml_edit import with_value

TEXT = """\
# Ours.
server: https://one.example  # the first
contexts:
  # Tests run here.
  staging:
    server: https://two.example
  production: {server: "https://three.example"}
  # The end.

current_context: staging  # for now
"""


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        (["current_context"], "production", "staging  # for", "production  # for"),
        (["project"], "shop", "# for now\n", "# for now\nproject: shop\n"),
        (
            ["contexts", "staging"],
            {"server": "x", "project": "p"},
            "server: https://two.example",
            "server: x\n    project: p",
        ),
        (
            ["contexts", "new"],
            {"domain": "d"},
            '"https://three.example"}\n',
            '"https://three.example"}\n  new:\n    domain: d\n',
        ),
    ],
)
def test_only_the_value_changes(path: list[str], value: object, old: str, new: str) -> None:
    assert with_value(TEXT, path, value) == TEXT.replace(old, new)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "contexts:\n  a:\n    b: c\n"),
        ("# Nothing yet.", "# Nothing yet.\ncontexts:\n  a:\n    b: c\n"),
        ("server: x", "server: x\ncontexts:\n  a:\n    b: c\n"),
        ("contexts:\nserver: x\n", "contexts:\n  a:\n    b: c\nserver: x\n"),
        ("{server: x}\n", "server: x\ncontexts:\n  a:\n    b: c\n"),
        ("contexts: {d: {e: f}} # g\n", "contexts:\n  d:\n    e: f\n  a:\n    b: c # g\n"),
    ],
)
def test_a_value_is_added(text: str, expected: str) -> None:
    assert with_value(text, ["contexts", "a"], {"b": "c"}) == expected


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=5)
CONTENTS = st.dictionaries(NAMES, NAMES | st.dictionaries(NAMES, NAMES, max_size=3), max_size=3)


@given(CONTENTS, NAMES, NAMES, st.dictionaries(NAMES, NAMES, max_size=2), st.booleans())
def test_the_text_always_has_the_value(
    content: dict[str, object], key: str, name: str, value: dict[str, str], is_flow: bool
) -> None:
    content = {**content, key: {}} if isinstance(content.get(key), str) else content
    # PyYAML's own dumper leaves 0E0 without quotes, which is a number of YAML.
    text = yaml.dump(content, Dumper=yaml_texts.Dumper, default_flow_style=is_flow)
    inner = content.get(key, {})
    assert isinstance(inner, dict)
    expected = {**content, key: {**inner, name: value}}
    assert yaml_texts.parse_one("", with_value(text, [key, name], value)) == expected
