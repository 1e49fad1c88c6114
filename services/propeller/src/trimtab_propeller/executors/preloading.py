"""Makes once, in the fork server, what each attempt would make for itself.

The first use of each kind of type costs milliseconds in pydantic: modules that are imported only
then, and tables that are kept. `declared_type` keeps the schemas of the types below.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from pydantic import BaseModel

from trimtab.workflows.definitions.tasks import task
from trimtab.workflows.definitions.types import declared_type
from trimtab.workflows.entrypoint import TaskCall, TaskOutput


class _Choice(Enum):
    ONE = "one"


@dataclass
class _Record:
    choice: _Choice


class _Content(BaseModel):
    records: list[_Record] = []


_TYPES = (
    *(bool, float, int, str, type(None), datetime),
    *(dict, list, dict[str, str], list[float], list[int], list[str], str | None, int | None),
    *(_Record, _Content),
)


def _increment(number: int) -> int:
    return number + 1


def preload() -> None:
    """Declare common types, and call a task as an attempt does."""
    for each in _TYPES:
        declared_type(each)
    call = TaskCall.model_validate_json(b'{"task": "increment", "inputs": {"number": 1}}')
    TaskOutput(output=task(_increment).types.call(call.inputs)).model_dump_json()
