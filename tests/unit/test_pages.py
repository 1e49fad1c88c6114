"""Pages name only files and words that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "shared/src", *sorted(ROOT.glob("services/*/src"))]
PAGES = [
    page
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("services/*/README.md"))
    if page.name != "CHANGELOG.md"  # it describes earlier releases too
] + [ROOT / "shared/README.md"]
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
SOURCE = re.compile(r"`(trimtab(?:_[a-z]+)?/[\w/.]*)`")


def names(page: Path) -> list[str]:
    """Return the source files and folders that a page names, such as ``trimtab/errors.py``."""
    return SOURCE.findall(page.read_text())


def test_the_architecture_names_sources() -> None:
    assert len(names(ROOT / "docs/architecture.md")) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_source_that_a_page_names_exists(page: Path) -> None:
    missing = [
        name for name in names(page) if not any((source / name).exists() for source in SOURCES)
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    links = LINK.findall(page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
