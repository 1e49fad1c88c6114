"""Imports modules where only declared distributions are installed; see `test_distributions`.

Reads ``{"wheels": [...], "site": "...", "files": [...], "modules": [...]}`` from stdin, and is run
with ``python -I -S``, so that neither the checkout nor site-packages is on the path.
"""

import importlib
import json
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class DeclaredFinder:
    """Hides the files of site-packages that belong to no declared distribution."""

    def __init__(self, site: str, files: Sequence[str]) -> None:
        self._site = site
        self._files = frozenset(files)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target)
        origin = None if spec is None else spec.origin
        if origin and origin.startswith(self._site) and origin not in self._files:
            raise ModuleNotFoundError(f"{name} is installed here, but not declared", name=name)
        return spec


def main() -> None:
    given = json.load(sys.stdin)
    sys.path += [*given["wheels"], given["site"]]
    sys.meta_path.insert(0, DeclaredFinder(given["site"], given["files"]))
    for module in given["modules"]:
        importlib.import_module(module)


main()
