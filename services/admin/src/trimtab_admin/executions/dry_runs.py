"""Dry runs of executions: a propeller resolves the request, as it would to run it."""

from collections.abc import Callable

from nats.aio.client import Client

from trimtab.errors import NotFound
from trimtab.messages import subjects
from trimtab.messages.dry_runs import DryRunReply, DryRunRequested
from trimtab.messages.executions import Request
from trimtab.resolution.limits import Refusal
from trimtab.runtime import replies, telemetry

_SECONDS = 20.0
"""Longer than propeller waits for settings, and shorter than clients wait for admin."""


class DryRuns:
    """Requests the values that executions would run with."""

    def __init__(self, client: Callable[[], Client]) -> None:
        """``client`` returns the connection, and raises `trimtab.errors.Unavailable`."""
        self._client = client

    async def resolve(self, request: Request, node: str = "") -> DryRunReply:
        """Return the resolution, and the pod of a node where one is named.

        Raises `NotFound` for a node that the workflow does not have, `Refusal` where the execution
        would be refused, and `Unavailable` without a propeller.
        """
        if node:
            check_node(node, request)
        reply = await replies.request(
            self._client(),
            subjects.DRY_RUN,
            DryRunReply,
            service="propeller, which resolves dry runs,",
            timeout=_SECONDS,
            headers=telemetry.headers(),
            body=DryRunRequested(request=request, node=node).body(),
        )
        if refused := reply.refused:
            raise Refusal(
                refused.path,
                refused.value,
                refused.message,
                node=refused.node,
                limit=None if refused.limit is None else str(refused.limit),
                scope=refused.scope,
            )
        return reply


def check_node(node: str, request: Request) -> None:
    """Raise `NotFound`, which suggests nodes, where the expanded workflow does not have it."""
    ids = [each.id for each in request.workflow.nodes]
    if node not in ids:
        raise NotFound.among(f"node of workflow {request.workflow.name!r}", node, ids)
