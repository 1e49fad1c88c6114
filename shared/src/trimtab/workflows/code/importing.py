"""Import modules of a bundle, before all others of the same names and without leaving them behind.

Only files of the bundle are found, so a module that is imported where the code is registered is
there where it runs. Names of the standard library and of this one stay theirs: a file ``types.py``
would break every module that imports the other.
"""

import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

from trimtab.workflows.code.import_graph import is_package, module_name, with_parents

RESERVED = sys.stdlib_module_names | {"trimtab"}
"""Names of top-level modules that no bundle provides."""


class _SourceLoader(SourceFileLoader):
    """Runs the text that was read for the bundle, and neither reads nor writes bytecode."""

    def __init__(self, name: str, path: str, content: bytes | None) -> None:
        super().__init__(name, path)
        self._content = content

    def get_data(self, path: str) -> bytes:
        if self._content is not None and path == self.path:
            return self._content
        return super().get_data(path)

    def path_stats(self, path: str) -> Mapping[str, int]:
        raise OSError(f"there is no bytecode of {path}")


class _BundleFinder(MetaPathFinder):
    def __init__(
        self, root: Path, paths: Collection[str], contents: Mapping[str, bytes] | None
    ) -> None:
        self._root = root
        self._contents = contents
        self._paths: dict[str, str] = {}
        self._namespaces: set[str] = set()
        for path in sorted(paths, key=lambda path: (not is_package(path), path)):
            name = module_name(path)
            if name is not None and is_importable(name):
                self._paths.setdefault(name, path)
                self._namespaces.update(list(with_parents(name))[:-1])
        self.top_level = {name for name in (*self._paths, *self._namespaces) if "." not in name}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in self._paths:
            relative = self._paths[fullname]
            file = self._root / relative
            return spec_from_file_location(
                fullname,
                file,
                loader=_SourceLoader(fullname, str(file), (self._contents or {}).get(relative)),
                submodule_search_locations=[str(file.parent)] if is_package(relative) else None,
            )
        if fullname in self._namespaces:
            return self._namespace(fullname)
        self._refuse_left_out(fullname, path)
        return None

    def _namespace(self, fullname: str) -> ModuleSpec:
        directory = self._root.joinpath(*fullname.split("."))
        found = PathFinder.find_spec(fullname, [str(directory.parent)])
        if found is not None and found.origin is None:
            # Only Python's own specification of a namespace lets resources be read from it.
            return found
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [str(directory)]
        return spec

    def _refuse_left_out(self, fullname: str, path: Sequence[str] | None) -> None:
        """Raise ``ModuleNotFoundError`` for a file next to those of the bundle.

        Python would find it in the directory of its package, and no one where the bundle runs.
        """
        if self._contents is None or not is_importable(fullname):
            return
        found = PathFinder.find_spec(fullname, path)
        base = self._root.joinpath(*fullname.split("."))
        if found is None or found.origin is None or not found.origin.startswith(str(base)):
            return
        if Path(found.origin).relative_to(self._root).as_posix() not in self._contents:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)

    def loads(self, name: str) -> bool:
        return name.partition(".")[0] in self.top_level


def is_importable(name: str) -> bool:
    """Return whether a module of this name can come from a bundle."""
    return name.partition(".")[0] not in RESERVED


@contextmanager
def importing(root: Path, files: Mapping[str, bytes]) -> Iterator[None]:
    """Let modules be imported from the files of a bundle; afterwards all is as it was.

    Modules of other names stay loaded: many cannot be loaded twice in one process.
    """
    finder = _BundleFinder(root, files, files)
    hidden = _hide(finder)
    loaded, path, without_bytecode = set(sys.modules), list(sys.path), sys.dont_write_bytecode
    sys.meta_path.insert(0, finder)
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = without_bytecode
        sys.meta_path.remove(finder)
        sys.path[:] = path
        for name, module in list(sys.modules.items()):
            # The user's code may have added directories to the path, and imported from them.
            if finder.loads(name) or (name not in loaded and _is_below(module, root)):
                del sys.modules[name]
        sys.modules.update(hidden)


def import_from(directory: Path) -> None:
    """Let modules be imported from an unpacked bundle until the process ends."""
    paths = [file.relative_to(directory).as_posix() for file in directory.rglob("*.py")]
    finder = _BundleFinder(directory, paths, None)
    _hide(finder)
    sys.meta_path.insert(0, finder)
    # For processes that the task starts, which have no finder.
    sys.path.insert(_end_of_standard_library(), str(directory))


def _end_of_standard_library() -> int:
    """Return the index in the path behind the standard library, whose names stay its own."""
    standard = os.path.dirname(os.__file__)
    directories = (standard, os.path.join(standard, "lib-dynload"))
    return max((i for i, path in enumerate(sys.path, 1) if path in directories), default=0)


def is_of_bundle(module: ModuleType) -> bool:
    return isinstance(getattr(module, "__loader__", None), _SourceLoader)


def _hide(finder: _BundleFinder) -> dict[str, ModuleType]:
    """Take modules away that were loaded from elsewhere under names of the bundle."""
    names = [name for name in sys.modules if finder.loads(name)]
    return {name: sys.modules.pop(name) for name in names}


def _is_below(module: ModuleType, root: Path) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and Path(file).is_relative_to(root)
