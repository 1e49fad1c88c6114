"""docs/errors.md has one row for each code, and every error of the API has its code.

``pytest --update-golden tests/unit/test_errors_page.py`` writes it after a change.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import errors as errors_page
from trimtab import errors
from trimtab.errors import Code, TrimtabError
from trimtab_admin.api import problems

PAGE = Path(__file__).parents[2] / "docs/errors.md"


def classes(base: type[TrimtabError] = TrimtabError) -> Iterator[type[TrimtabError]]:
    """Yield the classes of `trimtab.errors`."""
    for error in base.__subclasses__():
        if error.__module__ == errors.__name__:
            yield from (error, *classes(error))


def test_the_page_is_made_from_the_codes(update_golden: bool) -> None:
    expected = errors_page.page()
    if update_golden:
        PAGE.write_text(expected)
    assert PAGE.read_text() == expected


@pytest.mark.parametrize("code", Code, ids=lambda code: code.name)
def test_each_code_has_sentences_for_when_it_comes_and_what_to_do(code: Code) -> None:
    assert code.when.endswith(".")
    assert code.remedy.endswith(".")


def test_no_error_of_the_api_hides_the_code_of_another() -> None:
    assert {error.code for error in classes()} <= set(Code)
    for error in classes():
        instance = error.__new__(error)
        instance.args = ("x",)
        instance.__dict__ |= dict.fromkeys(("path", "value", "allowed", "name", "known"), "x")
        instance.__dict__ |= dict.fromkeys(("object_type", "hint", "granted"), "x")
        instance.__dict__ |= dict.fromkeys(("given", "stored"), 1)
        assert problems.of_error(instance).code == error.code.name


@pytest.mark.parametrize(("status", "code"), [(400, "REJECTED"), (500, "INTERNAL"), (415, None)])
def test_a_status_alone_has_its_most_general_code(status: int, code: str | None) -> None:
    assert problems.of_status(status, "x").code == code
