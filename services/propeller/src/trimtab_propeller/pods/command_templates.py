"""Replace the templates in the commands of a pod's containers. Pure.

Each template is replaced once, and the text that replaces it is used as it is: neither this module
nor the kubelet, which expands ``$(NAME)``, reads it again. A text is one argument before and after.

An input that is a text is replaced by it; dates, durations and files are texts. Any other input is
replaced by its JSON: ``true``, ``3``, ``0.5``, ``["a","b"]``, ``{"a":1}``. Null has no text.
"""

import re
from collections.abc import Iterable, Sequence

from pydantic_core import to_json

from trimtab.workflows.graphs.command_templates import PATHS, Part, Variable, parse
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.executors.port import AttemptRejected
from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.pods.draft import Draft
from trimtab_propeller.pods.metadata import namespace, retry_key
from trimtab_propeller.pods.paths import Paths

MAX_ARGUMENT_BYTES = 128 * 1024 - 1
"""Linux starts no program with a longer argument: ``MAX_ARG_STRLEN``, with the zero byte."""
_DOLLAR = re.compile(r"(\$\$|\$\([^)]*\))|\$")
"""The kubelet makes ``$`` of ``$$``, expands ``$(NAME)``, and keeps every other dollar sign."""


def replace_templates(draft: Draft, attempt: Attempt, defaults: PodDefaults) -> None:
    """Replace the templates of every container. Raises `AttemptRejected`."""
    for container in draft.containers:
        for field in ("command", "args"):
            if texts := container.get(field):
                container[field] = [_replace(text, attempt, defaults) for text in texts]


def _replace(text: str, attempt: Attempt, defaults: PodDefaults) -> str:
    parts = parse(text)
    if len(parts) == 1:
        return text
    filled = "".join(_filled(parts, attempt, defaults))
    # Two dollar signs are one in the container.
    if len(filled.encode()) - filled.count("$$") > MAX_ARGUMENT_BYTES:
        raise AttemptRejected(f"{_shown(parts)} is longer than {MAX_ARGUMENT_BYTES} bytes")
    return filled


def _filled(parts: Sequence[Part], attempt: Attempt, defaults: PodDefaults) -> Iterable[str]:
    for part in parts:
        if isinstance(part, Variable):
            yield _value(part, attempt, defaults).replace("$", "$$")
        else:
            # A dollar sign that is alone could be the first half of ``$(NAME)`` with what follows.
            yield _DOLLAR.sub(lambda found: found[1] or "$$", part)


def _value(variable: Variable, attempt: Attempt, defaults: PodDefaults) -> str:
    if variable.input:
        return _input(variable.input, attempt)
    if variable.name == "namespace":
        return namespace(attempt, defaults)
    if variable.name == "perRetryUniqueKey":
        return retry_key(attempt)
    if variable.name not in PATHS:
        raise AttemptRejected(f"{{{{.{variable.name}}}}} is no template that can be replaced")
    if not attempt.output_prefix:
        raise AttemptRejected(
            f"{{{{.{variable.name}}}}} needs raw_output_data_config.output_location_prefix, which "
            "no record sets"
        )
    return Paths.of(attempt).variables()[variable.name]


def _input(name: str, attempt: Attempt) -> str:
    try:
        value = attempt.inputs[name]
    except KeyError:
        raise AttemptRejected(f'node "{attempt.node}" has no input "{name}"') from None
    if value is None:
        raise AttemptRejected(f'input "{name}" is null, which has no text in a command')
    text = value if isinstance(value, str) else to_json(value).decode()
    if "\0" in text:
        raise AttemptRejected(f'input "{name}" has a zero byte, which no argument can hold')
    return text


def _shown(parts: Sequence[Part]) -> str:
    """Return the first template, because the text may be long."""
    first = next(part for part in parts if isinstance(part, Variable))
    return f"the argument with {{{{.{first.name}}}}}"
