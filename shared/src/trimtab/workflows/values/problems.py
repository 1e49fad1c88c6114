"""Parts of values that a schema refuses, and what is allowed instead, in words. Pure."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from trimtab import names
from trimtab.workflows.values.schemas import Schema, described


class Problem(NamedTuple):
    """A part of a value that the schema refuses."""

    steps: tuple[str | int, ...]
    value: object
    allowed: Callable[[], str]
    """Returns what is allowed instead. Most problems are those of one branch of a union, which no
    message repeats."""
    is_other_type: bool = False
    """Whether the value as a whole is of another type, or not one of an enumeration."""

    def inside(self, step: str | int) -> "Problem":
        return Problem((step, *self.steps), self.value, self.allowed)


def required_field(schema: Schema, root: Schema) -> str:
    return f"{described(schema, root)}: the field is required"


def only_one(schema: Schema, root: Schema) -> str:
    return f"only one of {described(schema, root)}"


def as_name(allowed: Callable[[], str]) -> str:
    return f"as a name: {allowed()}"


def known_fields(name: str, known: Iterable[str]) -> str:
    listed = names.listed(list(known)) or "(there are none)"
    return f"the fields {listed}{names.question(name, known)}"
