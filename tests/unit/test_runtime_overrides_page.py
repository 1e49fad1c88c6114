"""docs/runtime-overrides.md decides every open question, and names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/runtime-overrides.md").read_text()
ROWS = [
    cells
    for line in PAGE.splitlines()
    if len(cells := [cell.strip() for cell in line.strip("|").split(" | ")]) >= 3
]
DECISIONS = {int(row[0]): row for row in ROWS if row[0].isdecimal()}
REQUIREMENTS = {row[0]: row for row in ROWS if row[0].startswith("RO-")}
TEST = re.compile(r"\btest_\w+")
TESTS = {
    name
    for file in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
}


def test_each_of_the_16_open_questions_is_decided_and_held_by_a_test() -> None:
    assert list(DECISIONS) == list(range(1, 17))
    assert [number for number, row in DECISIONS.items() if not TEST.findall(row[-1])] == []


def test_every_test_that_the_page_names_exists() -> None:
    assert set(TEST.findall(PAGE)) - TESTS == set()


@pytest.mark.parametrize("number", range(1, 15))
def test_every_requirement_has_a_test_with_its_id_that_the_page_names(number: int) -> None:
    found = TEST.findall(REQUIREMENTS[f"RO-{number}"][-1])
    assert found
    assert {name for name in found if name.startswith(f"test_ro_{number}_")} == set(found)
