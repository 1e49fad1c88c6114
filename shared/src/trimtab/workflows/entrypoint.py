"""``python -m trimtab.workflows.entrypoint DIR``: run one attempt of a task in DIR.

The program reads ``task.json`` (a `TaskCall`) and ``module.py``. It writes ``output.json`` (a
`TaskOutput`) and exits with 0, or writes ``error.txt`` (one readable paragraph) and exits with 1;
the traceback goes to stderr.
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
"""Outputs are part of events and of the inputs of later tasks, so they must be small."""


class TaskCall(Model):
    """The content of ``task.json``: the name of a task, and its inputs."""

    task: str
    inputs: dict[str, JsonValue]


class TaskOutput(Model):
    """The content of ``output.json``: the value that the task returned."""

    output: JsonValue


def run(directory: Path) -> JsonValue:
    """Run the task and return its output. Raises `Rejected`, and any error of the task."""
    call = TaskCall.model_validate_json((directory / "task.json").read_bytes())
    path = directory / "module.py"
    module = loader.run_module(path, path.read_text(encoding="utf-8"))
    task = vars(module).get(call.task)
    if not isinstance(task, TaskFunction):
        raise Rejected(f"{path.name} defines no task {call.task!r}")
    output = json_value(f"{call.task}: return", task.function(**call.inputs))
    size = len(json.dumps(output))
    if size > MAX_OUTPUT_BYTES:
        raise Invalid(f"{call.task}: return", f"{size} bytes", f"at most {MAX_OUTPUT_BYTES} bytes")
    return output


def main() -> int:
    """Run the attempt, write its result, and return the exit code."""
    directory = Path(sys.argv[1])
    try:
        output = run(directory)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # The task is the user's code and may raise anything.
        traceback.print_exc()
        line = loader.line_of(error, directory / "module.py")
        position = "" if line is None else f" (module.py, line {line})"
        write_whole(directory / "error.txt", loader.describe_error(error) + position)
        return 1
    write_whole(directory / "output.json", TaskOutput(output=output).model_dump_json())
    return 0


def write_whole(path: Path, text: str) -> None:
    """Write a file by rename, so that no reader sees a part of it."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.rename(path)


if __name__ == "__main__":
    sys.exit(main())
