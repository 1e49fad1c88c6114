"""Names that a misspelt one may stand for."""

import pytest

from trimtab.models import nearest_names


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("domians", ["domains"]),
        ("Records", ["records"]),
        ("cluster", ["clusters", "cluster_name"]),
        ("zzz", []),
        ("", []),
    ],
)
def test_the_nearest_names_come_first_in_any_letter_case(name: str, nearest: list[str]) -> None:
    known = ["records", "domains", "clusters", "cluster_name", "pools"]
    assert nearest_names(name, known) == nearest
