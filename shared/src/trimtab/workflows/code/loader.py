"""Run the Python modules of workflows, to register them or to execute one of their tasks."""

import importlib
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from trimtab.errors import Rejected
from trimtab.workflows.code.bad_modules import (
    BadModule,
    describe_error,
    line_of,
    place_of,
    shown_path,
)
from trimtab.workflows.code.collecting import (
    Code,
    collect_directory,
    collect_files,
    imports_local_modules,
    read_file,
)
from trimtab.workflows.code.importing import import_from, importing, is_of_bundle
from trimtab.workflows.code.module_contents import Definitions
from trimtab.workflows.code.registration import Module, register
from trimtab.workflows.definitions.tasks import PythonTask
from trimtab.workflows.graphs.images import ImageWarning, check_image, warn_if_mutable
from trimtab.workflows.graphs.targets import Function

__all__ = [
    "BadModule",
    "Module",
    "describe_error",
    "forget_module",
    "line_of",
    "load_module",
    "load_task",
    "loaded",
    "run_module",
]

_NAME = "trimtab_workflow"
"""The name of the module of a single file while it runs, whatever the name of the file."""


def load_module(
    paths: str | Path | Sequence[str | Path],
    version: str | None = None,
    image: str | None = None,
) -> Module:
    """Run a file, several files or a directory, and build the graphs of the workflows in them.

    A file that imports no module from its directory is registered as text; other code is a bundle.
    With an image, which has the code already, it is neither. The default version is a hash of the
    code, so that the same code has the same version. Raises `BadModule`.
    """
    if image is not None:
        check_image("image", image)
    with _recorded() as recorded, loaded(paths, image) as definitions, blamed(definitions.code):
        module = register(definitions, version)
    about_image = () if image is None else _warnings_about(image)
    return replace(module, warnings=(*module.warnings, *about_image, *recorded))


@contextmanager
def loaded(
    paths: str | Path | Sequence[str | Path], image: str | None = None
) -> Iterator[Definitions]:
    """Run the modules, and yield what they define. Raises `BadModule`.

    Modules of a bundle can be imported until the context ends.
    """
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not given:
        raise Rejected("no file is given")
    code = _collect(given, as_bundle=image is not None)
    is_text = not code.modules and not given[0].is_dir()
    if is_text:
        [content] = code.files.values()
        text = _decode(given[0], content)
        yield Definitions(code, {"": run_module(given[0], text)}, given[0], text=text)
        return
    with importing(code.root, code.files):
        with blamed(code):
            modules = {name: importlib.import_module(name) for name in code.modules}
        yield Definitions(code, modules, given[0], image=image)


def run_module(path: Path, source: str) -> ModuleType:
    """Run the body of a module, without writing a bytecode file. Raises `BadModule`."""
    module = ModuleType(_NAME)
    module.__file__ = str(path)
    # Dataclasses and pickle look a class up in its module by name.
    sys.modules[_NAME] = module
    try:
        exec(compile(source, str(path), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        raise BadModule(path, describe_error(error), line_of(error, path)) from error
    return module


def forget_module() -> None:
    """Drop what the code that ran defines, so that files that it has left open are closed."""
    for name, module in list(sys.modules.items()):
        if name == _NAME or is_of_bundle(module):
            del sys.modules[name]
            vars(module).clear()


def load_task(directory: Path, target: Function) -> PythonTask[Any]:
    """Import the module of a task from an unpacked bundle, which stays importable.

    Raises any error of the module, and `Rejected` where it defines no such task.
    """
    import_from(directory)
    module = importlib.import_module(target.module)
    task = vars(module).get(target.name)
    if not isinstance(task, PythonTask):
        raise Rejected(f"module {target.module} defines no task {target.name!r}")
    return task


@contextmanager
def blamed(code: Code) -> Iterator[None]:
    """Report errors of the user's code, which may be of any class, as `BadModule`."""
    paths = {str(code.root / path): path for path in code.files}
    try:
        yield
    except BadModule:
        raise
    except (Exception, SystemExit) as error:
        reason = describe_error(error) + _hint(error, code)
        place = place_of(error, paths)
        if place is None:
            where = code.root if len(code.files) > 1 else code.root / next(iter(code.files), "")
            raise BadModule(shown_path(where), reason) from error
        raise BadModule(shown_path(place.path), reason, place.line) from error


def _hint(error: BaseException, code: Code) -> str:
    """Return why a module that is near the code cannot be imported."""
    if not isinstance(error, ImportError) or error.name is None:
        return ""
    # ``from package import module`` has the name of the module in its message only.
    member = re.match(r"cannot import name '(\w+)'", str(error))
    base = "/".join((*error.name.split("."), *(member.groups() if member else ())))
    for path in (f"{base}.py", f"{base}/__init__.py"):
        if path not in code.files and (code.root / path).is_file():
            return (
                f"; {shown_path(code.root / path)} is no part of the code: it is ignored, or "
                "imported by a computed name"
            )
        for inner in sorted({each.partition("/")[0] for each in code.files}):
            if (code.root / inner / path).is_file():
                return f"; it is in {shown_path(code.root / inner)}, so give that directory"
    return ""


@contextmanager
def _recorded() -> Iterator[list[str]]:
    """Record warnings about images, with the lines that name them; others are issued again."""
    recorded: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ImageWarning)
        yield recorded
    for each in caught:
        if not issubclass(each.category, ImageWarning):
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        else:
            place = f"{shown_path(Path(each.filename))}, line {each.lineno}"
            recorded.append(f"{place}: {each.message}")


def _warnings_about(image: str) -> list[str]:
    """Return the warnings about an image that no line of the user's code names."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ImageWarning)
        warn_if_mutable(image)
    return [str(each.message) for each in caught]


def _collect(paths: Sequence[Path], *, as_bundle: bool) -> Code:
    if paths[0].is_dir():
        if len(paths) > 1:
            raise Rejected(f"{paths[0]} is a directory, and only one can be given")
        return collect_directory(paths[0])
    for path in paths:
        if path.is_dir():
            raise Rejected(f"{path} is a directory, and only one can be given")
    if len(paths) == 1 and not as_bundle:
        content = read_file(paths[0])
        if not imports_local_modules(paths[0], content):
            return Code(paths[0].parent, {paths[0].name: content})
    return collect_files(paths)


def _decode(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise BadModule(path, f"is not UTF-8: {error.reason}") from error
