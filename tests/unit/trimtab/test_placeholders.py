"""Placeholders of settings: those that are filled, mistakes, and braces for other systems."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import kinds, placeholders
from trimtab.errors import Invalid
from trimtab.levels import PLATFORM

VALUES = {name: f"<{name}>" for name in placeholders.NAMES}
CONFIG = kinds.by_name("workflow_execution_config")


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{{ project }}-{{ domain }}", "<project>-<domain>"),
        ("s3://b/{{ workflow }}/{{ launch_plan }}/{{ execution }}", None),
        ("{{{ project }}}", "{<project>}"),
        ("{{{{ ds }}}} {{{{project}}}}", "{{ ds }} {{project}}"),
        ("{{{{{ ds }}}}}", "{{{ ds }}}"),
    ],
)
def test_a_placeholder_is_filled_and_a_word_in_four_braces_has_two_afterwards(
    text: str, filled: str | None
) -> None:
    assert list(placeholders.mistakes(text)) == []
    expected = filled or "s3://b/<workflow>/<launch_plan>/<execution>"
    assert placeholders.fill(text, VALUES) == expected


def test_filled_text_is_not_filled_again() -> None:
    names = dict.fromkeys(placeholders.NAMES, "{{ project }}")
    assert placeholders.fill("{{ domain }}", names) == "{{ project }}"


@pytest.mark.parametrize(
    "text",
    [
        "{{ .Values.x }}",
        "{{.inputs.x}}",
        "{{ ds | upper }}",
        "{{ range $x }}",
        '{"a": {"b": {"c": {"d": {}}}}}',
        "{ project }",
        "{{}}",
        "{{ 1 }}",
    ],
)
def test_texts_in_braces_that_are_no_word_are_left_alone(text: str) -> None:
    placeholders.check(text)
    assert placeholders.fill(text, VALUES) == text


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("{{ projct }}", r"did you mean \{\{ project \}\}\?"),
        ("a {{execution}}", r"did you mean \{\{ execution \}\}\?"),
        ("{{  domain\n}}", r"did you mean \{\{ domain \}\}"),
        ("{{ launch-plan }}", r"did you mean \{\{ launch_plan \}\}"),
        ("{{{{ ds }}}} {{ ds }}", r"not \{\{ ds \}\}; for another system, write \{\{\{\{ ds"),
    ],
)
def test_a_word_in_braces_that_no_execution_can_fill_is_a_mistake(
    text: str, suggestion: str
) -> None:
    with pytest.raises(ValueError, match=suggestion):
        placeholders.check(text)
    [mistake] = placeholders.mistakes(text)
    assert mistake in placeholders.fill(text, VALUES)


@given(st.text(alphabet="{} ab\n.", max_size=14))
def test_what_is_accepted_is_the_same_after_an_escape_of_each_word(text: str) -> None:
    for mistake in placeholders.mistakes(text):
        escaped = placeholders.fill(f"{{{{{mistake}}}}}", VALUES)
        assert escaped == mistake
    assert placeholders.fill(text, VALUES) == text or "{{{{" in text


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"annotations": {"a": "1", "example.com/b": "{{ projct }}"}}, "annotations.example.com/b"),
        ({"envs": {"RUN": "{{execution}}"}}, "envs.RUN"),
        (
            {"raw_output_data_config": {"output_location_prefix": "s3://b/{{ user }}"}},
            "raw_output_data_config.output_location_prefix",
        ),
        ({"labels": {"run": "{{execution}}"}}, "labels.run"),
    ],
)
def test_a_record_with_a_placeholder_that_no_execution_can_fill_is_refused(
    document: dict[str, object], path: str
) -> None:
    with pytest.raises(Invalid, match="with one blank on each side") as refused:
        CONFIG.parse(document, PLATFORM)
    assert refused.value.path == path


def test_a_stored_record_with_such_a_placeholder_stays_readable() -> None:
    document = {"annotations": {"a": "{{ projct }}"}, "envs": {"RUN": "{{execution}}"}}
    assert CONFIG.to_document(CONFIG.read(document, PLATFORM)) == document
