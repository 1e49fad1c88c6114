"""The containers of a pod: the target of the task, in the pod of its ``pod_template``. Pure.

* Image: the resolved ``container_image``; without it that of the primary container in
  ``pod_template``, or in the template of the configuration; without all, for Python functions, that
  of the defaults.
* Command and arguments: those of a task's container, or `FUNCTION_COMMAND`, replace both of the
  primary container, also where one is absent. A task that is a pod has those of its primary
  container.
"""

from collections.abc import Mapping
from math import ceil

from trimtab.workflows.graphs.targets import Container, Function, Pod
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.executors.port import AttemptRejected
from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.pods.draft import Draft, copied

PRIMARY = "primary"
"""The name of the primary container where there is no ``pod_template``."""
FUNCTION_DIRECTORY = "/var/run/trimtab"
FUNCTION_COMMAND = ("python", "-m", "trimtab.workflows.entrypoint", FUNCTION_DIRECTORY)
"""The command of a Python function, in an image that has the package ``trimtab``.

The program reads ``task.json``, and ``module.py`` or ``bundle``, in the directory. No executor puts
them there yet, so the pod of a function is complete but does not run.
"""
_OTHER_IMAGES = ", register it with --image, or set function_image of propeller's pods"


def begin(attempt: Attempt) -> Draft:
    """Return a pod with the containers of the attempt; the primary one may lack an image."""
    draft = _from_template(attempt)
    primary = draft.primary
    if not isinstance(attempt.target, Pod):
        primary.pop("command", None)
        primary.pop("args", None)
        primary.update(_program(attempt))
    if attempt.image:
        primary["image"] = attempt.image
    return draft


def complete(draft: Draft, attempt: Attempt, defaults: PodDefaults) -> None:
    """Add what neither the attempt nor a template has set. Raises `AttemptRejected` without image.

    Kubernetes ends the pod at the attempt's timeout, and starts no container again, because another
    attempt is another pod.
    """
    primary, spec = draft.primary, draft.spec
    if not primary.get("image") and isinstance(attempt.target, Function):
        primary["image"] = defaults.function_image
    if not primary.get("image"):
        others = _OTHER_IMAGES if isinstance(attempt.target, Function) else ""
        raise AttemptRejected(
            f'task "{attempt.task}" has no container image: set its container_image{others}'
        )
    if spec.get("restartPolicy") is None:
        spec["restartPolicy"] = "Never"
    if attempt.timeout_seconds:
        own, seconds = spec.get("activeDeadlineSeconds"), ceil(attempt.timeout_seconds)
        spec["activeDeadlineSeconds"] = seconds if own is None else min(own, seconds)


def _from_template(attempt: Attempt) -> Draft:
    template = attempt.pod_template
    if template is None:
        return Draft(PRIMARY, {"containers": [{"name": PRIMARY}]})
    spec, name = copied(template.pod_spec), template.primary_container_name
    listed = spec.setdefault("containers", [])
    if all(container["name"] != name for container in listed):
        listed.append({"name": name})
    return Draft(name, spec, dict(template.labels), dict(template.annotations))


def _program(attempt: Attempt) -> Mapping[str, list[str]]:
    target = attempt.target
    if isinstance(target, Container):
        given = {"command": list(target.command), "args": list(target.args)}
        return {field: texts for field, texts in given.items() if texts}
    return {"command": list(FUNCTION_COMMAND)}
