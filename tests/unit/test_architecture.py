"""The structure of the repository: directions of imports, pure modules, module docstrings."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    file
    for directory in (ROOT / "shared/src", *ROOT.glob("services/*/src"))
    for file in directory.rglob("*.py")
)


def pure_files() -> Iterator[Path]:
    """Yield the files of the modules that a contract in pyproject.toml lists as pure."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    [pure] = [each for each in contracts["contracts"] if each["name"].startswith("pure modules")]
    names = [module.replace(".", "/") for module in pure["source_modules"]]
    for file in SOURCES:
        module = str(file.with_suffix("")).partition("/src/")[2]
        if any(module == name or module.startswith(name + "/") for name in names):
            yield file


def test_imports_obey_the_contracts() -> None:
    # In a process of its own: it disables every logger that exists, for all later tests.
    linter = Path(sys.executable).with_name("lint-imports")
    checked = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def without_protocols(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes outside protocols, which declare the methods of adapters."""
    for node in ast.iter_child_nodes(tree):
        bases = node.bases if isinstance(node, ast.ClassDef) else []
        if not any(isinstance(base, ast.Name) and base.id == "Protocol" for base in bases):
            yield node
            yield from without_protocols(node)


def test_pure_modules_do_not_await() -> None:
    awaiting = ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in pure_files()
        for node in without_protocols(ast.parse(file.read_text()))
        if isinstance(node, awaiting)
    ]
    assert found == []


def test_every_module_has_a_docstring() -> None:
    parsed = {file: ast.parse(file.read_text()) for file in SOURCES}
    missing = [file for file, tree in parsed.items() if tree.body and not ast.get_docstring(tree)]
    assert missing == []
