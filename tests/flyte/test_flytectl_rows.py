"""Scripts for flytectl: what each recorded run of it gave, ``trimtab`` gives too.

docs/flyte-compatibility.md describes the differences that `flytectl_differences` lists.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.flyte.flytectl_differences import DIFFERENCES, Difference
from tests.flyte.flytectl_rows import Outcome, Row, replay, scenarios

PAGE = Path(__file__).parents[2] / "docs" / "flyte-compatibility.md"
SCENARIOS = scenarios()
LISTED = [difference for group in DIFFERENCES.values() for difference in group]
Runs = dict[str, list[tuple[Row, Outcome]]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Run every scenario."""
    with ExitStack() as stopping:
        return {
            name: list(
                zip(rows, replay(rows, tmp_path_factory.mktemp(name), stopping), strict=True)
            )
            for name, rows in SCENARIOS.items()
        }


def differing(row: Row, own: Outcome) -> Iterator[tuple[str, list[Difference]]]:
    """Yield each field that differs, with the listed differences that cover it."""
    recorded, given = row.recorded._asdict(), own._asdict()
    covering = [difference for difference in LISTED if difference.covers(str(row), recorded, given)]
    for name in Outcome._fields:
        if recorded[name] != given[name]:
            yield name, [difference for difference in covering if name in difference.own]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_gives_what_flytectl_gave_or_what_is_listed(runs: Runs, scenario: str) -> None:
    unlisted = [
        f"{row}: {name} {getattr(row.recorded, name)!r} became {getattr(own, name)!r}"
        for row, own in runs[scenario]
        for name, covering in differing(row, own)
        if not covering
    ]
    assert unlisted == []


def test_every_difference_of_the_list_is_one(runs: Runs) -> None:
    found = {
        (id(difference), name)
        for group in runs.values()
        for row, own in group
        for name, covering in differing(row, own)
        for difference in covering
    }
    unused = [(each, name) for each in LISTED for name in each.own if (id(each), name) not in found]
    assert unused == []


def test_every_recorded_run_is_compared(runs: Runs) -> None:
    assert sum(map(len, runs.values())) == 505


@pytest.mark.parametrize("heading", DIFFERENCES)
def test_the_page_describes_the_differences(heading: str) -> None:
    section = PAGE.read_text().partition("\n## The command line\n")[2].partition("\n## ")[0]
    assert f"\n### {heading}\n" in section
