"""The wording check finds the habits that it lists, and nothing in quoted names."""

import pytest

from tools import wording


def reports(source: str) -> list[str]:
    """Return the problems of a Python source, without the reasons."""
    texts = [*wording.python_texts(source), *wording.names(source)]
    found = [problem for text in texts for _, problem in wording.problems(text)]
    return [problem.partition(":")[0] for problem in found]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('"""Of one cohort."""', ['opens with "Of"']),
        ('def f():\n    """What it returns."""', ['opens with "What"']),
        ("# whoever holds the lease", ['"whoever"']),
        ('raise ValueError("nobody has set it")', ['"nobody"']),
        ("def test_a_pool_says_why(): ...", ['"says"']),
        ("class Told: ...", ['"Told"']),
        ("def f(ask): ...", ['"ask"']),
        ("x = 1\nx.heard = 2", ['"heard"']),
    ],
)
def test_each_habit_is_reported(source: str, found: list[str]) -> None:
    assert reports(source) == found


@pytest.mark.parametrize(
    "source",
    [
        '"""Return the field `says`, and ``ask`` of an old release."""',
        '"""Offices, and the whatever-parser."""',
        'KEY = "asks"',
        "says: str",
        "# the queue position of a waiter",
    ],
)
def test_plain_prose_and_quoted_names_are_not_reported(source: str) -> None:
    assert reports(source) == []


def test_a_page_is_checked_outside_its_code_blocks() -> None:
    page = "It says so.\n```\nasks\n```\n"
    texts = wording.page_texts(page)
    assert [line for text in texts for line, _ in wording.problems(text)] == [1]


def test_only_the_comments_of_a_script_are_checked() -> None:
    texts = wording.lua_texts("local asks = 1\n-- nobody waits\n")
    assert [line for text in texts for line, _ in wording.problems(text)] == [2]
