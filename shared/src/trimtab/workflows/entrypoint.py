"""``python -m trimtab.workflows.entrypoint DIR``: run one attempt of a task in DIR.

Reads ``task.json`` (a `Call`) and ``module.py``. Writes ``output.json`` and ends with 0, or
``error.txt`` (one readable paragraph) and ends with 1; the traceback goes to stderr.
"""

import json
import os
import sys
import traceback
from pathlib import Path

from pydantic import JsonValue

from trimtab.errors import Invalid, Rejected
from trimtab.models import Model, json_value
from trimtab.workflows import loader
from trimtab.workflows.sdk import TaskFunction

MAX_OUTPUT_BYTES = 256 * 1024
"""Outputs travel in events and as inputs of the next task, so they must stay small."""


class Call(Model):
    """``task.json``: which task, with which inputs."""

    task: str
    inputs: dict[str, JsonValue]


class Output(Model):
    """``output.json``."""

    output: JsonValue


def run(directory: Path) -> JsonValue:
    """What the task returned. Raises `Rejected`, or whatever the task raises."""
    call = Call.model_validate_json((directory / "task.json").read_bytes())
    path = directory / "module.py"
    module = loader.execute(path, path.read_text(encoding="utf-8"))
    task = vars(module).get(call.task)
    if not isinstance(task, TaskFunction):
        raise Rejected(f"{path.name} defines no task {call.task!r}")
    output = json_value(f"{call.task}: return", task.function(**call.inputs))
    size = len(json.dumps(output))
    if size > MAX_OUTPUT_BYTES:
        raise Invalid(f"{call.task}: return", f"{size} bytes", f"at most {MAX_OUTPUT_BYTES} bytes")
    return output


def main() -> int:
    """The exit code of the attempt."""
    directory = Path(sys.argv[1])
    try:
        output = run(directory)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # the task is the user's and may raise anything
        traceback.print_exc()
        line = loader.line_of(error, directory / "module.py")
        place = "" if line is None else f" (module.py, line {line})"
        write(directory / "error.txt", loader.describe(error) + place)
        return 1
    write(directory / "output.json", Output(output=output).model_dump_json())
    return 0


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.rename(path)


if __name__ == "__main__":
    sys.exit(main())
