"""Texts that are written hold no control characters, in whatever field they are."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trimtab import kinds, texts
from trimtab.errors import Invalid
from trimtab.kinds import Kind
from trimtab.levels import PLATFORM

WIRE = Path(__file__).parent / "wire"
EVERY_KIND = pytest.mark.parametrize("kind", kinds.registered().values(), ids=lambda k: k.name)
MULTILINE = {
    "cluster_resource": {"attributes"},
    "workflow_execution_config": {"annotations", "envs", "execution_env_assignments"},
}
"""Top-level fields of which some text may have line breaks."""


def variants(value: Any, inserted: str) -> Iterator[tuple[str, Any]]:
    """Yield copies of a JSON value with the characters in one text or key, and the path of it."""
    match value:
        case str():
            yield "", f"{value[:1]}{inserted}{value[1:]}"
        case dict():
            for name, item in value.items():
                rest = {other: one for other, one in value.items() if other != name}
                yield f"{name} as key", rest | {f"{name}{inserted}": item}
                for path, changed in variants(item, inserted):
                    yield f"{name}.{path}", rest | {name: changed}
        case list():
            for index, item in enumerate(value):
                for path, changed in variants(item, inserted):
                    yield f"{index}.{path}", [*value[:index], changed, *value[index + 1 :]]


def documents(kind: Kind, inserted: str) -> Iterator[tuple[str, dict[str, Any]]]:
    golden = json.loads((WIRE / f"record_changed.{kind.name}.json").read_text())["document"]
    return variants(golden, inserted)


def is_accepted(kind: Kind, document: dict[str, Any]) -> bool:
    try:
        kind.parse(document, PLATFORM)
    except Invalid:
        return False
    return True


@EVERY_KIND
@pytest.mark.parametrize("character", ["\0", "\x1b", "\r", "\x7f", "\x9b", "\ud800"])
def test_no_text_or_key_of_a_kind_may_hold_a_control_character(kind: Kind, character: str) -> None:
    assert not [path for path, each in documents(kind, character) if is_accepted(kind, each)]


@EVERY_KIND
@pytest.mark.parametrize("character", ["\n", "\t", "\u202e", "\u2067"])
def test_only_texts_of_several_lines_may_hold_what_changes_lines_or_direction(
    kind: Kind, character: str
) -> None:
    accepted = {
        path.split(".")[0] for path, each in documents(kind, character) if is_accepted(kind, each)
    }
    assert accepted == MULTILINE.get(kind.name, set())


@EVERY_KIND
def test_what_an_earlier_release_has_stored_stays_readable(kind: Kind) -> None:
    readable = []
    for path, document in documents(kind, "\x1b"):
        try:
            kind.read(document, PLATFORM)
        except Invalid:
            continue  # The grammar of the field does not allow it either.
        readable.append(path)
        with pytest.raises(Invalid, match=r"text without U\+001B"):
            kind.parse(document, PLATFORM)
    has_free_text = kind.name not in ("task_resource", "quality_of_service", "workflow_priority")
    assert bool(readable) is has_free_text


def test_a_wrong_character_is_named_with_its_field_and_what_is_allowed() -> None:
    with pytest.raises(Invalid) as refused:
        texts.check({"tags": ["a", "b\x1b[2J"]})
    assert (refused.value.path, refused.value.value) == ("tags.1", "\x1b")
    assert refused.value.allowed == (
        "text without U+001B; no control character, line break or character that changes the "
        "direction"
    )
    with pytest.raises(Invalid, match=r"without U\+000D; .* only line breaks \(U\+000A\) and tabs"):
        texts.check("a\r\nb", multiline=True)


def test_a_wrong_character_of_a_key_is_escaped_in_the_path() -> None:
    with pytest.raises(Invalid) as refused:
        texts.check({"labels": {"a\x1b\u202e": "b"}})
    assert refused.value.path == "labels.a\\x1b\\u202e"


@pytest.mark.parametrize("text", ["", "é ü 数 🚀", "a\u200eb\u200f"])
def test_other_characters_are_allowed(text: str) -> None:
    texts.check({"name": text})
