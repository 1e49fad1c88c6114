"""The Python code of pages runs, and what they show as refused is refused with this error."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from trimtab.errors import TrimtabError

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ERROR = re.compile(r"(Invalid|Rejected|BadModule): ")
PAGES = ("sdk.md", "runtime-overrides.md")


def examples(page: str) -> Iterator[tuple[str, str]]:
    """Yield each Python block of a page, with the error behind it or an empty text."""
    blocks = BLOCK.findall((DOCS / page).read_text())
    for (language, code), (_, text) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if language == "python":
            yield code, text if ERROR.match(text) else ""


def run(code: str, file: Path, module: ModuleType) -> str:
    """Run a block in the module of its page; return its error, or an empty text."""
    file.write_text(code)
    try:
        exec(compile(code, str(file), "exec"), vars(module))
    except TrimtabError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def shows(text: str, error: str) -> bool:
    """Return whether a page's text is the error, with parts left out at each ``…``."""
    parts = [re.escape(" ".join(part.split())) for part in text.split("…")]
    return re.fullmatch(".*".join(parts).strip(), error, re.DOTALL) is not None


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs_and_is_refused_where_the_page_shows_an_error(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType(page.partition(".")[0].replace("-", "_"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    found = list(examples(page))
    assert found
    for number, (code, text) in enumerate(found):
        error = run(code, tmp_path / f"example_{number}.py", module)
        assert shows(text, error), f"{code}\n{error or 'no error'}"
