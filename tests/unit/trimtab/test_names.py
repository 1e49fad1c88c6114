"""Suggestions for misspelt names: few, near, and the same text wherever a name is not found."""

import heapq
from collections.abc import Callable, Iterable
from types import SimpleNamespace

import pytest

from trimtab import names
from trimtab.errors import NotFound

MANY = [f"team-{number:02}" for number in range(12)]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("flytesnaks", ["flytesnacks"]),
        ("lytesnacks", ["flytesnacks"]),
        ("FlyteSnacks", ["flytesnacks"]),
        ("flyte-snacks", ["flytesnacks"]),
        ("flytesnacks-2", ["flytesnacks"]),
        ("nope", []),
        ("", []),
    ],
)
def test_a_misspelt_name_has_the_one_it_stands_for(name: str, near: list[str]) -> None:
    assert names.nearest(name, ["shop", "flytesnacks", *MANY]) == near


def test_few_of_many_names_are_suggested() -> None:
    known = [f"project-{number:05}" for number in range(10_000)]
    near = names.nearest("projct-0123", known)
    assert [name.endswith("123") for name in near] == [True] * 3
    assert names.nearest("project-00123", known)[0] == "project-00123"


@pytest.mark.parametrize("wrong", ["", "x" * 200, "w" * 195 + "0012x", "w" * 100])
def test_of_very_many_long_names_few_are_compared(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []

    def nlargest(count: int, known: Iterable[str], key: Callable[[str], int]) -> list[str]:
        compared.extend(known)
        return heapq.nlargest(count, compared, key)

    monkeypatch.setattr(names, "heapq", SimpleNamespace(nlargest=nlargest))
    names.nearest(wrong, [f"{'w' * 195}{number:05}" for number in range(20_000)])
    assert sum(map(len, compared)) < 200_000


def test_a_long_text_is_no_misspelt_name_and_is_not_compared() -> None:
    assert names.nearest("x" * 1001, ["x" * 1000]) == []


def test_a_name_with_one_mistake_is_found_among_very_many() -> None:
    known = [f"{prefix}-{number:05}" for prefix in ("team", "shop") for number in range(20_000)]
    assert names.nearest("Taem-01234", known)[0] == "team-01234"
    assert names.nearest("tem-01234", known)[0] == "team-01234"
    assert names.nearest("shop-0123x", known)[0].startswith("shop-0123")


def test_many_names_are_counted_where_one_is_alike() -> None:
    error = NotFound.among("project", "flytesnaks", ["flytesnacks", *MANY])
    hint = "did you mean 'flytesnacks'; there are 13 projects"
    assert str(error) == f"project 'flytesnaks' does not exist; {hint}"
    assert error.known == "flytesnacks"


def test_versions_of_a_workflow_are_counted_as_such() -> None:
    error = NotFound.among("version of workflow 'job'", "team-1", MANY)
    assert str(error).endswith("; there are 12 versions of workflow 'job'")


def test_few_names_are_all_listed() -> None:
    error = NotFound.among("domain", "prodution", ["production", "staging"])
    hint = "did you mean 'production'; there are: production, staging"
    assert str(error) == f"domain 'prodution' does not exist; {hint}"
    assert error.known == "production, staging"


def test_where_no_name_is_alike_some_are_listed() -> None:
    error = NotFound.among("project", "nope", MANY)
    assert str(error).endswith("; there are: " + ", ".join(MANY[:10]) + " and 2 more")
    assert str(NotFound.among("project", "nope", [])) == "project 'nope' does not exist"
