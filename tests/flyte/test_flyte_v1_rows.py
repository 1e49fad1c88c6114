"""Every recorded call of Flyte 1, over its own door: equal but where a difference is meant.

All calls carry an API token.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.flyte.flyte_v1_differences import DIFFERENCES
from tests.flyte.rows import Row, recorded, scenarios

PAGE = Path(__file__).parents[2] / "docs" / "flyte-compatibility.md"
SCENARIOS = scenarios()


class Compared(NamedTuple):
    """One field of a response."""

    row: Row
    field: str
    recorded: object
    received: object

    @property
    def is_equal(self) -> bool:
        return self.recorded == self.received

    @property
    def is_meant(self) -> bool:
        return any(one.covers(self.row, self.field) for one in DIFFERENCES)

    def __str__(self) -> str:
        return (
            f"{self.row}: {self.field}\n"
            f"  recorded: {str(self.recorded)[:500]}\n"
            f"  received: {str(self.received)[:500]}"
        )


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Compared]:
    """All fields of all rows."""
    with recorded(tmp_path_factory.mktemp("admin")) as admin:
        received = {name: admin.replay(rows) for name, rows in SCENARIOS.items()}
    return [
        Compared(row, field, expected, fields.get(field))
        for name, rows in SCENARIOS.items()
        for row, fields in zip(rows, received[name], strict=True)
        for field, expected in row.recorded.items()
    ]


def test_responses_are_as_recorded(
    compared: Sequence[Compared], capsys: pytest.CaptureFixture[str]
) -> None:
    different = [one for one in compared if not one.is_equal]
    unmeant = [one for one in different if not one.is_meant]
    counted = len(compared) - (len(different) - len(unmeant))
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(compared)} fields of {sum(map(len, SCENARIOS.values()))} calls: "
            f"{len(different) - len(unmeant)} differ as documented; of the other {counted}, "
            f"{counted - len(unmeant)} are equal\n"
        )
    assert not unmeant, "\n".join(map(str, unmeant))


def test_every_difference_is_in_the_recording(compared: Sequence[Compared]) -> None:
    used = {(one.row.scenario, one.row.step) for one in compared if not one.is_equal}
    for difference in DIFFERENCES:
        unused = set(difference.keys()) - used
        assert not unused, f"{difference.anchor}: {sorted(unused)}"


def test_every_difference_is_documented() -> None:
    headings = re.findall(r"^### (.*)$", PAGE.read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in headings}
    assert {difference.anchor for difference in DIFFERENCES} <= anchors
