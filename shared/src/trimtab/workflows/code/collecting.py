"""Collect the files of a user's code: of a directory, or of files and the modules they import."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from trimtab.errors import Invalid
from trimtab.workflows.code.archives import MAX_BUNDLE_BYTES, MAX_FILES
from trimtab.workflows.code.bad_modules import BadModule, shown_path
from trimtab.workflows.code.git_ignore import GitIgnore
from trimtab.workflows.code.import_graph import imports_of, module_name, with_parents
from trimtab.workflows.code.importing import is_importable

_LEFT_OUT = ("__pycache__", "node_modules", "*.pyc", "*.pyo", ".*")
_SECRETS = (
    *(".env", ".env.*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.kdbx"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*"),
)


@dataclass
class Code:
    """The files of the user's code, as they were read at one time."""

    root: Path
    """The directory in which the modules are found."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Contents by path below the root."""
    modules: list[str] = field(default_factory=list)
    """Dotted names of the modules that may define workflows, in the order of their paths."""
    warnings: list[str] = field(default_factory=list)


def collect_directory(directory: Path) -> Code:
    """Return the files of a directory; of a package, those of the top-most one around it."""
    directory = _absolute(directory)
    code = Code(_root(directory))
    top = code.root if code.root == directory else _top_package(code.root, directory)
    _Walk(code).add_all(top)
    below = "" if code.root == directory else f"{directory.relative_to(code.root).as_posix()}/"
    for path in sorted(code.files):
        name = module_name(path)
        if name is None or not path.startswith(below) or _is_program(path):
            continue
        if is_importable(name):
            code.modules.append(name)
        else:
            code.warnings.append(
                f"{shown_path(code.root / path)}: is not loaded, because the standard library or "
                f"trimtab has a module of this name"
            )
    return code


def collect_files(paths: Sequence[Path]) -> Code:
    """Return the files, the modules that they import from their directory, and the packages of
    those, whole. Raises `BadModule`.

    The directory is that of the file; of a module of a package, that around the top-most package.
    """
    absolute = [_absolute(path) for path in paths]
    code = Code(_root(absolute[0].parent))
    walk = _Walk(code)
    waiting: list[str] = []
    for path in absolute:
        if _root(path.parent) != code.root:
            raise BadModule(
                shown_path(path), f"is not in {shown_path(code.root)}; give the directory of both"
            )
        relative = path.relative_to(code.root).as_posix()
        name = module_name(relative)
        if name is None or not is_importable(name):
            raise BadModule(
                shown_path(path), "has a name that cannot be imported, or that is one of Python's"
            )
        code.modules.append(name)
        code.files[relative] = read_file(path)
        waiting.append(relative)
    _follow(code, walk, waiting)
    return code


def imports_local_modules(path: Path, source: bytes) -> bool:
    """Return whether a file imports another module from its directory, or from its package."""
    path = _absolute(path)
    root = _root(path.parent)
    relative = path.relative_to(root).as_posix()
    return any(found != relative for found in _local_imports(root, relative, source))


def read_file(path: Path) -> bytes:
    """Return the content of a file. Raises `BadModule` where it changes while it is read."""
    try:
        # A pipe without a writer would be waited for.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BadModule(shown_path(path), "is no regular file")
        with open(path, "rb") as file:
            before = os.fstat(file.fileno())
            if before.st_size > MAX_BUNDLE_BYTES:
                raise BadModule(shown_path(path), f"is larger than {MAX_BUNDLE_BYTES} bytes")
            content = file.read()
            after = os.fstat(file.fileno())
    except OSError as error:
        raise BadModule(shown_path(path), f"cannot be read: {error.strerror}") from error
    if _state(before) != _state(after) or len(content) != after.st_size:
        raise BadModule(shown_path(path), "has changed while it was read; try again")
    return content


def _state(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _absolute(path: Path) -> Path:
    """Return the path without ``..``, from which the packages around it can be found.

    Links are followed only before a ``..``, where its meaning depends on them.
    """
    parts = path.absolute().parts
    above = len(parts) - [*reversed(parts)].index("..") if ".." in parts else 0
    return Path(*parts[:above]).resolve().joinpath(*parts[above:]) if above else path.absolute()


def _root(directory: Path) -> Path:
    while (directory / "__init__.py").is_file() and directory != directory.parent:
        directory = directory.parent
    return directory


def _top_package(root: Path, inner: Path) -> Path:
    return root / inner.relative_to(root).parts[0]


def _is_program(path: str) -> bool:
    """Return whether the body of a module is a program, which an import would start."""
    return path == "setup.py" or path.rpartition("/")[2] == "__main__.py"


def _follow(code: Code, walk: "_Walk", waiting: list[str]) -> None:
    """Add what the files import from the root, and what that imports."""
    followed: set[str] = set()
    units: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in followed:
            continue
        followed.add(path)
        for found in _local_imports(code.root, path, code.files[path]):
            unit = _unit(code.root, found)
            if unit not in units:
                units.add(unit)
                walk.add(unit)
            if found in code.files:
                waiting.append(found)


def _local_imports(root: Path, path: str, source: bytes) -> Iterator[str]:
    """Yield the paths of modules in the directory that a file imports."""
    imports = imports_of(source, path)
    names = {each for name in imports.names for each in with_parents(name) if is_importable(name)}
    for name in sorted(names):
        base = name.replace(".", "/")
        for candidate in (f"{base}/__init__.py", f"{base}.py"):
            if (root / candidate).is_file():
                yield candidate
                break
    for name in filter(is_importable, sorted(imports.stars)):
        # ``__all__`` may list any module of the package.
        directory = root.joinpath(*name.split("."))
        yield from (each.relative_to(root).as_posix() for each in sorted(directory.glob("*.py")))


def _unit(root: Path, path: str) -> Path:
    """Return the top-most package of a module, or its file."""
    parts = path.split("/")
    for count in range(1, len(parts)):
        package = root.joinpath(*parts[:count])
        if (package / "__init__.py").is_file():
            return package
    return root / path


class _Walk:
    """Adds files to the code, but those that are no part of it."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self._root = code.root.resolve()
        self._git = GitIgnore(code.root)
        self._size = 0

    def add_all(self, directory: Path) -> None:
        try:
            entries = sorted(directory.iterdir())
        except OSError as error:
            raise BadModule(shown_path(directory), f"cannot be read: {error.strerror}") from error
        for entry in entries:
            self.add(entry)

    def add(self, path: Path) -> None:
        """Add a file, or all files of a directory, unless it is to be left out."""
        try:
            mode = path.lstat().st_mode
            is_link = stat.S_ISLNK(mode)
            if is_link and path.resolve().is_relative_to(self._root) and path.is_file():
                mode, is_link = path.stat().st_mode, False
        except OSError as error:
            raise BadModule(shown_path(path), f"cannot be read: {error.strerror}") from error
        if self._git.ignores(path, stat.S_ISDIR(mode)):
            return
        if any(fnmatch(path.name, pattern) for pattern in _SECRETS) and not stat.S_ISDIR(mode):
            self._warn(path, "is left out, as files of this name hold secrets")
        elif any(fnmatch(path.name, pattern) for pattern in _LEFT_OUT):
            return
        elif is_link:
            self._warn(path, "is left out, as it is a link to a directory or out of the tree")
        elif stat.S_ISDIR(mode):
            if not (path / "pyvenv.cfg").exists():
                self.add_all(path)
        elif stat.S_ISREG(mode):
            self._add_file(path)
        else:
            self._warn(path, "is left out, as it is no regular file")

    def _add_file(self, path: Path) -> None:
        content = read_file(path)
        self._code.files.setdefault(path.relative_to(self._code.root).as_posix(), content)
        self._size += len(content)
        files = self._code.files
        if len(files) > MAX_FILES:
            raise Invalid("bundle", f"more than {MAX_FILES} files", f"at most {MAX_FILES} files")
        if self._size > MAX_BUNDLE_BYTES:
            largest = max(files, key=lambda name: len(files[name]))
            size = f"more than {MAX_BUNDLE_BYTES} bytes, {len(files[largest])} of them in {largest}"
            raise Invalid("bundle", size, f"at most {MAX_BUNDLE_BYTES} bytes; see .gitignore")

    def _warn(self, path: Path, reason: str) -> None:
        self._code.warnings.append(f"{shown_path(path)}: {reason}")
