"""What propeller does about each message of the work queue."""

import logging

from nats.aio.client import Client

from trimtab.messages.executions import ExecutionRequested
from trimtab.runtime.bus import WrongSequence
from trimtab.settings.view import View
from trimtab_propeller import metrics
from trimtab_propeller.journal import claim
from trimtab_propeller.run import BARRIER_SECONDS
from trimtab_propeller.runs import Runs

log = logging.getLogger(__name__)


class Handlers:
    """One method is one delivery."""

    def __init__(self, client: Client, owner: str, view: View, runs: Runs) -> None:
        self._client = client
        self._owner = owner
        self._view = view
        self._runs = runs

    async def on_execution_requested(self, event: ExecutionRequested) -> None:
        """Claim the execution and act for it; the request is acknowledged once it is claimed.

        Raises `trimtab.errors.Retryable` while this propeller's settings are older than the
        request, so that another one can take it.
        """
        request = event.request
        with metrics.barrier():
            await self._view.wait_for(request.revision, BARRIER_SECONDS)
        try:
            journal = await claim(self._client, self._owner, request)
        except WrongSequence:
            # A redelivery, or a request made again: whoever has claimed it acts for it.
            log.info("execution.claimed_before", extra={"execution": request.execution})
            return
        self._runs.start(journal)
