"""Pages of docs/ that show code show what is tested, and the reference is what is registered."""

import re
from pathlib import Path

import pytest

from trimtab import kinds
from trimtab.kinds import Kind, reference

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
SHOWN = re.compile(r"^`(?P<path>[^`\n]+)`\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_of_a_kind_shows_files_as_they_are() -> None:
    page = (DOCS / "adding-a-kind.md").read_text()
    shown = {found["path"]: found["text"] for found in SHOWN.finditer(page)}
    assert len(shown) == page.count("```") / 2 == 3
    for path, text in shown.items():
        assert text == (ROOT / path).read_text(), path


def test_the_reference_is_what_is_registered(update_golden: bool) -> None:
    page = reference.page(kinds.registered().values()) + "\n"
    if update_golden:
        (DOCS / "kinds.md").write_text(page)
    assert page == (DOCS / "kinds.md").read_text()


@pytest.mark.parametrize("kind", kinds.registered().values(), ids=lambda kind: kind.name)
def test_the_reference_says_what_a_kind_s_files_look_like(kind: Kind) -> None:
    section = reference.page([kind]).partition(f"## {kind.name}\n")[2]
    assert kind.flyte is None or "Flyte's" in section
    assert all(f"| `{path}` | " in section for path in kind.schema.paths)
