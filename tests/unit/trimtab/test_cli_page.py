"""docs/cli.md describes each command as its help does.

``pytest --update-golden tests/unit/trimtab/test_cli_page.py`` regenerates it after a change.
"""

from pathlib import Path

import pytest

from trimtab.cli import reference
from trimtab.cli.main import cli
from trimtab.cli.reference import CommandEntry
from trimtab.errors import Code

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"
MARK = "<!-- From here on"
ENTRIES = list(reference.entries(cli))


def test_the_page_has_the_help_of_every_command(update_golden: bool) -> None:
    manual, mark, rest = PAGE.read_text().partition(MARK)
    mark_line = rest.partition("\n")[0]
    expected = f"{manual}{mark}{mark_line}\n\n{reference.to_markdown(cli)}"
    if update_golden:
        PAGE.write_text(expected)
    assert PAGE.read_text() == expected


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: " ".join(entry.words))
def test_every_command_has_an_example_of_its_own(entry: CommandEntry) -> None:
    assert entry.examples
    for example in entry.examples:
        words = [word for word in entry.words if word not in ("kind", "files")]
        assert example.split()[1 : len(words) + 1] == words


def test_the_page_lists_every_exit_code() -> None:
    rows = [line.split("|")[1].strip() for line in PAGE.read_text().splitlines() if "|" in line]
    assert {str(code.exit_code) for code in Code} <= set(rows)
