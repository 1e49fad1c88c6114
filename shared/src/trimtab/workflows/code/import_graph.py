"""Imports between the modules of a bundle, as their texts show them. Pure.

The graph has every import that a module may run: at its top, in functions, under ``try`` and
``if``. A module that imports by names which are made while it runs can import everything.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_DYNAMIC_NAMES = frozenset({"__import__", "exec", "eval", "import_module"})
_DYNAMIC_MODULES = frozenset({"imp", "importlib", "pkgutil", "runpy", "zipimport"})
_STATIC = frozenset({"importlib.abc", "importlib.metadata", "importlib.resources"})
"""Modules of `importlib` that import nothing."""
_PACKAGE = "__init__"


@dataclass(frozen=True)
class Imports:
    """The imports of one module."""

    names: frozenset[str]
    """Dotted names of what may be a module: of ``from a import b``, ``a`` and ``a.b``."""
    stars: frozenset[str] = frozenset()
    """Modules of ``from a import *``, which imports modules that ``a`` lists as well."""
    dynamic: bool = False
    """Whether it may import modules by other names."""


def module_name(path: str) -> str | None:
    """Return the dotted name of the module in a file; ``None`` where it cannot be imported."""
    if not path.endswith(".py"):
        return None
    parts = path.removesuffix(".py").split("/")
    if parts[-1] == _PACKAGE:
        parts.pop()
    return ".".join(parts) if parts and not any("." in part for part in parts) else None


def is_package(path: str) -> bool:
    return path.rpartition("/")[2] == f"{_PACKAGE}.py"


def with_parents(name: str) -> Iterator[str]:
    """Yield the packages of a module, which Python imports before it, and the module."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        yield ".".join(parts[:count])


def imports_of(source: bytes, path: str) -> Imports:
    """Return the imports of the module in a file of the bundle."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return Imports(frozenset(), dynamic=True)
    package = (module_name(path) or "").split(".")
    if not is_package(path):
        package.pop()
    names: set[str] = set()
    stars: set[str] = set()
    dynamic = False
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                names |= {alias.name for alias in aliases}
            case ast.ImportFrom(module=module, names=aliases, level=level) if level <= len(package):
                base = package[: len(package) - level + 1] if level else []
                origin = ".".join((*base, *([module] if module else ())))
                members = {alias.name for alias in aliases}
                if "*" in members:
                    stars.add(origin)
                names |= {origin, *(f"{origin}.{name}".lstrip(".") for name in members - {"*"})}
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in _DYNAMIC_NAMES:
                dynamic = True
            case ast.Attribute(value=ast.Name(id="sys"), attr="path" | "meta_path"):
                dynamic = True
    names.discard("")
    return Imports(frozenset(names), frozenset(stars), dynamic or _is_dynamic(names))


def _is_dynamic(names: Iterable[str]) -> bool:
    return any(
        name.partition(".")[0] in _DYNAMIC_MODULES
        # ``importlib`` itself is no sign: what imports modules is used by its name.
        and name != "importlib"
        and not any(f"{name}.".startswith(f"{static}.") for static in _STATIC)
        for name in names
    )


class ImportGraph:
    """The imports between the modules of a bundle."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._paths: dict[str, str] = {}
        self._members: dict[str, set[str]] = {}
        for path in sorted(files, key=lambda path: (not is_package(path), path)):
            if (name := module_name(path)) is not None:
                # A package hides a module of its name, as in Python.
                self._paths.setdefault(name, path)
                self._members.setdefault(name.rpartition(".")[0], set()).add(name)
        self._imports: dict[str, Imports] = {}
        self._closures: dict[str, frozenset[str]] = {}

    def path_of(self, module: str) -> str | None:
        return self._paths.get(module)

    def closure(self, module: str) -> frozenset[str]:
        """Return the paths of all modules that run, or can, when a module is imported and used."""
        if module not in self._closures:
            self._closures[module] = self._search(module)
        return self._closures[module]

    def _search(self, module: str) -> frozenset[str]:
        found: set[str] = set()
        waiting = list(self._known(module))
        while waiting:
            path = waiting.pop()
            if path in found:
                continue
            found.add(path)
            imports = self._imports_of(path)
            if imports.dynamic:
                return frozenset(self._paths.values())
            for name in imports.names:
                waiting += self._known(name)
            for name in imports.stars:
                for member in self._members.get(name, ()):
                    waiting += self._known(member)
        return frozenset(found)

    def _known(self, module: str) -> Iterator[str]:
        for name in with_parents(module):
            if name in self._paths:
                yield self._paths[name]

    def _imports_of(self, path: str) -> Imports:
        if path not in self._imports:
            self._imports[path] = imports_of(self._files[path], path)
        return self._imports[path]
