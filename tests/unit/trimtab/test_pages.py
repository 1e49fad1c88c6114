"""Pages of docs/ show code that is tested, and the reference lists the registered kinds."""

import re
from pathlib import Path

import pytest

from trimtab import kinds
from trimtab.kinds import Kind
from trimtab.kinds.__main__ import reference_page

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
SHOWN = re.compile(r"^`(?P<path>[^`\n]+)`\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_about_adding_a_kind_shows_the_files_of_the_repository() -> None:
    page = (DOCS / "adding-a-kind.md").read_text()
    shown = {found["path"]: found["text"] for found in SHOWN.finditer(page)}
    assert len(shown) == page.count("```") / 2 == 3
    for path, text in shown.items():
        assert text == (ROOT / path).read_text(), path


def test_the_reference_lists_the_registered_kinds(update_golden: bool) -> None:
    page = reference_page(kinds.registered().values()) + "\n"
    if update_golden:
        (DOCS / "kinds.md").write_text(page)
    assert page == (DOCS / "kinds.md").read_text()


@pytest.mark.parametrize("kind", kinds.registered().values(), ids=lambda kind: kind.name)
def test_the_reference_describes_the_files_and_the_fields_of_each_kind(kind: Kind) -> None:
    section = reference_page([kind]).partition(f"## {kind.name}\n")[2]
    assert kind.flyte is None or "Flyte's" in section
    assert all(f"| `{path}` | " in section for path in kind.schema.paths)
