"""Bundles: code of 1,000 files.

A bundle of 1,000 modules in packages is collected from a directory with an ignore file, packed,
hashed, and unpacked into another directory. Run as ``python -m bench.bundles``.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from trimtab.workflows.code.bundles import Bundle, unpack
from trimtab.workflows.code.collecting import collect_directory
from trimtab.workflows.code.import_graph import ImportGraph

T = TypeVar("T")

FILES = 1000
PACKAGES = 20
LINES = 100
"""Lines of each module."""


def write_modules(root: Path) -> None:
    body = "".join(f"def f{n}(x: int) -> int:\n    return x + {n}\n" for n in range(LINES // 2))
    (root / ".gitignore").write_text("*.csv\n/build/\n")
    for number in range(FILES):
        package = root / f"p{number % PACKAGES}"
        if number < PACKAGES:
            package.mkdir()
            (package / "__init__.py").write_text("")
        else:
            (package / f"m{number}.py").write_text(f"from p0 import m{PACKAGES}\n{body}")


def timed(name: str, work: Callable[[], T]) -> T:
    began = time.perf_counter()
    result = work()
    print(f"{name:<40}{(time.perf_counter() - began) * 1000:>12,.0f} ms")
    return result


def run() -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory, "code")
        root.mkdir()
        write_modules(root)
        code = timed(f"collect {FILES} files", lambda: collect_directory(root))
        bundle = Bundle(code.root, code.files)
        timed("pack and hash them", lambda: bundle.digest)
        timed("unpack them", lambda: unpack(bundle.content, Path(directory, "unpacked")))
        graph = ImportGraph(code.files)
        timed("imports of every module", lambda: [graph.closure(name) for name in code.modules])


if __name__ == "__main__":
    run()
