"""What becomes of a call that is refused: it is counted, kept in the audit trail, and answered."""

import logging
import math
import time

from starlette.requests import HTTPConnection, Request

from trimtab.api.problems import Problem
from trimtab.errors import Forbidden, Unauthorized, Unavailable
from trimtab_admin.access.audit import Audit, Entry, Who
from trimtab_admin.access.credentials import Credential
from trimtab_admin.access.rights import Caller
from trimtab_admin.access.tries import Tries, network
from trimtab_admin.api import problems
from trimtab_admin.api.problems import Answer

log = logging.getLogger(__name__)


class Refusals:
    """One for all of admin, because failures are counted over all calls."""

    def __init__(self, audit: Audit, tries: Tries) -> None:
        self._audit = audit
        self._tries = tries
        self._untold = 0
        """Calls that were put off since the last entry."""

    async def unknown(self, call: HTTPConnection, error: Unauthorized, given: str) -> Answer:
        """Nobody is known by what the header Authorization says, which is ``given``."""
        credential = Credential.parse(given.partition(" ")[2].strip())
        # What is brought may be the real secret but for a letter: only the id goes on from here.
        who = Who(token=credential.id if credential else "")
        return await self._answer(call, problems.of_error(error), who, "")

    async def foreign(self, call: HTTPConnection, problem: Problem) -> Answer:
        """The call comes from where no call may come from."""
        return await self._answer(call, problem, Who(), "")

    async def on_forbidden(self, request: Request, error: Exception) -> Answer:
        """The handler of `Forbidden` for the application."""
        assert isinstance(error, Forbidden)
        caller: Caller = request.state.caller
        problem, who = problems.of_error(error), Who.is_(caller)
        return await self._answer(request, problem, who, error.scope)

    async def _answer(self, call: HTTPConnection, problem: Problem, who: Who, scope: str) -> Answer:
        delay = self._tries.failed(_keys(call, who), time.monotonic())
        if delay is None:
            reason = problem.detail + self._told()
            await self._keep(Entry.of(call, problem.status, reason, who=who, scope=scope))
            return Answer(problem)
        seconds = math.ceil(delay.seconds)
        detail = f"too many calls were refused; the next one may come in {seconds} s"
        if delay.first:
            reason = f"{detail}: {problem.detail}{self._told()}"
            await self._keep(Entry.of(call, 429, reason, who=who, scope=scope))
        else:
            self._untold += 1
        return Answer(problems.of_status(429, detail), {"Retry-After": str(seconds)})

    def _told(self) -> str:
        """Of those that have no entry of their own, because nobody may fill the trail with them."""
        untold, self._untold = self._untold, 0
        return f"; {untold} more calls, of anybody, were put off since the last entry" * bool(
            untold
        )

    async def _keep(self, entry: Entry) -> None:
        extra = {
            "status": entry.status,
            "client": entry.client,
            "caller": entry.caller,
            "token": entry.token,
            "id": entry.request_id,
            "reason": entry.reason,
        }
        log.warning("call.refused", extra=extra)
        try:
            await self._audit.add(entry)
        except Unavailable as error:
            # The log has it; to let the call wait for the database would help only the caller.
            log.error("audit.unavailable", extra={"error": str(error), "id": entry.request_id})


def _keys(call: HTTPConnection, who: Who) -> list[str]:
    """A known caller is counted by the token alone: others may share the address."""
    address = f"address {network(call.client.host if call.client else '')}"
    if who.name:
        return [f"caller {who.name}"]
    return [address, f"token {who.token}"] if who.token else [address]
