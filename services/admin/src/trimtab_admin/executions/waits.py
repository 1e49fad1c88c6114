"""Why propellers do not claim executions, as they report it. Kept in memory, for a few seconds."""

import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError

from trimtab.messages import subjects
from trimtab.messages.events import ExecutionsWaiting

_SECONDS = 5.0
"""How long a report counts; while its reason lasts, propeller repeats it each second."""


class ExecutionWaits:
    """The reasons by project and domain."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reasons: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()
        """With the time of the report, the oldest first."""

    async def subscribe(self, client: Client) -> None:
        await client.subscribe(subjects.ALL_WAITING, cb=self._on_message)

    def record(self, waiting: ExecutionsWaiting) -> None:
        now = self._clock()
        target = waiting.project, waiting.domain
        self._reasons[target] = waiting.reason, now
        self._reasons.move_to_end(target)
        while now - self._reasons[next(iter(self._reasons))][1] > _SECONDS:
            self._reasons.popitem(last=False)

    def reason(self, project: str, domain: str) -> str:
        """Return why the requests of a project and domain are not claimed; empty if none is known.

        A propeller that is full, and one that does not run, report nothing.
        """
        reason, reported_at = self._reasons.get((project, domain), ("", 0.0))
        return reason if self._clock() - reported_at <= _SECONDS else ""

    async def _on_message(self, message: Msg) -> None:
        with suppress(ValidationError):  # it is foreign
            self.record(ExecutionsWaiting.model_validate_json(message.data))
