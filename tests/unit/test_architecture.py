"""The shape of the repository: which way imports point, what is pure, what is public."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

import trimtab

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    file
    for place in (ROOT / "shared/src", *ROOT.glob("services/*/src"))
    for file in place.rglob("*.py")
)

PUBLIC = [
    "BadModule",
    "LaunchPlan",
    "LeaseLost",
    "Module",
    "Pool",
    "Resources",
    "load_module",
    "pools",
    "runtime_override_config",
    "task",
    "workflow",
]


def pure_files() -> Iterator[Path]:
    """The files of the modules that the contract in pyproject.toml calls pure."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    [pure] = [each for each in contracts["contracts"] if each["name"].startswith("pure modules")]
    names = [module.replace(".", "/") for module in pure["source_modules"]]
    for file in SOURCES:
        module = str(file.with_suffix("")).partition("/src/")[2]
        if any(module == name or module.startswith(name + "/") for name in names):
            yield file


def test_imports_point_the_way_that_the_contracts_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True) == EXIT_STATUS_SUCCESS


def test_pure_modules_wait_for_nothing() -> None:
    waiting = ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in pure_files()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, waiting)
    ]
    assert found == []


def test_every_module_says_what_belongs_in_it() -> None:
    parsed = {file: ast.parse(file.read_text()) for file in SOURCES}
    silent = [file for file, tree in parsed.items() if tree.body and not ast.get_docstring(tree)]
    assert silent == []


def test_the_public_names_are_those_and_exist() -> None:
    assert trimtab.__all__ == PUBLIC
    assert all(hasattr(trimtab, name) for name in trimtab.__all__)


def test_every_public_name_is_explained() -> None:
    assert [name for name in PUBLIC if not getattr(trimtab, name).__doc__] == []
