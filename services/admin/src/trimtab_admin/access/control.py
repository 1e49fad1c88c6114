"""Access control: authenticates each call, and audits and throttles calls that are refused."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace

from trimtab.errors import Forbidden, Unauthorized, Unavailable
from trimtab_admin.access.audit import AuditEntry, AuditTrail
from trimtab_admin.access.authentication import Authentication, claimed_caller
from trimtab_admin.access.authorization import ANONYMOUS, Caller
from trimtab_admin.access.call import Call
from trimtab_admin.access.throttling import FailureLimit, Throttled, network

log = logging.getLogger(__name__)


class AccessControl:
    """The same checks for every door. There is one instance, so that failures add up over doors."""

    def __init__(
        self,
        authentication: Authentication,
        trail: AuditTrail,
        failures: FailureLimit,
        anonymous: Mapping[str, Caller],
    ) -> None:
        """``anonymous`` has the caller of calls without credentials for each door that accepts
        them."""
        self._authentication = authentication
        self._trail = trail
        self._failures = failures
        self._anonymous = anonymous
        self._unaudited = 0
        """Throttled calls since the last entry of the audit trail."""

    async def authenticate(self, call: Call, authorization: str) -> Call:
        """Return the call with its caller. Raises `Unauthorized`, `Throttled` and `Unavailable`.

        ``authorization`` is the value of the ``Authorization`` header or metadata. Flyte's clients
        send none with their first call, and one after it was refused. That call guesses no
        credential, and others behind the same proxy make it too, so it is neither audited nor
        counted.
        """
        if not authorization and (anonymous := self._anonymous.get(call.door)):
            return replace(call, caller=anonymous)
        try:
            caller = await self._authentication.authenticate(authorization)
        except Unauthorized as error:
            if call.door and not authorization:
                raise
            claimed = replace(call, caller=claimed_caller(authorization))
            raise await self.refuse(claimed, error) from error
        return replace(call, caller=caller)

    async def refuse(self, call: Call, error: Unauthorized) -> Unauthorized | Throttled:
        """Audit a call that is refused for an error; return the error that the client receives.

        While a client is throttled only its first call gets an entry, so that no client can fill
        the audit trail.
        """
        scope = error.scope if isinstance(error, Forbidden) else ""
        delay = self._failures.count(_keys(call), time.monotonic())
        if delay is None:
            await self._audit(call, error.code.http_status, str(error), scope)
            return error
        throttled = Throttled(delay.seconds)
        if delay.is_first:
            await self._audit(call, throttled.code.http_status, f"{throttled}: {error}", scope)
        else:
            self._unaudited += 1
        return throttled

    async def _audit(self, call: Call, status: int, reason: str, scope: str) -> None:
        if self._unaudited:
            reason += (
                f"; {self._unaudited} calls of all clients were throttled since the last entry"
            )
            self._unaudited = 0
        entry = AuditEntry.of(call, status, reason, scope=scope)
        fields = {
            "status": entry.status,
            "client": entry.client,
            "caller": entry.caller,
            "token": entry.token,
            "id": entry.request_id,
            "reason": entry.reason,
        }
        log.warning("call.refused", extra=fields)
        try:
            await self._trail.add(entry)
        except Unavailable as error:
            # The log has it; a call that waited for the database would help only the caller.
            log.error("audit.unavailable", extra={"error": str(error), "id": entry.request_id})


def _keys(call: Call) -> list[str]:
    """Return what failures are counted by: for a known caller its name alone, because others may
    share the address."""
    if call.caller.name not in ("", ANONYMOUS.name):
        return [f"caller {call.caller.name}"]
    address = f"address {network(call.peer)}"
    claimed_id = call.caller.api_token_id
    return [address, f"token {claimed_id}"] if claimed_id else [address]
