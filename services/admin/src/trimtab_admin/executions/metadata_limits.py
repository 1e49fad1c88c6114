"""Check the labels and annotations of an execution when it is created, before propeller does. Pure.

Propeller checks them again, with the settings of the time when it admits the execution.
"""

from collections.abc import Iterator

from trimtab import placeholders
from trimtab.errors import Invalid
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import ResolvedValue
from trimtab.resolution import metadata
from trimtab.resolution.limits import Refusal
from trimtab_admin.executions.target_settings import TargetSettings


def check(request: Request, settings: TargetSettings) -> None:
    """Raise `Invalid` for what propeller would refuse with these settings."""
    try:
        metadata.check({value.path: value for value in _values(request, settings)})
    except Refusal as refusal:
        raise Invalid(refusal.path, refusal.value, refusal.bound) from refusal


def _values(request: Request, settings: TargetSettings) -> Iterator[ResolvedValue]:
    """Yield labels and annotations; of two with one path, the later one applies."""
    for key, value in settings.project_labels.items():
        scope = f"project {request.project}"
        yield ResolvedValue(path=f"labels.{key}", value=value, source="project", scope=scope)
    yield from _of_settings(request, settings)
    yield from metadata.of_config("launch plan", request.launch_plan)
    yield from metadata.of_config("execution", request)


def _of_settings(request: Request, settings: TargetSettings) -> Iterator[ResolvedValue]:
    effective = settings.effective["workflow_execution_config"]
    names = {
        "project": request.project,
        "domain": request.domain,
        "workflow": request.workflow.name,
        "launch_plan": request.launch_plan.name,
        "execution": request.execution,
    }
    for path, leaf in effective.leaves.items():
        if path.startswith(("labels.", "annotations.")) and isinstance(leaf.value, str):
            yield ResolvedValue(
                path=path,
                value=placeholders.fill(leaf.value, names),
                source=f"{effective.kind.name}.{path}",
                scope=str(leaf.scope),
            )
