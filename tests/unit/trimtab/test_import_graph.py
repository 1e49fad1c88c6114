"""Imports between the modules of a bundle, by their texts."""

import pytest

from trimtab.workflows.code.import_graph import ImportGraph, module_name

FILES = {
    "pkg/__init__.py": "",
    "pkg/a.py": "",
    "pkg/b.py": "",
    "pkg/sub/__init__.py": "",
    "pkg/sub/c.py": "",
    "pkg/sub/d.py": "",
    "other.py": "",
    "space/e.py": "",
    "data.txt": "import other",
}


def closure(module: str, source: str) -> set[str]:
    graph = ImportGraph({path: text.encode() for path, text in FILES.items()} | module_file(source))
    return set(graph.closure(module)) - {
        "pkg/sub/main.py",
        "pkg/__init__.py",
        "pkg/sub/__init__.py",
    }


def module_file(source: str) -> dict[str, bytes]:
    return {"pkg/sub/main.py": source.encode()}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import json, numpy.linalg", set()),
        ("import pkg.a", {"pkg/a.py"}),
        ("import other as pkg", {"other.py"}),
        ("from pkg import a", {"pkg/a.py"}),
        ("from pkg.sub import missing, c", {"pkg/sub/c.py"}),
        ("from . import c", {"pkg/sub/c.py"}),
        ("from .c import x", {"pkg/sub/c.py"}),
        ("from .. import b", {"pkg/b.py"}),
        ("from ..b import x", {"pkg/b.py"}),
        ("from ... import other", set()),
        ("import space.e", {"space/e.py"}),
        ("from pkg.sub import *", {"pkg/sub/c.py", "pkg/sub/d.py"}),
        ("def f():\n    import other", {"other.py"}),
        ("try:\n    import numpy\nexcept ImportError:\n    from pkg import a", {"pkg/a.py"}),
        ("if False:\n    from .d import x", {"pkg/sub/d.py"}),
        ("from importlib import resources, metadata\nimport importlib", set()),
        ("x = 'import other'", set()),
    ],
)
def test_a_module_imports_what_its_text_names(source: str, expected: set[str]) -> None:
    assert closure("pkg.sub.main", source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "import importlib\nimportlib.import_module(input())",
        "from importlib import import_module as load",
        "import importlib.util",
        "__import__(name)",
        "exec(text)",
        "import runpy",
        "import sys\nsys.path.append('space')",
        "x = (",
    ],
)
def test_a_module_that_imports_by_computed_names_can_import_everything(source: str) -> None:
    everything = {path for path in FILES if path.endswith(".py")}
    assert (
        closure("pkg.sub.main", source) | {"pkg/__init__.py", "pkg/sub/__init__.py"} == everything
    )


def test_imports_of_imports_and_of_packages_are_followed() -> None:
    files = {
        "main.py": b"import first.inner",
        "first/__init__.py": b"from second import *",
        "first/inner.py": b"",
        "second.py": b"import main, third",
        "third.py": b"",
        "fourth.py": b"",
    }
    assert ImportGraph(files).closure("main") == files.keys() - {"fourth.py"}


def test_a_package_hides_a_module_of_its_name() -> None:
    files = {"main.py": b"import both", "both.py": b"", "both/__init__.py": b""}
    assert ImportGraph(files).closure("main") == {"main.py", "both/__init__.py"}


def test_files_that_cannot_be_imported_have_no_module_name() -> None:
    names = ["a/b.py", "a/__init__.py", "__init__.py", "a.b.py", "a.d/b.py", "a.pyi", "a-b.py"]
    assert [module_name(name) for name in names] == ["a.b", "a", None, None, None, None, "a-b"]
