"""A manifest that is written is read back unchanged, by the rules of kubectl."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from trimtab.errors import Invalid
from trimtab.templates import dumping
from trimtab.templates.dumping import dump
from trimtab.templates.manifests import Manifest
from trimtab.templates.parsing import parse

# Braces could form a placeholder in the text that is read back.
_text = st.text().filter(lambda text: "{{" not in text) | st.sampled_from(
    ["y", "1e3", "0o10", "08", "1:30", "2024-01-01", "<<", "=", "\x85", "\u2028", " \n a\n\n"]
)
_simple = st.text(st.characters(min_codepoint=32, max_codepoint=126)) | st.sampled_from(
    [
        "yes",
        "null",
        "1e3",
        "08",
        "1:30",
        "2024-01-01",
        "<<",
        "=",
        "- a",
        "? a",
        "a: b",
        "a #b",
        "---",
    ]
)


def _trees(texts: st.SearchStrategy[str]) -> st.SearchStrategy[JsonValue]:
    return st.recursive(
        texts | st.integers(-(2**63), 2**64 - 1) | st.booleans() | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=8,
    )


_values = _trees(_text)


@given(st.dictionaries(_text, _values, min_size=1))
@example({"long": "word " * 100, "tab": "\ta", "block": "#a\n b\n", "number": 1e22})
def test_a_manifest_survives_being_written(body: dict[str, JsonValue]) -> None:
    written = dump(Manifest("", "ConfigMap", "a", body)).decode()
    assert list(parse("a.yaml", written).objects({})) == [body]


@settings(max_examples=25)
@given(st.dictionaries(_simple, _trees(_simple), min_size=1))
@example({"k" * 200: "v" * 200, "empty": [{}, [], "", {"": 0}], "numbers": [1e22, 1.5, 1e-7]})
def test_libyaml_writes_the_same(body: dict[str, JsonValue]) -> None:
    manifest = Manifest("", "ConfigMap", "a", body)
    written = dump(manifest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dumping, "_FastDumper", dumping._Dumper)
        assert dump(manifest) == written


def test_text_of_several_lines_is_written_as_a_readable_block() -> None:
    written = dump(Manifest("", "ConfigMap", "a", {"data": {"script": "set -e\nrun\n"}}))
    assert written == b"data:\n  script: |\n    set -e\n    run\n"


def test_a_manifest_that_is_nested_too_deeply_is_rejected() -> None:
    body: dict[str, object] = {}
    for _ in range(1000):
        body = {"a": body}
    with pytest.raises(Invalid, match="ConfigMap/deep"):
        dump(Manifest("", "ConfigMap", "deep", body))  # type: ignore[arg-type]
