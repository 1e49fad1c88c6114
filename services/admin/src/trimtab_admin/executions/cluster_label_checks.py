"""Check the label of clusters that an execution would get, before propeller does. Pure.

Propeller checks it when it admits the execution, on the settings of that time, and together with
the policies of the launch plans that the workflow calls. Here its author gets the error at once.
"""

from trimtab.errors import Invalid
from trimtab.levels import Scope
from trimtab.resolution import cluster_labels
from trimtab.resolution.limits import Refusal
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.launch_plans import ExecutionConfig


def check(
    request: ExecutionConfig, plan: ExecutionConfig, settings: Settings, target: Scope
) -> None:
    """Raise `Invalid` for a label of the request or its launch plan that would be refused."""
    label = cluster_labels.own_label(request, plan)
    if label is None:
        return
    try:
        cluster_labels.check(label, settings, [target])
    except Refusal as refusal:
        prefix = "launch_plan." if label.source == "launch plan" else ""
        raise Invalid(f"{prefix}{refusal.path}", label.value, refusal.bound) from refusal
