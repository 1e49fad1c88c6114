"""``python -m trimtab.workflows.entrypoint DIR [RESULT]``: run one attempt of a task in DIR.

The program reads ``task.json`` (a `TaskCall`), and ``module.py`` or ``bundle``. It exits with 0
after an output (a `TaskOutput`), or with 1 after an error (one readable paragraph); the traceback
goes to stderr.

RESULT is a file descriptor for the result: `OUTPUT` or `ERROR`, the text, and `RESULT_END`. Without
it, as shims of earlier releases call the program, the result is ``output.json`` or ``error.txt``.
"""

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from trimtab.errors import Rejected
from trimtab.models import Model
from trimtab.workflows.code import bundles, loader
from trimtab.workflows.code.bad_modules import place_of
from trimtab.workflows.definitions.tasks import PythonTask
from trimtab.workflows.graphs.images import ImageWarning
from trimtab.workflows.graphs.targets import Function

TEXT = "module.py"
"""The file of the task's module, where its code is one text."""
BUNDLE = "bundle"
"""The file of the task's bundle, which is unpacked into `CODE`."""
CODE = "code"
OUTPUT = b"o"
ERROR = b"e"
_FILES = {OUTPUT: "output.json", ERROR: "error.txt"}
RESULT_END = b"\0"
"""Ends a result. Neither JSON nor the text of an error contains it."""
_MAX_ERROR_CHARACTERS = 10_000


class TaskCall(Model):
    """The content of ``task.json``: the name of a task, and its inputs."""

    task: str
    module: str = ""
    """The dotted name of its module in a bundle; empty for the text ``module.py``."""
    inputs: dict[str, JsonValue]


class TaskOutput(Model):
    """The content of ``output.json``: the value that the task returned."""

    output: JsonValue


def run(directory: Path) -> JsonValue:
    """Run the task and return its output. Raises `Rejected`, and any error of the task."""
    call = TaskCall.model_validate_json((directory / "task.json").read_bytes())
    task = _load(directory, call)
    return task.types.call(call.inputs)


def _load(directory: Path, call: TaskCall) -> PythonTask[Any]:
    if call.module:
        archive, code = directory / BUNDLE, directory / CODE
        bundles.unpack(archive.read_bytes(), code)
        archive.unlink()
        return loader.load_task(code, Function(module=call.module, name=call.task))
    path = directory / TEXT
    module = loader.run_module(path, path.read_text(encoding="utf-8"))
    task = vars(module).get(call.task)
    if not isinstance(task, PythonTask):
        raise Rejected(f"{path.name} defines no task {call.task!r}")
    return task


def main(arguments: Sequence[str]) -> int:
    """Run the attempt, hand its result over, and return the exit code."""
    directory = Path(arguments[0])
    result = _Result(directory, int(arguments[1]) if len(arguments) > 1 else None)
    # They were shown when the workflow was registered.
    warnings.simplefilter("ignore", ImageWarning)
    try:
        output = run(directory)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # The task is the user's code and may raise anything.
        traceback.print_exc()
        description = loader.describe_error(error)[:_MAX_ERROR_CHARACTERS]
        result.hand_over(ERROR, description + _position(error, directory))
        return 1
    result.hand_over(OUTPUT, TaskOutput(output=output).model_dump_json())
    return 0


def _position(error: BaseException, directory: Path) -> str:
    """Return the innermost line of the user's code in the traceback, in parentheses."""
    names = {frame.filename for frame in traceback.extract_tb(error.__traceback__)}
    if isinstance(error, SyntaxError) and error.filename:
        names.add(error.filename)
    files = {str(directory / TEXT): TEXT}
    code = directory / CODE
    for path in map(Path, names):
        if path.is_relative_to(code):
            files[str(path)] = path.relative_to(code).as_posix()
    place = place_of(error, files)
    return "" if place is None else f" ({files[str(place.path)]}, line {place.line})"


class _Result:
    """Where the result of the task goes."""

    def __init__(self, directory: Path, descriptor: int | None) -> None:
        self._directory = directory
        self._descriptor = descriptor
        self._process = os.getpid()
        if descriptor is not None:
            # A program that the task starts does not get it.
            os.set_inheritable(descriptor, False)

    def hand_over(self, kind: bytes, text: str) -> None:
        # A process that the task has forked may return, too.
        if os.getpid() != self._process:
            return
        if self._descriptor is None:
            write_whole(self._directory / _FILES[kind], text.encode())
            return
        content = text.encode(errors="replace").replace(RESULT_END, b"")
        with open(self._descriptor, "wb") as file:
            file.write(kind + content + RESULT_END)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file by rename, so that no reader sees a part of it."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_bytes(content)
    part.rename(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
