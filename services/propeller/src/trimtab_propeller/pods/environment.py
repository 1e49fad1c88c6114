"""The environment of a pod's containers. Pure.

Every container, also a sidecar, has the facts of the attempt and the resolved variables, ordered by
name. A container that only the template of the configuration has gets the facts alone: with a
variable such as ``BASH_ENV``, a user could run programs in it.

Behind them are the container's own of other names, which may refer to them as ``$(NAME)``. So a
task sees the values that the resolution shows, whatever its pod template has. ``envFrom`` stays:
Kubernetes uses it for names that are in no ``env``.
"""

from collections.abc import Mapping

from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.pods.draft import Draft

_FACTS = ("TRIMTAB_", "FLYTE_INTERNAL_", "FLYTE_ATTEMPT_NUMBER")
"""Prefixes of the facts, which no program but those of Trimtab and Flyte reads."""


def add_environment(draft: Draft, attempt: Attempt) -> None:
    given = {**attempt.environment, **_flyte_names(attempt)}
    # The kubelet would expand $(NAME), and make one dollar sign of two.
    escaped = {name: given[name].replace("$", "$$") for name in sorted(given)}
    facts = {name: text for name, text in escaped.items() if name.startswith(_FACTS)}
    for container in draft.containers:
        variables = facts if container["name"] in draft.added else escaped
        own = {each["name"]: each for each in container.get("env") or ()}
        container["env"] = [
            *({"name": name, "value": value} for name, value in variables.items()),
            *(each for name, each in own.items() if name not in variables),
        ]


def _flyte_names(attempt: Attempt) -> Mapping[str, str]:
    """Return facts by the names that programs written for Flyte read."""
    return {
        "FLYTE_ATTEMPT_NUMBER": str(attempt.number),
        "FLYTE_INTERNAL_EXECUTION_DOMAIN": attempt.domain,
        "FLYTE_INTERNAL_EXECUTION_ID": attempt.execution,
        "FLYTE_INTERNAL_EXECUTION_PROJECT": attempt.project,
        "FLYTE_INTERNAL_EXECUTION_WORKFLOW": ":".join(
            (attempt.project, attempt.domain, attempt.workflow)
        ),
        "FLYTE_INTERNAL_TASK_DOMAIN": attempt.domain,
        "FLYTE_INTERNAL_TASK_NAME": attempt.task,
        "FLYTE_INTERNAL_TASK_PROJECT": attempt.project,
    }
