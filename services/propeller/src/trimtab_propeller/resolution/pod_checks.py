"""Refuse an execution of which a pod could not be built, or would have more than allowed. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from trimtab.messages.executions import Request
from trimtab.messages.resolutions import Resolution
from trimtab.resolution.limits import Refusal
from trimtab.settings.fold import Effective
from trimtab.workflows.graphs.graph import Node
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.executors.port import AttemptRejected
from trimtab_propeller.pods.building import checked_pod
from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.pods.fields import PodRejected
from trimtab_propeller.resolution import pod_policies


def check(
    request: Request,
    resolution: Resolution,
    nodes: Iterable[Node],
    defaults: PodDefaults,
    policies: Mapping[str, Sequence[Effective]],
) -> None:
    """Build the pod of each node without its inputs, and raise `Refusal` where one cannot be built.

    Nodes that share a task and their values are built once. ``policies`` are those of each part.
    """
    built: set[tuple[str, str, int]] = set()
    for node in nodes:
        same = node.task, node.plan, id(resolution.nodes[node.id])
        if same in built:
            continue
        built.add(same)
        attempt = Attempt.from_resolution(request, resolution, node, 0, {})
        try:
            pod_policies.check_pod(checked_pod(attempt, defaults), policies[node.plan])
        except Refusal as refusal:
            refusal.node = node.id
            raise
        except PodRejected as error:
            raise Refusal(error.path, error.value, str(error), node=node.id) from error
        except AttemptRejected as error:
            raise Refusal("target", attempt.target.type, str(error), node=node.id) from error
