"""The environment of a pod's containers. Pure."""

from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.pods.draft import Draft


def add_environment(draft: Draft, attempt: Attempt) -> None:
    """Put the variables of the attempt before those that a container has itself."""
    variables = dict(sorted(attempt.environment.items()))
    for container in draft.containers:
        own = [each for each in container.get("env", ()) if each["name"] not in variables]
        container["env"] = [{"name": n, "value": v} for n, v in variables.items()] + own
