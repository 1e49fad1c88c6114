"""The containers of a pod: the target of the task, in the pod that its ``pod_template`` has. Pure.

* Image: the resolved ``container_image``; without it that of the primary container in
  ``pod_template``; without both the default for Python functions.
* Command and arguments: those of a container's task, or `FUNCTION_COMMAND`, replace both of the
  primary container. The task of a pod has those of ``pod_template``.
"""

from collections.abc import Iterator
from typing import Any

from trimtab.workflows.graphs.targets import Container, Function
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.executors.port import AttemptRejected
from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.pods.draft import Draft, Manifest, copied

PRIMARY = "primary"
"""The name of the primary container where ``pod_template`` gives none."""
FUNCTION_DIRECTORY = "/var/run/trimtab"
FUNCTION_COMMAND = ("python", "-m", "trimtab.workflows.entrypoint", FUNCTION_DIRECTORY)
"""The command of a Python function, in an image with the package ``trimtab``.

The program reads ``task.json``, and ``module.py`` or ``bundle``, in the directory. No executor puts
them there yet, so the pod of a function is complete but does not run.
"""


def begin(attempt: Attempt, defaults: PodDefaults) -> Draft:
    """Return a pod with the containers of the attempt. Raises `AttemptRejected` without image."""
    template = attempt.pod_template
    if template is None:
        primary: Manifest = {"name": PRIMARY}
        draft = Draft(PRIMARY, {"containers": [primary]})
    else:
        spec = copied(template.pod_spec)
        name = template.primary_container_name
        listed = spec.setdefault("containers", [])
        found = next((each for each in listed if each["name"] == name), None)
        primary = {"name": name} if found is None else found
        if found is None:
            listed.append(primary)
        draft = Draft(name, spec, dict(template.labels), dict(template.annotations))
    primary.update(_program(attempt))
    if image := attempt.image or primary.get("image") or _default_image(attempt, defaults):
        primary["image"] = image
        return draft
    raise AttemptRejected(f'task "{attempt.task}" has no container image')


def _program(attempt: Attempt) -> Iterator[tuple[str, Any]]:
    target = attempt.target
    if isinstance(target, Container):
        yield "command", list(target.command)
        yield "args", list(target.args)
    elif isinstance(target, Function):
        yield "command", list(FUNCTION_COMMAND)
        yield "args", []


def _default_image(attempt: Attempt, defaults: PodDefaults) -> str:
    return (defaults.function_image or "") if isinstance(attempt.target, Function) else ""
