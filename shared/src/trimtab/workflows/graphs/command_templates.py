"""Templates in the command and arguments of containers, such as ``{{.inputs.rows}}``. Pure.

A template is one name behind a dot or a dollar sign, with two braces on each side, and blanks where
one likes: ``{{.input}}``, ``{{ $inputs.rows }}``. Everything else in braces is text, such as
``{{ rows }}`` and ``{{.rows | quote}}``. An executor replaces templates when it builds a container.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from trimtab import names
from trimtab.errors import Invalid
from trimtab.workflows.graphs import pod_specs
from trimtab.workflows.graphs.node_overrides import PodTemplate
from trimtab.workflows.graphs.targets import Container, Pod, TaskTarget

_TEMPLATE = re.compile(r"(\{\{\s*[.$][^{}\s]+\s*\}\})")
_INPUTS = "inputs."
PATHS = (
    "input",
    "inputPrefix",
    "outputPrefix",
    "rawOutputDataPrefix",
    "checkpointOutputPrefix",
    "prevCheckpointPrefix",
)
"""Variables below the prefix of outputs that ``raw_output_data_config`` sets."""
VARIABLES = (*PATHS, "perRetryUniqueKey", "namespace")
"""The case of their letters does not count, as in Flyte; that of an input's name does."""
_BY_LOWER = {name.lower(): name for name in VARIABLES}
_COMMANDS = ("command", "args")


class Variable(NamedTuple):
    """The content of a template."""

    name: str
    """One of `VARIABLES`, or ``inputs.`` and the name of an input, or another text."""

    @property
    def input(self) -> str:
        """The name of the input; empty where it is another variable."""
        return self.name.removeprefix(_INPUTS) if self.name.startswith(_INPUTS) else ""


Part = str | Variable


@lru_cache(maxsize=4096)
def parse(text: str) -> tuple[Part, ...]:
    """Return texts and variables in turn; the first part and the last one are texts."""
    parts = _TEMPLATE.split(text)
    return tuple(_variable(part) if index % 2 else part for index, part in enumerate(parts))


def _variable(template: str) -> Variable:
    name = template[2:-2].strip()[1:]
    lower = name.lower()
    if lower.startswith(_INPUTS):
        return Variable(_INPUTS + name[len(_INPUTS) :])
    return Variable(_BY_LOWER.get(lower, name))


def of_target(target: TaskTarget) -> Iterator[tuple[str, Variable]]:
    """Yield the variables in the command of a container, each with the path of its text."""
    if isinstance(target, Container):
        for field in _COMMANDS:
            yield from _in_texts(field, getattr(target, field))


def of_template(target: TaskTarget, template: PodTemplate) -> Iterator[tuple[str, Variable]]:
    """Yield the variables in the commands of a pod, each with the path of its text.

    Those of the primary container have no effect where the target has a command of its own.
    """
    for path, container in pod_specs.containers("pod_spec", template.pod_spec):
        if isinstance(target, Pod) or container["name"] != template.primary_container_name:
            for field in _COMMANDS:
                yield from _in_texts(f"{path}.{field}", container.get(field) or ())


def _in_texts(path: str, texts: Any) -> Iterator[tuple[str, Variable]]:
    for index, text in enumerate(texts):
        for part in parse(text):
            if isinstance(part, Variable):
                yield f"{path}.{index}", part


def check(
    path: str, variables: Iterable[tuple[str, Variable]], inputs: Collection[str] | None
) -> None:
    """Raise `Invalid` on a variable or an input that there is not; ``None`` is any input."""
    for at, variable in variables:
        _check(f"{path}.{at}" if path else at, variable, inputs)


def _check(path: str, variable: Variable, inputs: Collection[str] | None) -> None:
    name, shown = variable.name, f"{{{{.{variable.name}}}}}"
    if name.lower() == "tasktemplatepath":
        raise Invalid(path, shown, "another template: Trimtab stores no task template as a file")
    if variable.input:
        if inputs is not None and variable.input not in inputs:
            known = names.listed(sorted(inputs)) or "(there are none)"
            raise Invalid(path, shown, f"inputs {known}{names.question(variable.input, inputs)}")
    elif name not in VARIABLES:
        known = f"one of {', '.join(VARIABLES)} and {_INPUTS}NAME"
        raise Invalid(path, shown, known + names.question(name, VARIABLES))
